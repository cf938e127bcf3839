"""Which presentation contexts are accepted: storage of anything, in the sender's own syntax.

Queries are accepted in the uncompressed little endian syntaxes only.

Each context gets the first transfer syntax that its proposal names and that can be stored, so
that files arrive as they lie at the sender's. SOP classes that no list knows (private, newer
than this version) are taken for storage, as long as they are not known to be something else.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pydicom.uid import UID, AllTransferSyntaxes, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.uid import UID_dictionary as uid_dictionary
from pynetdicom import ALL_TRANSFER_SYNTAXES
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import _STORAGE_CLASSES, StorageCommitmentPushModel, Verification

from lamella.dimse_gateway.identifiers import ALL_ROOTS

ACCEPTED = 0x00
ABSTRACT_SYNTAX_NOT_SUPPORTED = 0x03
TRANSFER_SYNTAXES_NOT_SUPPORTED = 0x04

_CONTEXT_ITEM, _SYNTAX_ITEM = 0x21, 0x40  # of an A-ASSOCIATE-AC
_CONTEXT_HEADER, _SYNTAX_HEADER = struct.Struct(">BxHBxBx"), struct.Struct(">BxH")
_MOST_AGREEMENTS = 16  # that are remembered
_Proposed = tuple[int | None, UID | None, tuple[UID, ...]]

_REAL_TIME_VIDEO = "1.2.840.10008.1.2.7."  # SMPTE ST 2110: streams, never stored as instances
_MORE_SYNTAXES = (
    "1.2.840.10008.1.2.1.98",  # Encapsulated Uncompressed Explicit VR Little Endian
    "1.2.840.10008.1.2.4.94",  # JPIP Referenced
    "1.2.840.10008.1.2.4.95",  # JPIP Referenced Deflate
    "1.2.840.10008.1.2.4.110",  # JPEG XL Lossless
    "1.2.840.10008.1.2.4.111",  # JPEG XL JPEG Recompression
    "1.2.840.10008.1.2.4.112",  # JPEG XL
    "1.2.840.10008.1.2.8.1",  # Deflated Image Frame Compression
    *(f"1.2.840.10008.1.2.4.{process}" for process in range(50, 67)),  # JPEG, retired ones too
)

TRANSFER_SYNTAX_UIDS = frozenset(
    str(uid)
    for uid in (*AllTransferSyntaxes, *ALL_TRANSFER_SYNTAXES, *_MORE_SYNTAXES)
    if not str(uid).startswith(_REAL_TIME_VIDEO)
)
IDENTIFIER_SYNTAX_UIDS = frozenset({str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian)})
"""Of queries and commitments; every peer has the first of them (PS3.5 §10.1)."""

STORAGE_CLASSES = {str(uid): str(keyword) for keyword, uid in _STORAGE_CLASSES.items()}
"""Keywords of the storage SOP classes of the standard by UID."""

_WITH_IDENTIFIERS = frozenset({*ALL_ROOTS, str(StorageCommitmentPushModel)})


@dataclass(frozen=True)
class Service:
    """What associations are accepted for.

    Attributes:
        name: Of the service class.
        operations: DIMSE messages, in which Lamella is the SCP.
        sop_classes: Their UIDs.
        section: Of PS3.4.
        takes_others: Whether SOP classes that no list knows are taken for its own.
    """

    name: str
    operations: tuple[str, ...]
    sop_classes: frozenset[str]
    section: str
    takes_others: bool = False


SERVICES = (
    Service("Verification", ("C-ECHO",), frozenset({str(Verification)}), "Annex A"),
    Service("Storage", ("C-STORE",), frozenset(STORAGE_CLASSES), "Annex B", takes_others=True),
    Service(
        "Storage Commitment",
        ("N-ACTION", "N-EVENT-REPORT"),
        frozenset({str(StorageCommitmentPushModel)}),
        "Annex J",
    ),
    Service("Query/Retrieve", ("C-FIND", "C-MOVE", "C-GET"), frozenset(ALL_ROOTS), "Annex C"),
)
"""All there are."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What is agreed on for the contexts of one proposal; associations share it.

    Attributes:
        accepted: Contexts by ID.
        rejected: The others.
        encoded: Presentation context items of an A-ASSOCIATE-AC PDU.
    """

    accepted: dict[int, PresentationContext]
    rejected: list[PresentationContext]
    encoded: bytes


def is_storage_class(sop_class_uid: str) -> bool:
    """Tell whether a SOP class is, or may be, one whose instances are stored.

    Retired storage classes, and those newer than the dictionaries, count as such by their
    names or by being unknown.
    """
    if sop_class_uid in STORAGE_CLASSES:
        return True
    known = uid_dictionary.get(sop_class_uid)
    return known is None or (known[1] == "SOP Class" and "Storage" in _name_kind(known[0]))


def agree(
    proposed: Sequence[PresentationContext], private: frozenset[str] = frozenset()
) -> Agreement:
    """Return what is agreed on, which is thought about once for all peers that propose the same.

    Args:
        proposed: The contexts.
        private: Transfer syntaxes besides the standard's in which instances may come.
    """
    proposal = tuple(
        (one.context_id, one.abstract_syntax, tuple(one.transfer_syntax)) for one in proposed
    )
    return _agree(proposal, private)


@lru_cache(maxsize=_MOST_AGREEMENTS)
def _agree(proposal: tuple[_Proposed, ...], private: frozenset[str]) -> Agreement:
    outcomes = negotiate([_make_context(*one) for one in proposal], private)
    return Agreement(
        {int(one.context_id or 0): one for one in outcomes if one.result == ACCEPTED},
        [one for one in outcomes if one.result != ACCEPTED],
        b"".join(_encode_outcome(one) for one in outcomes),
    )


def _make_context(
    context_id: int | None, abstract_syntax: UID | None, transfer_syntaxes: tuple[UID, ...]
) -> PresentationContext:
    context = PresentationContext()
    context._context_id, context._abstract_syntax = context_id, abstract_syntax
    context._transfer_syntax = list(transfer_syntaxes)
    return context


def _encode_outcome(context: PresentationContext) -> bytes:
    """Return a presentation context item of an A-ASSOCIATE-AC.

    Source:
        PS3.8 Tables 9-18 and 9-19.
    """
    name = str(context.transfer_syntax[0]).encode("ascii")
    syntax = _SYNTAX_HEADER.pack(_SYNTAX_ITEM, len(name)) + name
    head = (_CONTEXT_ITEM, len(syntax) + 4, context.context_id, context.result)
    return _CONTEXT_HEADER.pack(*head) + syntax


def negotiate(
    proposed: Sequence[PresentationContext], private: frozenset[str] = frozenset()
) -> list[PresentationContext]:
    """Return the outcome for each proposed context, by ascending context ID.

    Args:
        proposed: The contexts.
        private: Transfer syntaxes besides the standard's in which instances may come.

    Source:
        PS3.8 §9.3.3.2 (results); PS3.7 §D.3.2.
    """
    storable = TRANSFER_SYNTAX_UIDS | private
    outcomes = [_judge_context(context, storable) for context in proposed]
    return sorted(outcomes, key=lambda context: int(context.context_id))


def _judge_context(proposed: PresentationContext, storable: frozenset[str]) -> PresentationContext:
    context = PresentationContext()
    context.context_id = proposed.context_id
    context._abstract_syntax = proposed.abstract_syntax  # both UIDs were checked when read
    accepted = _find_syntax(proposed, storable)
    syntaxes = proposed.transfer_syntax or [UID("1.2.840.10008.1.2")]
    context._transfer_syntax = [accepted if accepted is not None else syntaxes[0]]
    if not _offers_service(str(proposed.abstract_syntax)):
        context.result = ABSTRACT_SYNTAX_NOT_SUPPORTED
    elif accepted is None:
        context.result = TRANSFER_SYNTAXES_NOT_SUPPORTED
    else:
        context.result = ACCEPTED
    context._as_scu, context._as_scp = False, True
    return context


def _find_syntax(proposed: PresentationContext, storable: frozenset[str]) -> UID | None:
    is_query = str(proposed.abstract_syntax) in _WITH_IDENTIFIERS
    known = IDENTIFIER_SYNTAX_UIDS if is_query else storable
    return next((uid for uid in proposed.transfer_syntax if str(uid) in known), None)


def _offers_service(abstract_syntax: str) -> bool:
    return any(abstract_syntax in service.sop_classes for service in SERVICES) or (
        is_storage_class(abstract_syntax)
    )


def _name_kind(name: str) -> str:
    """Leave out the services whose names say Storage and which store nothing."""
    return "" if "Commitment" in name or "Media" in name else name

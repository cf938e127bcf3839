"""Associations' PDUs, whose presentation contexts are read once for all peers that propose them.

A peer proposes the same contexts each time, and there may be 128 of them: pynetdicom takes most of
the time that an association costs for them. All else of a request is read anew.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache

from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_items import PresentationContextItemRQ
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

_FIXED_BYTES = 74  # before the items, PS3.8 Table 9-11
_PDU_HEADER = struct.Struct(">BxL")
_ITEM_HEADER = struct.Struct(">BxH")
_PRESENTATION_CONTEXT = 0x20  # PS3.8 Table 9-13
_MOST_PROPOSALS = 16  # that are remembered
_LONGEST_PROPOSAL_BYTES = 64 << 10  # 128 contexts have 10 to 20 KB


class AssociateRequestPdu:
    """An A-ASSOCIATE-RQ PDU; what is wrong with one, pynetdicom raises.

    Attributes:
        protocol_version: As the peer told it.

    Source:
        PS3.8 §9.3.2.
    """

    def __init__(self, encoded: bytes) -> None:
        proposal, rest = _split_items(encoded)
        self._contexts = _read_contexts(proposal)
        self._rest = A_ASSOCIATE_RQ()
        self._rest.decode(rest)
        self.protocol_version = self._rest.protocol_version

    def to_primitive(self) -> A_ASSOCIATE:
        """Return the indication for association control; others have its contexts, too."""
        primitive = self._rest.to_primitive()
        primitive.presentation_context_definition_list += self._contexts
        return primitive


def insert_outcomes(encoded: bytes, outcomes: bytes) -> bytes:
    """Return an A-ASSOCIATE-AC PDU with items of presentation contexts, after its first item.

    Args:
        encoded: The PDU without them; its first item is the application context.
        outcomes: The items.

    Source:
        PS3.8 Table 9-17.
    """
    _, length = _ITEM_HEADER.unpack_from(encoded, _FIXED_BYTES)
    split = _FIXED_BYTES + _ITEM_HEADER.size + length
    items = encoded[_PDU_HEADER.size : split] + outcomes + encoded[split:]
    return _PDU_HEADER.pack(encoded[0], len(items)) + items


@lru_cache(maxsize=_MOST_PROPOSALS)
def _read_contexts(proposal: bytes) -> tuple[PresentationContext, ...]:
    contexts = []
    for _, encoded in _walk_items(proposal, 0):
        item = PresentationContextItemRQ()
        item.decode(encoded)
        contexts.append(item.to_primitive())
    return tuple(contexts)


def _split_items(encoded: bytes) -> tuple[bytes, bytes]:
    """Return a request's presentation contexts, and a request without them.

    The first is empty, and the second the whole, if there are none or uncommonly many.
    """
    contexts: list[bytes] = []
    others = [encoded[_PDU_HEADER.size : _FIXED_BYTES]]
    for kind, item in _walk_items(encoded, _FIXED_BYTES):
        (contexts if kind == _PRESENTATION_CONTEXT else others).append(item)
    proposal, rest = b"".join(contexts), b"".join(others)
    if len(proposal) > _LONGEST_PROPOSAL_BYTES:
        return b"", encoded
    return proposal, _PDU_HEADER.pack(encoded[0], len(rest)) + rest


def _walk_items(encoded: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """Yield each item's type and bytes, its header included; one that is cut off as it is."""
    while offset < len(encoded):
        if offset + _ITEM_HEADER.size > len(encoded):
            kind, end = encoded[offset], len(encoded)
        else:
            kind, length = _ITEM_HEADER.unpack_from(encoded, offset)
            end = offset + _ITEM_HEADER.size + length
        yield kind, encoded[offset:end]
        offset = end

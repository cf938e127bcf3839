"""Transfer syntaxes, SOP classes and character sets: what all services have in common."""

from __future__ import annotations

from lamella.archive.charsets import list_defined_terms
from lamella.cli.statement.document import Table
from lamella.cli.statement.names import name_uid, say_yes
from lamella.dicomweb.frame_types import (
    FRAME_MEDIA_TYPES,
    NATIVE_TRANSFER_SYNTAXES,
    UNWANTED_TRANSFER_SYNTAXES,
)
from lamella.dicomweb.media_types import OCTET_STREAM
from lamella.dimse_gateway.negotiation import STORAGE_CLASSES, TRANSFER_SYNTAX_UIDS
from lamella.imaging.decoders import can_decode
from lamella.imaging.encoders import TARGETS
from lamella.imaging.explicit import EXPLICIT_VR_LITTLE_ENDIAN


def list_sop_classes() -> Table:
    """Return the storage SOP classes of the standard."""
    rows = sorted((name_uid(uid), f"`{uid}`") for uid in STORAGE_CLASSES)
    return Table(("SOP Class", "UID"), tuple(rows))


def list_transfer_syntaxes() -> Table:
    """Return what is accepted, decoded, encoded and sent, by transfer syntax."""
    header = (
        "Transfer Syntax",
        "UID",
        "stored",
        "frames decoded",
        "frames encoded",
        "sent by web services",
        "media type of frames",
    )
    return Table(header, tuple(_describe(uid) for uid in sorted(TRANSFER_SYNTAX_UIDS, key=_order)))


def _describe(uid: str) -> tuple[str, ...]:
    is_native = uid in NATIVE_TRANSFER_SYNTAXES
    is_encoded = uid in TARGETS or uid == EXPLICIT_VR_LITTLE_ENDIAN
    return (
        name_uid(uid),
        f"`{uid}`",
        "Y",
        say_yes(is_native or can_decode(uid)),
        say_yes(is_encoded),
        "as Explicit VR Little Endian" if uid in UNWANTED_TRANSFER_SYNTAXES else "Y",
        _name_frames(OCTET_STREAM if is_native else FRAME_MEDIA_TYPES.get(uid, OCTET_STREAM)),
    )


def _name_frames(media_type: str) -> str:
    return "none: a video goes out whole" if media_type.startswith("video/") else f"`{media_type}`"


def _order(uid: str) -> list[int]:
    return [int(component) for component in uid.split(".")]


def list_character_sets() -> Table:
    """Return the defined terms of Specific Character Set that are understood."""
    rows = (
        (codec, ", ".join(f"`{term}`" for term in terms))
        for codec, terms in list_defined_terms().items()
    )
    return Table(("Repertoire (as Python's codec)", "Defined terms"), tuple(rows))

"""How elements are treated, decided once per tag and VR and kept.

Source:
    PS3.5 §6.2 (VRs), §6.2.2 (UN), §7.8 (private elements); PS3.6 (dictionary).
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from lamella.archive import canonical
from lamella.archive.dictionary import find_public_vr, is_private, is_private_creator
from lamella.archive.values import (
    BIG_ENDIAN_ENCODERS,
    BULK_VRS,
    LITTLE_ENDIAN_ENCODERS,
    LONG_HEADER_VRS,
    WORD_BYTES,
    Encode,
)

# What a parser does with an element. DELIMITER: item and sequence tags; SILENT: group lengths;
# PRIVATE: a VR that only the private creator can tell; US_SS and LUT: a VR that other elements
# decide.
VALUE, BULK, SEQUENCE, DELIMITER, SILENT, CHARSET, PRIVATE, CREATOR, US_SS, LUT = range(10)

KNOWN_VRS = frozenset(LITTLE_ENDIAN_ENCODERS) | BULK_VRS | {"SQ"}

_TABLE_LIMIT = 4096  # half a KB each; the dictionary has 5,000 tags, an archive uses some hundred
_SHORT_LITTLE = Struct("<HH").unpack_from
_SHORT_BIG = Struct(">HH").unpack_from


class UnknownVR(Exception):
    """An explicit element has a VR that the standard does not know."""


class Kind(NamedTuple):
    """How elements of one tag and VR are treated.

    Attributes:
        tag: The tag.
        key: The tag as a key of DICOM JSON.
        vr: The VR that the JSON shows.
        action: One of this module's actions.
        encode: Makes the JSON's values, if they are shown one by one.
        long_header: Whether the VR in the file is followed by a 32-bit length.
        packed_tag: The tag's bytes in little endian.
        padding: How the canonical form treats padding.
        word_bytes: Size of the words to swap to get little endian; 1 if none.
    """

    tag: int
    key: str
    vr: str
    action: int
    encode: Encode | None
    long_header: bool
    packed_tag: bytes
    padding: int
    word_bytes: int


# By endianness: the kinds of explicit elements by their first six bytes; of implicit ones by four.
EXPLICIT_KINDS: tuple[dict[bytes, Kind], dict[bytes, Kind]] = ({}, {})
IMPLICIT_KINDS: dict[bytes, Kind] = {}


@lru_cache(maxsize=_TABLE_LIMIT)
def make_kind(tag: int, vr: str, big: bool, long_header: bool) -> Kind:
    """Return the kind of an element whose VR is known, as the JSON is to show it.

    Args:
        tag: The element's tag.
        vr: One of the VRs of PS3.5, or an ambiguous one as PS3.6 words it.
        big: Whether words are big endian.
        long_header: Whether the VR in the file is followed by a 32-bit length.
    """
    action, shown = _choose_action(tag, vr)
    return Kind(
        tag,
        f"{tag:08X}",
        shown,
        action,
        (BIG_ENDIAN_ENCODERS if big else LITTLE_ENDIAN_ENCODERS).get(shown),
        long_header,
        canonical.pack_tag(tag),
        canonical.choose_padding(tag),
        WORD_BYTES.get(shown, 1) if big else 1,
    )


def _choose_action(tag: int, vr: str) -> tuple[int, str]:
    """Return the action and the VR that the JSON shows."""
    if tag & 0xFFFF == 0:
        return SILENT, vr
    if tag == 0x00080005:
        return CHARSET, "CS"
    if vr == "SQ":
        return SEQUENCE, vr
    if vr == "US or SS":
        return US_SS, "US"
    if vr == "US or OW" and tag == 0x00283006:
        return LUT, "OW"
    if vr in BULK_VRS:
        return BULK, vr
    if " or " in vr:
        return BULK, "OW"
    return (CREATOR if is_private_creator(tag) else VALUE), vr


def classify_explicit(head: bytes, big: bool) -> Kind:
    """Return, and keep, the kind of an explicit element.

    Args:
        head: Its tag and VR, six bytes.
        big: Whether the file is big endian.

    Raises:
        UnknownVR: The VR is none of PS3.5's.
    """
    group, element = (_SHORT_BIG if big else _SHORT_LITTLE)(head)
    tag = group << 16 | element
    if group == 0xFFFE:
        return _make_delimiter(tag)
    vr = head[4:6].decode("latin-1")
    if vr not in KNOWN_VRS:
        raise UnknownVR
    if vr == "UN":
        # what a writer did not understand it could not swap either: UN is little endian
        kind = make_kind(tag, name_unknown(tag), big=False, long_header=True)
        if is_private(tag) and not is_private_creator(tag):
            kind = kind._replace(action=PRIVATE)
        elif kind.action == SEQUENCE:
            kind = kind._replace(vr=vr)
    else:
        kind = make_kind(tag, vr, big, vr in LONG_HEADER_VRS)
    kinds = EXPLICIT_KINDS[big]
    if len(kinds) >= _TABLE_LIMIT:
        kinds.clear()
    kinds[head] = kind
    return kind


def classify_implicit(head: bytes) -> Kind:
    """Return, and keep, the kind of an implicit little-endian element, by its tag's four bytes."""
    group, element = _SHORT_LITTLE(head)
    tag = group << 16 | element
    if group == 0xFFFE:
        return _make_delimiter(tag)
    kind = make_kind(tag, name_unknown(tag), big=False, long_header=False)
    if is_private(tag) and not is_private_creator(tag) and element:
        kind = kind._replace(action=PRIVATE)
    if len(IMPLICIT_KINDS) >= _TABLE_LIMIT:
        IMPLICIT_KINDS.clear()
    IMPLICIT_KINDS[head] = kind
    return kind


def name_unknown(tag: int) -> str:
    """Return the VR of an element that is written without one, before creators are asked."""
    if is_private(tag):
        return "LO" if is_private_creator(tag) else "UN"
    return find_public_vr(tag) or "UN"


def _make_delimiter(tag: int) -> Kind:
    return Kind(tag, "", "", DELIMITER, None, False, b"", canonical.SILENT, 1)

"""DICOM JSON as a data set in Explicit VR Little Endian: text in UTF-8, bulk values by reference.

Values go out in pieces; what lies on the request's shelf is only pointed at, so that a value of
many GB costs nothing here. What cannot be written as its VR is refused with the attribute's name.

Source:
    PS3.18 §F.2 (JSON model); PS3.5 §6.2 (value representations), §7.1 and §7.5 (elements, items).
"""

from __future__ import annotations

import binascii
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydicom.valuerep import format_number_as_ds

from lamella.archive.values import BULK_VRS, LONG_HEADER_VRS, TEXT_VRS
from lamella.errors import InvalidInstance
from lamella.imaging.elements import UNDEFINED_LENGTH, Span, encode_element

Attributes = Mapping[str, Mapping[str, Any]]
Piece = bytes | Span
FindBulk = Callable[[str], Sequence[Span]]
"""Returns where the value of a BulkDataURI lies; raises InvalidInstance where nothing does."""

CHARSET = 0x00080005
UTF_8 = {"vr": "CS", "Value": ["ISO_IR 192"]}
MAX_DEPTH = 64
LONGEST_VALUE_BYTES = 0xFFFFFFFE
LONGEST_SHORT_BYTES = 0xFFFE

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_OPEN_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED_LENGTH)
_CLOSE_ITEM = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
_CLOSE_SEQUENCE = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_INTEGERS = {"SL": "<i", "SS": "<h", "SV": "<q", "UL": "<I", "US": "<H", "UV": "<Q"}
_FLOATS = {"FD": "<d", "FL": "<f"}
_NO_VALUE = (ValueError, TypeError, OverflowError, struct.error)


def write_data_set(
    attributes: Attributes,
    find_bulk: FindBulk,
    ready: Mapping[int, Sequence[Piece]],
    *,
    is_ascii: bool,
) -> Iterator[Piece]:
    """Yield a data set, elements in ascending order.

    Args:
        attributes: DICOM JSON. Group 0002 and group lengths are left out.
        find_bulk: Looks up bulk values.
        ready: Top-level elements by tag that are written already.
        is_ascii: Whether all text is; if not, the character set is declared as UTF-8.

    Raises:
        InvalidInstance: An attribute cannot be written.
    """
    writer = _Writer(find_bulk, is_ascii=is_ascii)
    yield from writer.write_level(attributes, 0, ready)


class _Writer:
    def __init__(self, find_bulk: FindBulk, *, is_ascii: bool) -> None:
        self._find_bulk = find_bulk
        self._is_ascii = is_ascii

    def write_level(
        self, attributes: Attributes, depth: int, ready: Mapping[int, Sequence[Piece]]
    ) -> Iterator[Piece]:
        """Yield the elements of a data set or item."""
        found = {read_tag(key): element for key, element in attributes.items()}
        if not self._is_ascii and (depth == 0 or CHARSET in found):
            found[CHARSET] = UTF_8
        for tag in sorted({*found, *ready}):
            if tag in ready:
                yield from ready[tag]
            elif tag >> 16 > 2 and tag & 0xFFFF:
                yield from self._write_element(tag, found[tag], depth)

    def _write_element(self, tag: int, element: Mapping[str, Any], depth: int) -> Iterator[Piece]:
        vr = read_vr(tag, element)
        if "BulkDataURI" in element:
            spans = self._find_bulk(str(element["BulkDataURI"]))
            yield from write_spans(tag, vr, spans)
        elif vr == "SQ":
            yield encode_element(tag, vr, b"")[:8] + struct.pack("<L", UNDEFINED_LENGTH)
            for item in _read_items(tag, element):
                yield _OPEN_ITEM
                if depth >= MAX_DEPTH:
                    raise InvalidInstance(f"Sequences are nested deeper than {MAX_DEPTH}.")
                yield from self.write_level(item, depth + 1, {})
                yield _CLOSE_ITEM
            yield _CLOSE_SEQUENCE
        else:
            yield write_value(tag, vr, encode_value(tag, vr, element))


def read_tag(key: object) -> int:
    """Return the tag that a key of DICOM JSON names.

    Raises:
        InvalidInstance: It names none.
    """
    if not isinstance(key, str) or not _TAG.fullmatch(key):
        raise InvalidInstance("An attribute's name is not eight hexadecimal digits.")
    return int(key, 16)


def read_vr(tag: int, element: object) -> str:
    """Return the VR of an element.

    Raises:
        InvalidInstance: It has none that the standard knows, or is no element at all.
    """
    vr = element.get("vr") if isinstance(element, Mapping) else None
    if vr not in TEXT_VRS and vr not in BULK_VRS and vr not in ("SQ", "AT", *_INTEGERS, *_FLOATS):
        raise InvalidInstance(f"Attribute {tag:08X} has no VR that the standard knows.")
    return str(vr)


def write_value(tag: int, vr: str, value: bytes) -> bytes:
    """Return an element with a value in memory, padded to even length.

    Source:
        PS3.5 §6.2 (padding), §6.2.2 (what is too long for its VR's length is UN).
    """
    value = pad_value(vr, value)
    if vr not in LONG_HEADER_VRS and len(value) > LONGEST_SHORT_BYTES:
        vr = "UN"
    return encode_element(tag, vr, value)


def pad_value(vr: str, value: bytes) -> bytes:
    """Return a value of even length (PS3.5 §6.2)."""
    return value + _padding(vr) if len(value) % 2 else value


def write_spans(tag: int, vr: str, spans: Sequence[Span]) -> Iterator[Piece]:
    """Yield an element whose value lies on the shelf.

    Raises:
        InvalidInstance: It is too long.
    """
    length = sum(map(len, spans))
    padding = _padding(vr) if length % 2 else b""
    length += len(padding)
    if length > LONGEST_VALUE_BYTES:
        raise InvalidInstance(f"Attribute {tag:08X} is longer than 4 GiB.")
    if vr in LONG_HEADER_VRS or length > LONGEST_SHORT_BYTES:
        vr = vr if vr in LONG_HEADER_VRS else "UN"
        yield encode_element(tag, vr, b"")[:8] + struct.pack("<L", length)
    else:
        yield encode_element(tag, vr, b"")[:6] + struct.pack("<H", length)
    yield from spans
    if padding:
        yield padding


def encode_value(tag: int, vr: str, element: Mapping[str, Any]) -> bytes:
    """Return the bytes of an element's value, not padded.

    Raises:
        InvalidInstance: They cannot be written as this VR.
    """
    try:
        if "InlineBinary" in element:
            return decode_inline(tag, element)
        values = element.get("Value") or []
        if not isinstance(values, list) or (values and vr in BULK_VRS):
            raise ValueError
        return _encode_values(vr, values)
    except _NO_VALUE as error:
        raise InvalidInstance(f"Attribute {tag:08X} has a value that is no {vr}.") from error


def decode_inline(tag: int, element: Mapping[str, Any]) -> bytes:
    """Return the bytes of an `InlineBinary`.

    Raises:
        InvalidInstance: It is no base64.
    """
    text = element["InlineBinary"]
    if isinstance(text, list) and len(text) == 1:  # older editions had an array
        text = text[0]
    try:
        return binascii.a2b_base64(text, strict_mode=True) if text else b""
    except _NO_VALUE as error:
        raise InvalidInstance(f"Attribute {tag:08X} has inline data that is no base64.") from error


def _encode_values(vr: str, values: Sequence[Any]) -> bytes:
    if vr in TEXT_VRS:
        return "\\".join(_write_text(vr, value) for value in values).encode("utf-8")
    if vr == "AT":
        return b"".join(_pack_tag(value) for value in values)
    if vr in _INTEGERS:
        return b"".join(struct.pack(_INTEGERS[vr], int(value)) for value in values)
    return b"".join(struct.pack(_FLOATS[vr], float(value)) for value in values)


def _write_text(vr: str, value: Any) -> str:
    if value is None:
        return ""
    if vr == "PN" and isinstance(value, Mapping):
        groups = [value.get(name) or "" for name in _NAME_GROUPS]
        return "=".join(groups).rstrip("=")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    if isinstance(value, float) and vr == "IS" and value.is_integer():
        return str(int(value))
    if isinstance(value, float):
        return str(format_number_as_ds(value))
    return str(value)


def _pack_tag(value: Any) -> bytes:
    tag = read_tag(value)
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF)


def _read_items(tag: int, element: Mapping[str, Any]) -> list[Attributes]:
    items = element.get("Value") or []
    if not isinstance(items, list) or not all(
        item is None or isinstance(item, Mapping) for item in items
    ):
        raise InvalidInstance(f"Attribute {tag:08X} has items that are no data sets.")
    return [item or {} for item in items]


def _padding(vr: str) -> bytes:
    return b" " if vr in TEXT_VRS and vr != "UI" else b"\0"

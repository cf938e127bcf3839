"""Finding the bytes behind a BulkDataURI.

Source:
    PS3.18 §10.4.1.1.5 (bulk data resources); the paths are this project's own, see `dicom_json`.
"""

from __future__ import annotations

from binascii import a2b_base64
from dataclasses import dataclass

from lamella.archive.frames import DoubtfulFrames, read_items
from lamella.archive.header import Header, read_header
from lamella.archive.recorder import Attributes, BulkValue
from lamella.archive.source import ByteSource, MemorySource
from lamella.errors import ResourceNotFound

_MOST_DIGITS = 9  # of the number of an item in its sequence


@dataclass(frozen=True, slots=True)
class ValueLocation:
    """Where the bytes of one value lie.

    Attributes:
        source: What the offsets count in: the file, or the inflated data set of a deflated one.
        offset_bytes: Start of the value field.
        length_bytes: Its length; of an encapsulated value with the sequence delimitation item.
        vr: As in the DICOM JSON.
        word_bytes: Size of the words to swap to get little endian; 1 if none.
        fragments: `(offset_bytes, length_bytes)` of an encapsulated value's fragments, without
            the basic offset table; None for a plain value.
        transfer_syntax_uid: Of the file.
    """

    source: ByteSource
    offset_bytes: int
    length_bytes: int
    vr: str
    word_bytes: int
    fragments: tuple[tuple[int, int], ...] | None
    transfer_syntax_uid: str


def find_value(source: ByteSource, path: str) -> ValueLocation:
    """Return where the value lies that a bulk data path names.

    The header is read again, which costs well under a millisecond for a slice.

    Args:
        source: The whole Part 10 file.
        path: What follows `bulkdata/` in a BulkDataURI, such as `54000100/0/54001010`; binary
            values that the JSON shows inline are found too.

    Raises:
        ResourceNotFound: The instance has no bulk value there.
        InvalidInstance: The source is no readable file.
    """
    header = read_header(source)
    value = header.bulk_values.get(path.upper())
    if value is not None:
        return _locate(header, value)
    vr, raw = _find_inline(header.attributes, path.upper())
    return ValueLocation(MemorySource(raw), 0, len(raw), vr, 1, None, header.transfer_syntax_uid)


def _locate(header: Header, value: BulkValue) -> ValueLocation:
    fragments = None
    if value.encapsulated:
        try:
            fragments = tuple(read_items(header.source, value)[1:])
        except DoubtfulFrames:
            fragments = ()
    return ValueLocation(
        header.source,
        value.offset_bytes,
        value.length_bytes,
        value.vr,
        value.word_bytes,
        fragments,
        header.transfer_syntax_uid,
    )


def _find_inline(attributes: Attributes, path: str) -> tuple[str, bytes]:
    """Walk the JSON structure along a path to a value that it shows in base64."""
    *steps, key = path.split("/")
    for tag, item_index in zip(steps[::2], steps[1::2], strict=False):
        items = attributes.get(tag, {}).get("Value", [])
        is_index = item_index.isdecimal() and len(item_index) <= _MOST_DIGITS
        if attributes.get(tag, {}).get("vr") != "SQ" or not is_index:
            raise ResourceNotFound(f"The instance has no bulk data at {path}.")
        if int(item_index) >= len(items):
            raise ResourceNotFound(f"The instance has no bulk data at {path}.")
        attributes = items[int(item_index)]
    element = attributes.get(key, {})
    if len(steps) % 2 or "InlineBinary" not in element:
        raise ResourceNotFound(f"The instance has no bulk data at {path}.")
    return str(element["vr"]), a2b_base64(element["InlineBinary"])

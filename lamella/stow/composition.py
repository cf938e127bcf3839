"""Metadata and bulk parts, put together to the Part 10 file of one instance.

Source:
    PS3.18 §10.5.1.4 and §10.5.2; PS3.10 §7.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from lamella.archive.part10 import build_file_meta
from lamella.dicomweb.frame_types import EXPLICIT_VR_LITTLE_ENDIAN
from lamella.dicomweb.media_types import MediaType
from lamella.errors import InvalidInstance
from lamella.imaging.data_sets import (
    Piece,
    decode_inline,
    read_tag,
    read_vr,
    write_data_set,
    write_spans,
    write_value,
)
from lamella.imaging.elements import PIXEL_DATA
from lamella.imaging.explicit import read_pieces
from lamella.stow import pixels
from lamella.stow.bulk_parts import BulkPart, BulkParts
from lamella.stow.metadata import DataSet
from lamella.stow.shelf import Shelf

_PIXELS = f"{PIXEL_DATA:08X}"
_EXTENDED_OFFSETS = (0x7FE00001, 0x7FE00002)
_SOP_CLASS_UID, _SOP_UID = "00080016", "00080018"


@dataclass(frozen=True, slots=True)
class Composed:
    """An instance, put together.

    Attributes:
        chunks: The Part 10 file, to be taken once; raises InvalidInstance where an attribute
            cannot be written.
        lost_elements: Whether elements were left out that no data set may have.
    """

    chunks: Iterator[bytes]
    lost_elements: bool


def compose(data_set: DataSet, kind: MediaType | None, bulk: BulkParts, shelf: Shelf) -> Composed:
    """Return an instance as a file.

    Args:
        data_set: Its metadata; attributes that pixels tell are added.
        kind: Content-Type of the metadata part, which may name the transfer syntax.
        bulk: The request's bulk parts.
        shelf: Where they lie.

    Raises:
        InvalidInstance: Metadata and bulk parts do not go together.
        TransferSyntaxNotSupported: The pixels' transfer syntax is not known.
    """
    tags = {read_tag(key) for key in data_set}
    data_set = {key.upper(): element for key, element in data_set.items()}
    ready: dict[int, Sequence[Piece]] = {}
    transfer_syntax = pixels.find_transfer_syntax(None, kind, b"")
    if _PIXELS in data_set:
        transfer_syntax, ready = _write_pixels(data_set, kind, bulk, shelf)
    names = (read_name(data_set, _SOP_CLASS_UID), read_name(data_set, _SOP_UID))
    # what is in the file meta is what the data set has, so it is checked where that is read
    meta = build_file_meta(*names, transfer_syntax)
    is_ascii = msgspec.json.encode(data_set).isascii()
    written = write_data_set(data_set, bulk.find_spans, ready, is_ascii=is_ascii)
    lost = any(tag >> 16 <= 2 or not tag & 0xFFFF for tag in tags)
    return Composed(read_pieces(shelf.source(), _chain(meta, written)), lost)


def read_name(data_set: DataSet, key: str) -> str:
    """Return a UID of a data set; '' where there is no sound one."""
    element: Any = data_set.get(key)
    values = element.get("Value") if isinstance(element, dict) else None
    value = values[0] if isinstance(values, list) and values else ""
    return value.strip() if isinstance(value, str) and len(value) <= 64 else ""


def _chain(meta: bytes, pieces: Iterator[Piece]) -> Iterator[Piece]:
    yield meta
    yield from pieces


def _write_pixels(
    data_set: DataSet, kind: MediaType | None, bulk: BulkParts, shelf: Shelf
) -> tuple[str, dict[int, Sequence[Piece]]]:
    """Return the transfer syntax, and Pixel Data as an element; complete the metadata."""
    element = data_set[_PIXELS]
    vr = read_vr(PIXEL_DATA, element)
    if "BulkDataURI" not in element:
        inline = decode_inline(PIXEL_DATA, element) if "InlineBinary" in element else b""
        return _write_inline(data_set, kind, vr, inline)
    parts = bulk.find(str(element["BulkDataURI"]))
    source, spans = shelf.source(), [part.span for part in parts]
    head = source.read_at(spans[0].offset_bytes, min(len(spans[0]), pixels.HEADER_BYTES))
    uid = pixels.find_transfer_syntax(parts[0].media_type, kind, head)
    if uid == EXPLICIT_VR_LITTLE_ENDIAN:
        pixels.check_native_length(data_set, sum(map(len, spans)))
        return uid, {PIXEL_DATA: list(write_spans(PIXEL_DATA, vr, spans))}
    if not _is_whole(parts, head):
        pixels.check_frames(data_set, len(parts))
    data_set.update(pixels.derive_image_attributes(data_set, head))
    dropped: dict[int, Sequence[Piece]] = dict.fromkeys(_EXTENDED_OFFSETS, ())
    return uid, {**dropped, PIXEL_DATA: pixels.encapsulate(source, spans)}


def _write_inline(
    data_set: DataSet, kind: MediaType | None, vr: str, value: bytes
) -> tuple[str, dict[int, Sequence[Piece]]]:
    uid = pixels.find_transfer_syntax(None, kind, value)
    if uid != EXPLICIT_VR_LITTLE_ENDIAN:
        raise InvalidInstance("Compressed pixels need a part of their own.")
    pixels.check_native_length(data_set, len(value))
    return uid, {PIXEL_DATA: [write_value(PIXEL_DATA, vr, value)]}


def _is_whole(parts: Sequence[BulkPart], head: bytes) -> bool:
    """Tell whether the number of parts says nothing of the number of frames."""
    is_video = parts[0].media_type.type == "video"
    return len(parts) == 1 and (is_video or head.startswith(b"\xfe\xff\x00\xe0"))

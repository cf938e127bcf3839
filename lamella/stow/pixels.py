"""Pixel data that came as parts of their own: which transfer syntax, which element, how long.

Source:
    PS3.18 §10.5.1.4, §10.5.2 and Tables 8.7.3-4, 8.7.3-5; PS3.5 §8.2, §A.4 (encapsulation);
    PS3.3 §C.7.6.3 (Image Pixel Module).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from lamella.archive.source import ByteSource
from lamella.dicomweb.frame_types import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    LEGACY_NAMES,
    NATIVE_TRANSFER_SYNTAXES,
)
from lamella.dicomweb.media_types import MediaType
from lamella.errors import InvalidInstance, TransferSyntaxNotSupported
from lamella.imaging.codestreams import (
    CodestreamHeader,
    read_jpeg2000_header,
    read_jpeg_header,
)
from lamella.imaging.data_sets import Attributes, Piece
from lamella.imaging.elements import PIXEL_DATA, UNDEFINED_LENGTH, Span, encode_element

HEADER_BYTES = 1 << 20
_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_LONGEST_FRAGMENT_BYTES = 0xFFFFFFFE
_ROOT = "1.2.840.10008.1.2."
_DEFAULTS = {
    "image/jls": "4.80",
    "image/jp2": "4.90",
    "image/jpx": "4.92",
    "image/jphc": "4.201",
    "image/jxl": "4.110",
    "image/dicom-rle": "5",
    "video/mpeg": "4.100",
    "video/mp4": "4.102",
}
_BY_FRAME_HEADER = {0xC0: "4.50", 0xC1: "4.51", 0xC3: "4.70"}
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}


def find_transfer_syntax(
    media_type: MediaType | None, metadata: MediaType | None, head: bytes
) -> str:
    """Return the transfer syntax of pixel data.

    Args:
        media_type: Of their part; None if they are inline or there are none.
        metadata: Of the part that describes them, which may name it as well.
        head: How their first frame begins, for image types that leave it open.

    Returns:
        A UID; Explicit VR Little Endian for every native one, as bulk parts are little endian.

    Raises:
        TransferSyntaxNotSupported: It is none that pixels may have.
    """
    kind = LEGACY_NAMES.get(media_type.essence, media_type.essence) if media_type else ""
    named = media_type.parameter("transfer-syntax") if media_type else None
    if named is None and kind == "image/jpeg":
        named = _name_jpeg(head)
    elif named is None and kind in _DEFAULTS:
        named = _ROOT + _name_lossy(kind, head)
    elif named is None and kind.startswith(("image/", "video/")):
        raise TransferSyntaxNotSupported(f"Pixel data of type {kind} need a transfer syntax.")
    elif named is None and metadata is not None:
        named = metadata.parameter("transfer-syntax")
    if named is None or named == "*" or named in NATIVE_TRANSFER_SYNTAXES:
        return EXPLICIT_VR_LITTLE_ENDIAN
    if not named.startswith(_ROOT):
        raise TransferSyntaxNotSupported("A transfer syntax is none of the standard's.")
    return named


def _name_jpeg(head: bytes) -> str:
    """Return what a JPEG codestream says that it is, by its frame header."""
    suffix = _BY_FRAME_HEADER.get(_find_frame_header(head))
    if suffix is None:
        raise TransferSyntaxNotSupported("A part of type image/jpeg is no JPEG that DICOM knows.")
    return _ROOT + suffix


def _find_frame_header(head: bytes) -> int:
    """Return the marker of a JPEG or JPEG-LS codestream's frame header; 0 without one."""
    position = 2
    while head[position : position + 1] == b"\xff" and position + 4 <= len(head):
        marker = head[position + 1]
        if marker in _FRAME_HEADERS:
            return marker
        position += 2 + int.from_bytes(head[position + 2 : position + 4], "big")
    return 0


def _name_lossy(kind: str, head: bytes) -> str:
    """Return the default of an image type, or its lossy sibling if that is what the bytes are."""
    if kind == "image/jls":
        scan = head.find(b"\xff\xda")
        near = scan + 5 + 2 * head[scan + 4] if 0 <= scan < len(head) - 5 else len(head)
        return "4.81" if head[near : near + 1] not in (b"", b"\0") else "4.80"
    if kind == "image/jp2":
        coding = head.find(b"\xff\x52")
        if coding >= 0 and head[coding + 13 : coding + 14] == b"\0":
            return "4.91"
    return _DEFAULTS[kind]


def encapsulate(source: ByteSource, frames: Sequence[Span]) -> list[Piece]:
    """Return an encapsulated Pixel Data element: an offset table, then a fragment a frame.

    Args:
        source: What the spans are in.
        frames: Each frame's bytes; one that is a sequence of fragments already stays as it is.

    Raises:
        InvalidInstance: A frame is too long for a fragment, or empty.
    """
    head = encode_element(PIXEL_DATA, "OB", b"")[:8] + struct.pack("<L", UNDEFINED_LENGTH)
    if len(frames) == 1 and source.read_at(frames[0].offset_bytes, 4) == _ITEM:
        end = source.read_at(frames[0].offset_bytes + len(frames[0]) - 8, 8)
        return [head, frames[0], b"" if end == _SEQUENCE_END else _SEQUENCE_END]
    lengths = [len(frame) + len(frame) % 2 for frame in frames]
    if not all(0 < length <= _LONGEST_FRAGMENT_BYTES for length in lengths):
        raise InvalidInstance("A frame is empty, or longer than 4 GiB.")
    pieces: list[Piece] = [head, write_offset_table(lengths)]
    for frame, length in zip(frames, lengths, strict=True):
        pieces += [_ITEM + struct.pack("<L", length), frame]
        if length > len(frame):
            pieces.append(b"\0")
    return [*pieces, _SEQUENCE_END]


def write_offset_table(lengths: Sequence[int]) -> bytes:
    """Return a Basic Offset Table; an empty one where its 32 bits would not do."""
    starts = list(accumulate((8 + length for length in lengths), initial=0))[:-1]
    if starts[-1] > 0xFFFFFFFF:
        return _ITEM + struct.pack("<L", 0)
    return _ITEM + struct.pack(f"<L{len(starts)}L", 4 * len(starts), *starts)


def check_frames(attributes: Attributes, n_parts: int) -> None:
    """Refuse a number of frames that is another than announced.

    Raises:
        InvalidInstance: It is.
    """
    n_frames = _read_number(attributes, "00280008", 1)
    if n_parts != n_frames:
        raise InvalidInstance(f"There are {n_parts} parts of pixels for {n_frames} frames.")


def check_native_length(attributes: Attributes, length_bytes: int) -> None:
    """Refuse native Pixel Data that are shorter or longer than the attributes say.

    Raises:
        InvalidInstance: They are; attributes that do not tell are no reason.

    Source:
        PS3.5 §8.1.1; PS3.3 §C.7.6.3.1.2 (YBR_FULL_422 has two samples a pixel).
    """
    keys = ("00280010", "00280011", "00280100")
    rows, columns, bits = (_read_number(attributes, key, 0) for key in keys)
    samples = _read_number(attributes, "00280002", 1)
    if _read_text(attributes, "00280004") == "YBR_FULL_422":
        samples = 2
    total_bits = rows * columns * samples * bits * _read_number(attributes, "00280008", 1)
    if not total_bits:
        return
    expected = -(-total_bits // 8)
    if length_bytes not in (expected, expected + expected % 2):
        raise InvalidInstance(f"Pixel Data have {length_bytes} bytes instead of {expected}.")


def derive_image_attributes(attributes: Attributes, head: bytes) -> dict[str, dict[str, Any]]:
    """Return the attributes of the Image Pixel Description Macro that metadata leave out.

    Args:
        attributes: The metadata.
        head: How the first frame begins.

    Returns:
        DICOM JSON; empty where all are there, or the codestream tells nothing.
    """
    header = read_jpeg_header(head) or read_jpeg2000_header(head)
    if header is None:
        return {}
    bits = 8 if header.precision <= 8 else 16
    derived: dict[str, dict[str, Any]] = {
        "00280002": {"vr": "US", "Value": [header.samples]},
        "00280004": {"vr": "CS", "Value": [_name_colours(header, head)]},
        "00280010": {"vr": "US", "Value": [header.rows]},
        "00280011": {"vr": "US", "Value": [header.columns]},
        "00280100": {"vr": "US", "Value": [bits]},
        "00280101": {"vr": "US", "Value": [header.precision]},
        "00280102": {"vr": "US", "Value": [header.precision - 1]},
        "00280103": {"vr": "US", "Value": [int(header.is_signed)]},
    }
    if header.samples > 1:
        derived["00280006"] = {"vr": "US", "Value": [0]}
    return {key: element for key, element in derived.items() if key not in attributes}


def _name_colours(header: CodestreamHeader, head: bytes) -> str:
    if header.samples != 3:
        return "MONOCHROME2"
    coding = head.find(b"\xff\x52")
    if head[:2] != b"\xff\xd8" and coding >= 0:  # JPEG 2000
        if head[coding + 8 : coding + 9] != b"\1":
            return "RGB"
        return "YBR_ICT" if head[coding + 13 : coding + 14] == b"\0" else "YBR_RCT"
    is_lossy = _find_frame_header(head) in (0xC0, 0xC1, 0xC2)
    is_plain = header.adobe_transform == 0 or header.component_ids == b"RGB"
    return "RGB" if is_plain or not is_lossy else "YBR_FULL_422"


def _read_number(attributes: Mapping[str, Mapping[str, Any]], key: str, default: int) -> int:
    values = attributes.get(key, {}).get("Value")
    try:
        return int(values[0]) if values else default
    except (TypeError, ValueError, KeyError):
        return 0


def _read_text(attributes: Mapping[str, Mapping[str, Any]], key: str) -> str:
    values = attributes.get(key, {}).get("Value")
    return values[0] if isinstance(values, list) and values and isinstance(values[0], str) else ""

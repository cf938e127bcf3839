"""What a codestream says of itself, read from its first bytes without decoding it.

Decoders trust the codestream's own dimensions, so these are compared with the attributes before
any memory is given to a decoder; and only the codestream knows whether its samples are YCbCr.

Source:
    ITU-T T.81 Annex B (JPEG), T.87 Annex C (JPEG-LS), T.800 Annex A (JPEG 2000), JFIF 1.02,
    Adobe TN 5116 (APP14).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "


@dataclass(frozen=True)
class CodestreamHeader:
    """Dimensions and sample format of a codestream.

    Attributes:
        precision: Bits per sample.
        is_signed: Of the first component (JPEG and JPEG-LS have no sign).
        component_ids: JPEG only; cameras write the letters R, G, B here.
        has_jfif: A JFIF marker stands in front of the frame header.
        adobe_transform: From an Adobe marker: 0 none (RGB), 1 YCbCr; None without one.
    """

    rows: int
    columns: int
    samples: int
    precision: int
    is_signed: bool = False
    component_ids: bytes = b""
    has_jfif: bool = False
    adobe_transform: int | None = None


def read_jpeg_header(codestream: bytes) -> CodestreamHeader | None:
    """Return the header of a JPEG or JPEG-LS codestream, or None if there is none."""
    if not codestream.startswith(b"\xff\xd8"):
        return None
    position, has_jfif, adobe = 2, False, None
    while position + 4 <= len(codestream):
        if codestream[position] != 0xFF:
            return None
        marker = codestream[position + 1]
        if marker == 0xFF or marker in _STANDALONE:
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(codestream[position + 2 : position + 4], "big")
        segment = codestream[position + 4 : position + 2 + length]
        if marker in _SOF_MARKERS:
            return _read_frame_header(segment, has_jfif, adobe)
        if marker == 0xE0 and segment.startswith(b"JFIF\x00"):
            has_jfif = True
        elif marker == 0xEE and segment.startswith(b"Adobe") and len(segment) >= 12:
            adobe = segment[11]
        position += 2 + length
    return None


def _read_frame_header(
    segment: bytes, has_jfif: bool, adobe_transform: int | None
) -> CodestreamHeader | None:
    if len(segment) < 6:
        return None
    precision, rows, columns, samples = struct.unpack_from(">BHHB", segment)
    ids = segment[6 : 6 + 3 * samples : 3]
    return CodestreamHeader(
        rows, columns, samples, precision, False, ids, has_jfif, adobe_transform
    )


def read_jpeg2000_header(codestream: bytes) -> CodestreamHeader | None:
    """Return the header of a JPEG 2000 or HTJ2K codestream, also within JP2 boxes, or None."""
    start = 0
    if codestream.startswith(_JP2_SIGNATURE):
        start = _find_codestream_box(codestream)
    if codestream[start : start + 4] != b"\xff\x4f\xff\x51" or len(codestream) < start + 43:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", codestream, start + 8)
    samples = int.from_bytes(codestream[start + 40 : start + 42], "big")
    depth = codestream[start + 42]
    return CodestreamHeader(
        bottom - top, right - left, samples, (depth & 0x7F) + 1, bool(depth & 0x80)
    )


def _find_codestream_box(data: bytes) -> int:
    """Return where the codestream starts within JP2 boxes, or the end of the data."""
    position = 0
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == b"jp2c":
            return position + (16 if length == 1 else 8)
        if length < 8:
            break
        position += length
    return len(data)

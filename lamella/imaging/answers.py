"""In which form an instance goes out, decided from its attributes alone.

Source:
    PS3.18 §8.7.3: without a transfer-syntax parameter the answer is Explicit VR Little Endian,
    unless there is only a lossy form or the native value would be too long; Implicit VR Little
    Endian and Explicit VR Big Endian are not used at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from lamella.errors import BrokenInstance
from lamella.imaging.decoders import PixelDescription, can_decode
from lamella.imaging.encoders import TARGETS, can_encode
from lamella.imaging.explicit import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    MAX_VALUE_BYTES,
)

_PREFIX = "1.2.840.10008.1.2."
_UNWANTED = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.2"})
_NATIVE = _UNWANTED | {EXPLICIT_VR_LITTLE_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN}
# Every process of theirs loses something, or what they hold was lossy before (4.111).
_ALWAYS_LOSSY = frozenset(
    _PREFIX + f"4.{suffix}"
    for suffix in (*range(50, 57), *range(59, 65), 81, *range(100, 109), 111)
) | frozenset(_PREFIX + f"4.{number}.1" for number in range(100, 107))
# They hold either; the instance says which.
_PERHAPS_LOSSY = frozenset(_PREFIX + f"4.{suffix}" for suffix in (91, 93, 112, 203))


class Answer(Enum):
    """A form in which an instance can go out.

    STORED: its own bytes. REWRITTEN: `explicit.rewrite_explicit`. DECOMPRESSED:
    `explicit.decompress_instance`. TRANSCODED: `transcoded.transcode_instance`.
    """

    STORED = "stored"
    REWRITTEN = "rewritten"
    DECOMPRESSED = "decompressed"
    TRANSCODED = "transcoded"


def is_lossy(transfer_syntax_uid: str, dicom_json: Mapping[str, Any]) -> bool:
    """Tell whether the stored form itself is a lossy compression.

    A lossless form of an image that was lossy once is not: decompressing it loses nothing.

    Source:
        PS3.5 Annex A.4; PS3.3 §C.7.6.1.1.5 (Lossy Image Compression).
    """
    if transfer_syntax_uid in _ALWAYS_LOSSY:
        return True
    values = dicom_json.get("00282110", {}).get("Value") or [""]
    return transfer_syntax_uid in _PERHAPS_LOSSY and values[0] == "01"


def plan_default_answer(
    transfer_syntax_uid: str, dicom_json: Mapping[str, Any], frame_count: int
) -> Answer:
    """Return the form for a request that names no transfer syntax.

    Args:
        transfer_syntax_uid: That of the stored file.
        dicom_json: Of the instance.
        frame_count: Frames that the frame table knows.

    Source:
        PS3.18 §8.7.3.
    """
    if is_lossy(transfer_syntax_uid, dicom_json):
        return Answer.STORED
    return _plan_explicit(transfer_syntax_uid, dicom_json, frame_count) or Answer.STORED


def plan_answer(
    wanted: str | None, transfer_syntax_uid: str, dicom_json: Mapping[str, Any], frame_count: int
) -> Answer | None:
    """Return the form for a request, or None if the instance cannot be given as asked.

    Args:
        wanted: The transfer-syntax parameter: None, `*` or a UID.
        transfer_syntax_uid: That of the stored file.
        dicom_json: Of the instance.
        frame_count: Frames that the frame table knows.

    Source:
        PS3.18 §8.7.3.
    """
    if wanted is None:
        return plan_default_answer(transfer_syntax_uid, dicom_json, frame_count)
    if wanted == EXPLICIT_VR_LITTLE_ENDIAN:
        return _plan_explicit(transfer_syntax_uid, dicom_json, frame_count)
    if wanted == "*":
        return Answer.REWRITTEN if transfer_syntax_uid in _UNWANTED else Answer.STORED
    if wanted == transfer_syntax_uid and wanted not in _UNWANTED:
        return Answer.STORED
    is_possible = wanted in list_encodable(transfer_syntax_uid, dicom_json, frame_count)
    return Answer.TRANSCODED if is_possible else None


def list_encodable(
    transfer_syntax_uid: str, dicom_json: Mapping[str, Any], frame_count: int
) -> tuple[str, ...]:
    """Return the compressed transfer syntaxes that an instance can be transcoded to.

    Args:
        transfer_syntax_uid: That of the stored file.
        dicom_json: Of the instance.
        frame_count: Frames that the frame table knows.
    """
    if "7FE00010" not in dicom_json:
        return ()
    if transfer_syntax_uid not in _NATIVE and not can_decode(transfer_syntax_uid):
        return ()
    try:
        pixel = PixelDescription.from_dicom_json(dicom_json, transfer_syntax_uid)
    except BrokenInstance:
        return ()
    # Of a deflated file the frames are found when it is inflated.
    if pixel.frames != frame_count and transfer_syntax_uid != DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return ()
    return tuple(uid for uid in TARGETS if can_encode(uid, pixel))


def _plan_explicit(
    transfer_syntax_uid: str, dicom_json: Mapping[str, Any], frame_count: int
) -> Answer | None:
    """Return how the instance becomes Explicit VR Little Endian, or None if it cannot."""
    if transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN:
        return Answer.STORED
    if transfer_syntax_uid in _NATIVE:
        return Answer.REWRITTEN
    if "7FE00010" not in dicom_json:
        # A report, say, in a syntax that only matters to pixels. JPIP has a URL for pixels.
        return None if "00287FE0" in dicom_json else Answer.REWRITTEN
    if not can_decode(transfer_syntax_uid):
        return None
    try:
        pixel = PixelDescription.from_dicom_json(dicom_json, transfer_syntax_uid)
    except BrokenInstance:
        return None
    is_whole = pixel.frames == frame_count and pixel.value_bytes <= MAX_VALUE_BYTES
    return Answer.DECOMPRESSED if is_whole else None

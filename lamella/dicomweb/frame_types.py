"""Which media type frames of a transfer syntax have.

Source:
    PS3.18 §8.7.3.3.2 and Table 8.7.3-5; PS3.6 Table A-1 (transfer syntax UIDs).
"""

from __future__ import annotations

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
# Implicit VR Little Endian and Explicit VR Big Endian never leave over the web (PS3.18 §8.7.3).
UNWANTED_TRANSFER_SYNTAXES = frozenset({IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN})
NATIVE_TRANSFER_SYNTAXES = UNWANTED_TRANSFER_SYNTAXES | {
    EXPLICIT_VR_LITTLE_ENDIAN,
    "1.2.840.10008.1.2.1.98",
    "1.2.840.10008.1.2.1.99",
}

_JPEG = tuple(f"4.{number}" for number in (*range(50, 67), 70))
_FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("image/jpeg", _JPEG),
    ("image/jls", ("4.80", "4.81")),
    ("image/jp2", ("4.90", "4.91")),
    ("image/jpx", ("4.92", "4.93")),
    ("image/jphc", ("4.201", "4.202", "4.203")),
    ("image/jxl", ("4.110", "4.111", "4.112")),
    ("image/dicom-rle", ("5",)),
    ("video/mpeg", ("4.100", "4.100.1", "4.101", "4.101.1")),
    (
        "video/mp4",
        ("4.102", "4.102.1", "4.103", "4.103.1", "4.104", "4.104.1", "4.105", "4.105.1",
         "4.106", "4.106.1", "4.107", "4.108"),
    ),
)  # fmt: skip
FRAME_MEDIA_TYPES: dict[str, str] = {
    f"1.2.840.10008.1.2.{suffix}": media_type
    for media_type, suffixes in _FAMILIES
    for suffix in suffixes
}
# What an image type means that comes without a transfer syntax (PS3.18 Table 8.7.3-5).
DEFAULT_SYNTAXES = frozenset(
    f"1.2.840.10008.1.2.{suffix}" for suffix in ("4.70", "4.80", "4.90", "4.201", "5")
)
# What earlier editions and known clients call the same things.
LEGACY_NAMES = {
    "image/dicom+rle": "image/dicom-rle",
    "image/x-dicom-rle": "image/dicom-rle",
    "image/dicom+jpeg": "image/jpeg",
    "image/x-jls": "image/jls",
    "image/dicom+jp2": "image/jp2",
    "image/dicom+jpx": "image/jpx",
    "image/jph": "image/jphc",
}

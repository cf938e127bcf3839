"""Colour frames to RGB, and their ICC profiles.

Source:
    PS3.3 §C.7.6.3.1.2 (photometric interpretations), §C.7.6.3.1.5 and §C.7.9 (palettes),
    §C.11.15 (ICC profile); PS3.18 §8.3.5.1.5 (`iccprofile`).
"""

from __future__ import annotations

import io
from binascii import a2b_base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from lamella.errors import BrokenInstance, NotAcceptable
from lamella.imaging.decoders import PixelDescription
from lamella.imaging.rendering.luts import (
    Array,
    LookUpTable,
    expand_segments,
    read_table,
    read_words,
)

_DESCRIPTORS = ("00281101", "00281102", "00281103")
_DATA = ("00281201", "00281202", "00281203")
_SEGMENTED_DATA = ("00281221", "00281222", "00281223")
_ICC_PROFILE = "00282000"


def render_palette(samples: Array, pixel: PixelDescription, attributes: Mapping[str, Any]) -> Array:
    """Return a PALETTE COLOR frame as RGB.

    Args:
        samples: Shape (rows, columns).

    Returns:
        uint8, shape (rows, columns, 3).

    Raises:
        BrokenInstance: The palette is missing or broken.
    """
    is_signed = pixel.pixel_representation == 1
    container = samples.dtype.newbyteorder("<").str.replace("u", "i") if is_signed else None
    stored = (samples.view(container) if container else samples).astype(np.int64)
    planes = []
    for descriptor, data, segmented in zip(_DESCRIPTORS, _DATA, _SEGMENTED_DATA, strict=True):
        table = _read_palette(attributes, descriptor, data, segmented, is_signed=is_signed)
        planes.append(_to_bytes(table)[_find_index(stored, table)])
    return np.stack(planes, axis=-1)


def _find_index(stored: Array, table: LookUpTable) -> Array:
    index: Array = np.clip(stored - table.first_input, 0, len(table.entries) - 1)
    return index


def _read_palette(
    attributes: Mapping[str, Any], descriptor: str, data: str, segmented: str, *, is_signed: bool
) -> LookUpTable:
    if segmented not in attributes or data in attributes:
        return read_table(attributes, descriptor=descriptor, data=data, is_signed=is_signed)
    numbers = attributes.get(descriptor, {}).get("Value") or []
    if len(numbers) != 3:
        raise BrokenInstance("A palette has no descriptor.")
    count, first, bits = (int(number) for number in numbers)
    count = count % (1 << 16) or 1 << 16
    words = read_words(attributes[segmented]).tolist()
    first -= 1 << 16 if is_signed and first > 0x7FFF else 0
    return LookUpTable(expand_segments(words, count), first, bits)


def _to_bytes(table: LookUpTable) -> Array:
    """Return entries of 8 bits; some writers say 16 bits and mean 8."""
    is_wide = table.bits > 8 and bool((table.entries > 0xFF).any())
    return (table.entries >> (table.bits - 8) if is_wide else table.entries).astype("u1")


def render_colour(samples: Array, pixel: PixelDescription, photometric: str) -> Array:
    """Return a frame of three samples as RGB.

    Args:
        samples: Shape (rows, columns, 3).
        photometric: Of the samples, after decoding.

    Returns:
        uint8 of the same shape.

    Raises:
        NotAcceptable: The colour space is one that nobody renders (HSV, CMYK).
    """
    shift = pixel.bits_stored - 8
    array = (samples >> shift if shift > 0 else samples).astype("u1")
    if photometric in ("RGB", "YBR_RCT", "YBR_ICT"):
        return array
    if photometric == "YBR_FULL":
        return convert_full(array)
    if photometric == "YBR_PARTIAL":
        return _convert_partial(array)
    raise NotAcceptable(f"Frames of {photometric} cannot be rendered.")


def convert_full(array: Array) -> Array:
    """Return full-range YCbCr as RGB (PS3.3 §C.7.6.3.1.2: that of JPEG)."""
    picture = Image.frombuffer("YCbCr", (array.shape[1], array.shape[0]), array.tobytes())
    return np.asarray(picture.convert("RGB"))


def _convert_partial(array: Array) -> Array:
    """Return limited-range YCbCr (CCIR 601-2) as RGB."""
    y, cb, cr = (array[..., n].astype(np.float64) for n in range(3))
    luminance = 1.1644 * (y - 16)
    red = luminance + 1.5960 * (cr - 128)
    green = luminance - 0.3917 * (cb - 128) - 0.8130 * (cr - 128)
    blue = luminance + 2.0173 * (cb - 128)
    return np.rint(np.clip(np.stack([red, green, blue], -1), 0, 255)).astype("u1")


def apply_profile(
    picture: Image.Image, attributes: Mapping[str, Any], mode: str
) -> tuple[Image.Image, bytes | None]:
    """Return a picture in the colours asked for, and the ICC profile to embed.

    Args:
        mode: `no`: neither; `yes`: the instance's own profile, sRGB if it has none; `srgb`:
            converted to sRGB.

    Raises:
        BrokenInstance: The instance's profile is broken.
    """
    if mode == "no":
        return picture, None
    own = a2b_base64(attributes.get(_ICC_PROFILE, {}).get("InlineBinary", ""))
    standard = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    picture = picture.convert("RGB")
    if not own:
        return picture, standard.tobytes()
    if mode == "yes":
        return picture, own
    try:
        source = ImageCms.getOpenProfile(io.BytesIO(own))
        converted = ImageCms.profileToProfile(picture, source, standard, outputMode="RGB")
    except ImageCms.PyCMSError as error:
        raise BrokenInstance("The instance's ICC profile is broken.") from error
    assert converted is not None  # only None when it works in place
    return converted, standard.tobytes()

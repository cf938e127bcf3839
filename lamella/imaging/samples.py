"""Native frames as arrays.

Source:
    PS3.5 §8.1.1 (pixel cells), §8.2; PS3.3 §C.7.6.3.1.2 (YBR_FULL_422).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamella.errors import BrokenInstance
from lamella.imaging.decoders import PixelDescription, can_decode, decode_frame

Array = np.ndarray[Any, Any]
_SUBSAMPLED = ("YBR_FULL_422", "YBR_PARTIAL_422")


def read_samples(
    data: bytes, pixel: PixelDescription, *, is_float: bool = False
) -> tuple[Array, str]:
    """Return a frame's samples and their Photometric Interpretation.

    Args:
        data: A codestream if the transfer syntax has a decoder; else native little endian pixels,
            1-bit ones from their own first bit on.
        pixel: Of the instance.
        is_float: Whether native samples are floating point numbers.

    Returns:
        Shape (rows, columns) or (rows, columns, 3); unsigned integers as they lie in their
        containers, whatever the sign, or floats; and the Photometric Interpretation.

    Raises:
        BrokenInstance: The frame is broken, or too short.
    """
    photometric = pixel.photometric_interpretation
    is_native = not can_decode(pixel.transfer_syntax_uid)
    if not is_native:
        frame = decode_frame(data, pixel)
        data, photometric = frame.data, frame.photometric_interpretation
    elif photometric in _SUBSAMPLED and len(data) == pixel.pixels // 3 * 2:
        return _double_colours(data, pixel), photometric.replace("_422", "")
    shape = (pixel.rows, pixel.columns, pixel.samples)
    if len(data) < pixel.frame_bytes:
        raise BrokenInstance("A frame is shorter than its attributes say.")
    if pixel.bits_allocated == 1:
        bits = np.frombuffer(data[: pixel.frame_bytes], "u1")
        array = np.unpackbits(bits, bitorder="little", count=pixel.pixels)
        return array.reshape(shape[:2]), photometric
    dtype = f"<{'f' if is_float else 'u'}{pixel.bits_allocated // 8}"
    array = np.frombuffer(data[: pixel.frame_bytes], dtype)
    if pixel.samples == 1:
        return array.reshape(shape[:2]), photometric
    if is_native and pixel.planar_configuration == 1:
        return np.moveaxis(array.reshape(pixel.samples, *shape[:2]), 0, -1), photometric
    return array.reshape(shape), photometric


def _double_colours(data: bytes, pixel: PixelDescription) -> Array:
    """Give both pixels of a pair (Y1 Y2 Cb Cr) the colour differences that they share."""
    pairs = np.frombuffer(data, "u1").reshape(-1, 4)
    full = np.empty((len(pairs), 2, 3), "u1")
    full[:, :, 0] = pairs[:, :2]
    full[:, :, 1:] = pairs[:, None, 2:]
    return full.reshape(pixel.rows, pixel.columns, 3)

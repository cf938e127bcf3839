"""Stored grey values to 8-bit ones: Modality LUT, VOI LUT, Presentation LUT Shape.

Stored integers of up to 16 bits go through one table, made for all values there can be; others
are computed pixel by pixel.

Source:
    PS3.4 §N.2.1 (grayscale rendering pipeline); PS3.3 §C.11.1 (Modality LUT), §C.11.2 (VOI LUT),
    §C.7.6.3.1.2 (MONOCHROME1), §C.7.5.1.1.2 (Pixel Padding Value).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from lamella.imaging.decoders import PixelDescription
from lamella.imaging.rendering.attributes import first_value, read_number
from lamella.imaging.rendering.luts import Array, read_table
from lamella.imaging.rendering.windows import FUNCTIONS, Window, span_range

_MODALITY_LUT, _VOI_LUT = "00283000", "00283010"
_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_TABLE_BITS = 16
# What a table is made of, besides the pixel description.
_LOOK = (
    "00080016", "00280004", "00280120", "00280121", "00281050", "00281051", "00281052",
    "00281053", "00281056", "20500020", _MODALITY_LUT, _VOI_LUT,
)  # fmt: skip


def render_grey(
    samples: Array,
    pixel: PixelDescription,
    attributes: Mapping[str, Any],
    window: Window | None = None,
) -> Array:
    """Return a grey frame as it is shown.

    Args:
        samples: Shape (rows, columns), unsigned containers or floats.
        pixel: Of the instance.
        attributes: DICOM JSON of what `select_attributes` selects.
        window: Instead of the instance's own.

    Returns:
        uint8 of the same shape, 0 black.

    Raises:
        BrokenInstance: A look-up table is broken.
    """
    if samples.dtype.kind == "f" or pixel.bits_stored > _TABLE_BITS:
        stored = samples if samples.dtype.kind == "f" else _extend(samples, pixel)
        is_shown = np.isfinite(stored) & ~_find_padding(stored, attributes)
        return _show(stored, is_shown, pixel, attributes, window)
    codes = _take_bits(samples, pixel, attributes)
    looks = {tag: attributes[tag] for tag in _LOOK if tag in attributes}
    if window is not None or _VOI_LUT in looks or _find_window(looks, is_float=False) is not None:
        table = _recall_table(json.dumps(looks), replace(pixel, rows=1, columns=1), window)
    else:
        counts = np.bincount(codes.ravel(), minlength=1 << pixel.bits_stored)
        table = _make_table(pixel, attributes, window, counts > 0)
    return np.take(table, codes)


@lru_cache(maxsize=64)
def _recall_table(looks: str, pixel: PixelDescription, window: Window | None) -> Array:
    """Return the table of a look that does not depend on the frame; slices of a series share it."""
    occurs = np.ones(1 << pixel.bits_stored, bool)
    return _make_table(pixel, json.loads(looks), window, occurs)


def _make_table(
    pixel: PixelDescription, attributes: Mapping[str, Any], window: Window | None, occurs: Array
) -> Array:
    """Return what every stored value is shown as."""
    stored = _extend(np.arange(1 << pixel.bits_stored, dtype="<u4"), pixel)
    is_shown = occurs & ~_find_padding(stored, attributes)
    return _show(stored, is_shown, pixel, attributes, window)


def _take_bits(samples: Array, pixel: PixelDescription, attributes: Mapping[str, Any]) -> Array:
    """Return the bits that are stored values; other ones may be overlays."""
    high_bit = read_number(attributes, "00280102")
    shift = 0 if high_bit is None else int(high_bit) + 1 - pixel.bits_stored
    if shift > 0:
        samples = samples >> min(shift, pixel.bits_allocated - 1)
    if pixel.bits_stored == samples.dtype.itemsize * 8:
        return samples
    kept: Array = samples & samples.dtype.type((1 << pixel.bits_stored) - 1)
    return kept


def _extend(codes: Array, pixel: PixelDescription) -> Array:
    """Return stored values as signed numbers if that is what they are."""
    bits = pixel.bits_stored
    values = codes.astype(np.int64)
    if pixel.pixel_representation == 1:
        values = ((values & ((1 << bits) - 1)) ^ (1 << (bits - 1))) - (1 << (bits - 1))
    return values


def _find_padding(stored: Array, attributes: Mapping[str, Any]) -> Array:
    """Tell which stored values are padding, which must not decide what the rest looks like."""
    first = read_number(attributes, "00280120")
    if first is None:
        return np.zeros(stored.shape, bool)
    limit = read_number(attributes, "00280121")
    low, high = sorted((first, first if limit is None else limit))
    return (stored >= low) & (stored <= high)


def _show(
    stored: Array,
    is_shown: Array,
    pixel: PixelDescription,
    attributes: Mapping[str, Any],
    window: Window | None,
) -> Array:
    """Return stored values as 8-bit grey.

    Args:
        is_shown: Which of them decide the range where nothing else does.
    """
    values = apply_modality(stored, pixel, attributes)
    table = None if window is not None else first_value(attributes, _VOI_LUT)
    if table is not None:
        voi = read_table(table, is_signed=bool(values.min() < 0))
        place = voi.apply(values) / ((1 << voi.bits) - 1)
    else:
        window = window or _find_window(attributes, is_float=stored.dtype.kind == "f")
        window = window or _span(values, is_shown, pixel, attributes)
        place = window.apply(values)
    if is_inverse(attributes):
        place = 1 - place
    return np.rint(255 * np.clip(np.nan_to_num(place), 0, 1)).astype("u1")


def apply_modality(stored: Array, pixel: PixelDescription, attributes: Mapping[str, Any]) -> Array:
    """Return stored values in the manufacturer-independent unit of the Modality LUT.

    Raises:
        BrokenInstance: Its table is broken.

    Source:
        PS3.3 §C.11.1.1.
    """
    table = first_value(attributes, _MODALITY_LUT)
    if table is not None:
        is_signed = pixel.pixel_representation == 1
        return read_table(table, is_signed=is_signed).apply(stored).astype(np.float64)
    slope, intercept = read_number(attributes, "00281053"), read_number(attributes, "00281052")
    scaled: Array = stored * (1.0 if slope is None else slope) + (intercept or 0.0)
    return scaled


def _find_window(attributes: Mapping[str, Any], *, is_float: bool) -> Window | None:
    """Return the instance's first window, or None if it has none that makes sense.

    LINEAR counts in whole grey values: a map of fractions with a window of 0 to 1, as writers of
    Float Pixel Data have it, would be black and white. There it is taken for LINEAR_EXACT.
    """
    center, width = read_number(attributes, "00281050"), read_number(attributes, "00281051")
    function = str(first_value(attributes, "00281056") or "LINEAR")
    if center is None or width is None or not np.isfinite([center, width]).all():
        return None
    if function not in FUNCTIONS:
        function = "LINEAR"
    if is_float and function == "LINEAR":
        function = "LINEAR_EXACT"
    if width <= 0 or (function == "LINEAR" and width < 1):
        return None
    return Window(center, width, function)


def _span(
    values: Array, is_shown: Array, pixel: PixelDescription, attributes: Mapping[str, Any]
) -> Window:
    """Return the window for a frame that has none: what occurs, or all there can be of 8 bits.

    Eight bits without a window are meant for the display as they are, and a dark picture should
    stay dark; but the labels 1, 2, 3 of a segmentation would all be black.
    """
    is_segmentation = first_value(attributes, "00080016") in _SEGMENTATIONS
    if 1 < pixel.bits_stored <= 8 and not is_segmentation:
        return span_range(float(values.min()), float(values.max()))
    if pixel.bits_stored == 1:
        return Window(0.5, 1.0, "LINEAR_EXACT")
    shown = values[is_shown]
    if not shown.size:
        return span_range(0.0, 0.0)
    return span_range(float(shown.min()), float(shown.max()))


def is_inverse(attributes: Mapping[str, Any]) -> bool:
    """Tell whether high values are dark.

    Source:
        PS3.3 §C.7.6.3.1.2 (MONOCHROME1) and §C.11.6.1.2 (Presentation LUT Shape).
    """
    shape, photometric = (first_value(attributes, tag) for tag in ("20500020", "00280004"))
    return bool(photometric == "MONOCHROME1" or shape == "INVERSE")

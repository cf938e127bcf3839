"""Frames as an engine can read them: 8 bits, bright on dark as on a screen, in tiles.

Source:
    PS3.3 §C.7.6.3.1.2 (Photometric Interpretation), §C.11.2.1.2 (windows).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import UID

from lamella.deid.pixels.engines import Picture

Array = np.ndarray[Any, Any]

TILE = 1536
"""Pixels a side; engines shrink what is larger, and small letters with it."""
OVERLAP = 256
_COLOURS = ("Red", "Green", "Blue")
_DIM = 128
_DARK, _BRIGHT = 0.5, 99.5  # percentiles between which tissue lies


def make_pictures(samples: Array, photometric: str, attributes: Dataset) -> list[Picture]:
    """Return what to read of a frame: as it is seen, and where that hides it, its full range.

    Letters are often burned in at the highest value, tissue fills a small part of the range:
    one picture shows the letters that are much brighter than tissue, the other those within it.

    Args:
        samples: Shape (rows, columns) or (rows, columns, 3), with their sign.
        photometric: Of these samples.
        attributes: Of the instance.
    """
    if samples.ndim == 3:
        return _add_brighter(_make_rgb(samples, photometric))
    if photometric == "PALETTE COLOR":
        coloured = apply_color_lut(samples, _order_tables(attributes))
        return _add_brighter(_scale(coloured, 0, np.iinfo(coloured.dtype).max))
    low, high = np.percentile(samples, (_DARK, _BRIGHT))
    least, most = float(samples.min()), float(samples.max())
    pictures = [_scale(samples, low, high)]
    if most - least > 1.5 * max(1.0, high - low):
        pictures.append(_scale(samples, least, most))
    if photometric == "MONOCHROME1":
        return [np.asarray(255 - picture, "u1") for picture in pictures]
    return pictures


def cut_tiles(picture: Picture) -> Iterator[tuple[int, int, Picture]]:
    """Yield (column, row, tile): all of a picture, with an overlap that is wider than a line."""
    rows, columns = picture.shape[:2]
    for top in _list_starts(rows):
        for left in _list_starts(columns):
            yield left, top, picture[top : top + TILE, left : left + TILE]


def _list_starts(length: int) -> list[int]:
    if length <= TILE:
        return [0]
    starts = list(range(0, length - TILE, TILE - OVERLAP))
    return [*starts, length - TILE]


def _scale(samples: Array, low: float, high: float) -> Picture:
    span = max(1e-9, float(high) - float(low))
    scaled = (samples.astype(np.float32) - np.float32(low)) * np.float32(255 / span)
    return np.asarray(np.clip(scaled, 0, 255), "u1")


def _add_brighter(picture: Picture) -> list[Picture]:
    """Return a picture, and the same with all of its range if it is a dark one."""
    most = int(picture.max())
    return [picture, _scale(picture, 0, most)] if 0 < most < _DIM else [picture]


def _order_tables(attributes: Dataset) -> Dataset:
    """Return what has the tables of colours in little endian, as pydicom takes them to be.

    Of segmented ones it minds the order itself.
    """
    if UID(str(attributes.file_meta.TransferSyntaxUID)).is_little_endian:
        return attributes
    ordered = Dataset()
    for colour in _COLOURS:
        descriptor = f"{colour}PaletteColorLookupTableDescriptor"
        data = f"{colour}PaletteColorLookupTableData"
        if data not in attributes:
            return attributes
        setattr(ordered, descriptor, attributes[descriptor].value)
        table = attributes[data]
        in_words = table.VR == "OW" and len(table.value) % 2 == 0
        value = np.frombuffer(table.value, "u2").byteswap().tobytes() if in_words else table.value
        setattr(ordered, data, value)
    return ordered


def _make_rgb(samples: Array, photometric: str) -> Picture:
    if samples.dtype.itemsize > 1:
        samples = _scale(samples, 0, float(np.iinfo(samples.dtype).max))
    if not photometric.startswith("YBR"):
        return np.ascontiguousarray(samples, "u1")
    luma = samples[:, :, 0].astype(np.float32)
    blue, red = (samples[:, :, index].astype(np.float32) - 128 for index in (1, 2))
    rgb = (luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue)
    return np.asarray(np.clip(np.stack(rgb, axis=-1), 0, 255), "u1")

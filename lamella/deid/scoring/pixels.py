"""What of the pixels is hidden, and what is as it was.

`pixels_hidden`'s text is JSON: `text`, `top_left` and `bottom_right` as (x, y), as in MIDI-B, and
optionally `frame` (from 1; absent for all). A region is hidden when it is flat: blacked, or
filled. Where it is not, a reader that was given decides whether the text can be read.

`pixels_retained`'s text is either the MD5 of the value of Pixel Data, as in MIDI-B, or JSON:
`boxes` (frame or 0, left, top, right, bottom; right and bottom excluded), which are left out of the
comparison, and one of `sha256` (of the samples outside of them) or `means` (of tiles that touch
none of them, hexadecimal, 8 bits each): the latter for images that were lossy before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRBigEndian

from lamella.deid.scoring.texts import lacks
from lamella.imaging.decoders import PixelDescription
from lamella.imaging.samples import read_samples

Array = np.ndarray[Any, Any]
Box = tuple[int, int, int, int, int]
"""Frame (from 1, 0 for all), left, top, right, bottom."""
Reader = Callable[[Array], str]
"""From one grey frame of 8 bits to the text in it."""

TILE = 16
FLAT_SHARE = 0.985
"""Of a region's pixels that have its middle value: lossy kinds ring at a box's edge."""
_FLAT_TOLERANCE = 0.04
_MEAN_TOLERANCE = 3


@dataclass(frozen=True, slots=True)
class Pixels:
    """The samples of all frames.

    Attributes:
        samples: Shape (frames, rows, columns, samples); unsigned, as they lie in containers.
        photometric_interpretation: Of `samples`.
    """

    samples: Array
    photometric_interpretation: str


def read_pixels(attributes: Dataset) -> Pixels:
    """Decode all frames of a data set that has its file meta.

    Raises:
        BrokenInstance, NotAcceptable: They cannot be decoded.
        KeyError: There is no Pixel Data.
    """
    syntax = attributes.file_meta.TransferSyntaxUID
    header = {
        f"{element.tag:08X}": {"Value": [str(element.value)]}
        for element in attributes.group_dataset(0x0028)
        if element.VM == 1 and element.VR != "SQ" and not isinstance(element.value, bytes)
    }
    pixel = PixelDescription.from_dicom_json(header, str(syntax))
    value = bytes(attributes["PixelData"].value)
    if syntax.is_compressed and syntax.is_encapsulated:
        frames: Iterable[bytes] = generate_frames(value, number_of_frames=pixel.frames)
    else:
        if syntax == ExplicitVRBigEndian and pixel.bits_allocated > 8:
            value = np.frombuffer(value, f">u{pixel.bits_allocated // 8}").byteswap().tobytes()
        length = pixel.frame_bytes
        frames = (value[i * length : (i + 1) * length] for i in range(pixel.frames))
    read = [read_samples(frame, pixel) for frame in frames]
    samples = np.stack([array.reshape(pixel.rows, pixel.columns, -1) for array, _ in read])
    return Pixels(samples, read[0][1])


def is_hidden(pixels: Pixels, text: str, reader: Reader | None = None) -> bool:
    """Tell whether a region shows its text no more.

    Args:
        pixels: Of the output.
        text: Of the check.
        reader: Asked about regions that are not flat; without one they are not hidden.
    """
    region = json.loads(text)
    (left, top), (right, bottom) = region["top_left"], region["bottom_right"]
    chosen = _choose_frames(pixels.samples, int(region.get("frame", 0)))
    for frame in chosen:
        part = frame[int(top) : int(bottom), int(left) : int(right)]
        if not part.size or _is_flat(part, frame):
            continue
        if reader is None or not lacks(reader(make_grey(part, frame)), str(region["text"])):
            return False
    return True


def are_retained(attributes: Dataset, pixels: Pixels | None, text: str) -> bool:
    """Tell whether pixels outside of boxes are what they were.

    Args:
        attributes: The output, with its Pixel Data.
        pixels: The same, decoded; None where it cannot be.
        text: Of the check.
    """
    if not text.startswith("{"):
        md5 = hashlib.md5(attributes["PixelData"].value, usedforsecurity=False)
        found: str = md5.hexdigest()
        return found == text
    wanted = json.loads(text)
    if pixels is None:
        return False
    if "sha256" in wanted:
        sha256: str = wanted["sha256"]
        return digest_outside(pixels.samples, wanted["boxes"]) == sha256
    means = measure_tiles(pixels.samples, wanted["boxes"])
    before = np.frombuffer(bytes.fromhex(wanted["means"]), "u1").astype(int)
    if len(means) != len(before):
        return False
    return bool((np.abs(means.astype(int) - before) <= _MEAN_TOLERANCE).all())


def digest_outside(samples: Array, boxes: Sequence[Sequence[int]]) -> str:
    """Return the SHA-256 of shape and samples, those inside of boxes as if they were 0."""
    kept = samples.astype("<u4")
    for frame, left, top, right, bottom in boxes:
        _choose_frames(kept, frame)[:, top:bottom, left:right] = 0
    return hashlib.sha256(repr(kept.shape).encode("ascii") + kept.tobytes()).hexdigest()


def measure_tiles(samples: Array, boxes: Sequence[Sequence[int]]) -> Array:
    """Return the means of whole tiles that touch no box, frame by frame, row by row, as 8 bits."""
    frames, rows, columns, depth = samples.shape
    high, wide = rows // TILE, columns // TILE
    tiles = samples[:, : high * TILE, : wide * TILE].reshape(frames, high, TILE, wide, TILE, depth)
    means = tiles.mean(axis=(2, 4, 5))
    keep = np.ones(means.shape, bool)
    for frame, left, top, right, bottom in boxes:
        part = (slice(top // TILE, -(-bottom // TILE)), slice(left // TILE, -(-right // TILE)))
        _choose_frames(keep, frame)[:, *part] = False
    scale = 255 / (256**samples.dtype.itemsize - 1)
    rounded: Array = (means[keep] * scale).round().astype("u1")
    return rounded


def make_grey(part: Array, frame: Array) -> Array:
    """Return a part of a frame as grey of 8 bits, spread over what the frame has."""
    low, high = float(frame.min()), float(frame.max())
    grey = (part.astype(float).mean(axis=-1) - low) / ((high - low) or 1.0) * 255
    eight: Array = grey.astype("u1")
    return eight


def _choose_frames(samples: Array, frame: int) -> Array:
    return samples[frame - 1 : frame] if frame else samples


def _is_flat(part: Array, frame: Array) -> bool:
    spread = float(frame.max()) - float(frame.min()) or 1.0
    flat = part.reshape(-1, part.shape[-1]).astype(float)
    near = np.abs(flat - np.median(flat, axis=0)) <= max(_FLAT_TOLERANCE * spread, 1)
    return bool(near.all(axis=1).mean() >= FLAT_SHARE)

"""Boxes blacked in pixel data of any kind; everything outside them stays as it is.

Native pixels are changed where they lie. Lossless codestreams are made anew in their own kind,
lossy ones losslessly in their kind, so that nothing is lost a second time. A JPEG with a DCT
becomes native, since another pass would change all of its pixels.

Source:
    PS3.5 §8.2 and Annex A.4; PS3.3 §C.7.6.1.1.5 (what was lossy once stays marked).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom import FileDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from lamella.deid.pixels.boxes import Box
from lamella.deid.pixels.frames import Frames, describe_as, put, put_codestreams, put_native
from lamella.imaging.decoders import PixelDescription
from lamella.imaging.encoders import TARGETS, can_encode

Array = np.ndarray[Any, Any]

_PREFIX = "1.2.840.10008.1.2."
_KIND = {
    _PREFIX + source: _PREFIX + target
    for source, target in (
        ("5", "5"),  # RLE
        ("4.57", "4.57"),  # JPEG lossless
        ("4.58", "4.70"),
        ("4.70", "4.70"),
        ("4.80", "4.80"),  # JPEG-LS
        ("4.81", "4.80"),
        ("4.90", "4.90"),  # JPEG 2000
        ("4.91", "4.90"),
        ("4.92", "4.90"),
        ("4.93", "4.90"),
        ("4.201", "4.201"),  # HTJ2K
        ("4.202", "4.202"),
        ("4.203", "4.201"),
        ("4.110", "4.80"),  # JPEG XL, for which there is no encoder here
        ("4.112", "4.80"),
    )
}
"""In which transfer syntax a blacked instance is kept; others become Explicit VR Little Endian."""


def scrub(attributes: FileDataset, frames: Frames, boxes: Sequence[Sequence[Box]]) -> None:
    """Black boxes in a data set's pixels.

    Args:
        attributes: Gets new Pixel Data, and what they need in other attributes.
        frames: Of the data set as it is.
        boxes: Of each frame.

    Raises:
        BrokenInstance: A frame cannot be decoded.
    """
    if not frames.is_encapsulated:
        native = [
            _black_native(stored, frames, own) if own else stored
            for stored, own in zip(frames.stored(), boxes, strict=True)
        ]
        put_native(attributes, frames.join_native(native), frames.pixel.bits_allocated)
        return
    decoded = []
    photometric = frames.pixel.photometric_interpretation
    for stored, own in zip(frames.stored(), boxes, strict=True):
        samples, photometric = frames.samples(stored)
        decoded.append(black(samples, own, photometric))
    _encode(attributes, frames.pixel, decoded, photometric)


def black(samples: Array, boxes: Sequence[Box], photometric: str) -> Array:
    """Return samples with boxes as dark as the darkest pixel of their frame.

    Args:
        samples: Shape (rows, columns) or (rows, columns, 3), with their sign.
        boxes: Within the frame.
        photometric: Of these samples.
    """
    if not boxes:
        return samples
    blacked = samples.copy()
    fill = _find_black(samples, photometric)
    for box in boxes:
        blacked[box.top : box.bottom, box.left : box.right] = fill
    return blacked


def _find_black(samples: Array, photometric: str) -> Any:
    if samples.ndim == 3:
        middle = 1 << (samples.dtype.itemsize * 8 - 1)
        return (0, middle, middle) if photometric.startswith("YBR") else (0, 0, 0)
    return samples.max() if photometric == "MONOCHROME1" else samples.min()


def _encode(
    attributes: FileDataset, pixel: PixelDescription, decoded: Sequence[Array], photometric: str
) -> None:
    target = _KIND.get(pixel.transfer_syntax_uid, "")
    described = describe_as(pixel, photometric)
    if not can_encode(target, described):
        attributes.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        put(attributes, "PhotometricInterpretation", photometric)
        if pixel.samples > 1:
            put(attributes, "PlanarConfiguration", 0)
        kind = f"<u{pixel.bits_allocated // 8}"
        value = b"".join(
            np.ascontiguousarray(samples).view(f"u{samples.dtype.itemsize}").astype(kind).tobytes()
            for samples in decoded
        )
        put_native(attributes, value + b"\0" * (len(value) % 2), pixel.bits_allocated)
        return
    unsigned = (np.ascontiguousarray(one).view(f"u{one.dtype.itemsize}") for one in decoded)
    encoded = [TARGETS[target].encode(one, described, photometric) for one in unsigned]
    attributes.file_meta.TransferSyntaxUID = UID(target)
    put(attributes, "PhotometricInterpretation", encoded[0].photometric_interpretation)
    if pixel.samples > 1:
        put(attributes, "PlanarConfiguration", TARGETS[target].planar_configuration)
    put_codestreams(attributes, [frame.data for frame in encoded])


def _black_native(stored: bytes, frames: Frames, boxes: Sequence[Box]) -> bytes:
    """Return a native frame with boxes blacked, all other bytes as they are."""
    samples, photometric = frames.samples(stored)
    pixel = frames.pixel
    fill = np.asarray(_find_black(samples, photometric), samples.dtype)
    if photometric != pixel.photometric_interpretation:  # 4:2:2: Y Y Cb Cr, a pair of columns
        pairs = np.frombuffer(stored, "u1").reshape(pixel.rows, -1, 4).copy()
        for box in boxes:
            columns = slice(box.left // 2, -(-box.right // 2))
            pairs[box.top : box.bottom, columns] = (fill[0], fill[0], fill[1], fill[2])
        return pairs.tobytes()
    array = np.frombuffer(stored, samples.dtype).copy()
    if pixel.samples > 1 and pixel.planar_configuration == 1:
        planes = array.reshape(pixel.samples, pixel.rows, pixel.columns)
        for box in boxes:
            planes[:, box.top : box.bottom, box.left : box.right] = fill[:, None, None]
    else:
        cells = array.reshape(pixel.rows, pixel.columns, pixel.samples)
        for box in boxes:
            cells[box.top : box.bottom, box.left : box.right] = fill
    return array.tobytes()

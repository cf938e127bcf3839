"""Instances with known lines burned into their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom import FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import SecondaryCaptureImageStorage

from lamella.deid.pixels.boxes import Box
from lamella.imaging.decoders import PixelDescription
from lamella.imaging.encoders import TARGETS

Array = np.ndarray[Any, Any]
NATIVE = "1.2.840.10008.1.2.1"
NATIVES = (NATIVE, "1.2.840.10008.1.2", "1.2.840.10008.1.2.2")


def draw_noise(rows: int, columns: int, seed: int = 1) -> Array:
    """Return smooth dark texture like tissue, 8 bits."""
    small = np.random.default_rng(seed).integers(20, 120, (rows // 8 + 1, columns // 8 + 1))
    picture = Image.fromarray(small.astype("u1")).resize((columns, rows), Image.Resampling.BICUBIC)
    return np.array(picture)


def burn(
    picture: Array, text: str, left: int, top: int, *, size: int = 16, value: int = 255
) -> Box:
    """Write a line into an 8-bit picture, in place; return the box of its letters."""
    canvas = Image.new("L", (picture.shape[1], picture.shape[0]))
    ImageDraw.Draw(canvas).text((left, top), text, fill=255, font=ImageFont.load_default(size=size))
    letters = np.asarray(canvas) > 96
    picture[letters] = value
    rows, columns = np.nonzero(letters)
    return Box(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)


def make_image(
    frames: Sequence[Array],
    transfer_syntax_uid: str = NATIVE,
    *,
    photometric: str = "",
    bits_stored: int = 0,
    planar: int = 0,
    **attributes: object,
) -> FileDataset:
    """Return an instance of frames of shape (rows, columns) or (rows, columns, 3)."""
    first = frames[0]
    samples = 3 if first.ndim == 3 else 1
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = transfer_syntax_uid
    made = FileDataset(
        "",
        {},
        file_meta=meta,
        preamble=bytes(128),
        is_implicit_VR=transfer_syntax_uid == NATIVES[1],
        is_little_endian=transfer_syntax_uid != NATIVES[2],
    )
    made.SOPClassUID, made.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    made.Modality, made.PatientName, made.PatientID = "OT", "Smith^John", "MRN447182"
    made.SamplesPerPixel, made.Rows, made.Columns = samples, *first.shape[:2]
    made.PhotometricInterpretation = photometric or ("RGB" if samples == 3 else "MONOCHROME2")
    made.NumberOfFrames = len(frames)
    made.BitsAllocated = first.dtype.itemsize * 8
    made.BitsStored = bits_stored or made.BitsAllocated
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(first.dtype.kind == "i")
    if samples == 3:
        made.PlanarConfiguration = planar
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    if transfer_syntax_uid in NATIVES:
        order = ">" if transfer_syntax_uid == NATIVES[2] else "<"
        kind = f"{order}{first.dtype.kind}{first.dtype.itemsize}"
        moved = [np.moveaxis(frame, -1, 0) if planar else frame for frame in frames]
        made.PixelData = b"".join(frame.astype(kind).tobytes() for frame in moved)
        return made
    pixel = PixelDescription(
        rows=made.Rows,
        columns=made.Columns,
        samples=samples,
        bits_allocated=made.BitsAllocated,
        bits_stored=made.BitsStored,
        pixel_representation=made.PixelRepresentation,
        photometric_interpretation=made.PhotometricInterpretation,
        planar_configuration=planar,
        transfer_syntax_uid=transfer_syntax_uid,
    )
    encode = TARGETS[transfer_syntax_uid].encode
    unsigned = [np.ascontiguousarray(one).view(f"u{one.dtype.itemsize}") for one in frames]
    encoded = [encode(one, pixel, made.PhotometricInterpretation) for one in unsigned]
    made.PhotometricInterpretation = encoded[0].photometric_interpretation
    made.PixelData = encapsulate([one.data for one in encoded])
    made["PixelData"].is_undefined_length = True
    return made

"""Pixels into data sets, and data sets into files, in any transfer syntax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from lamella.imaging.decoders import PixelDescription
from lamella.imaging.encoders import encode_frame

Array = np.ndarray[Any, Any]
NATIVE = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
LOSSLESS = (RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless)
LOSSY = (JPEGBaseline8Bit,)


def set_pixels(ds: Dataset, frames: Array, photometric: str, bits: int, syntax: UID) -> None:
    """Put frames into a data set.

    Args:
        ds: Gets the Image Pixel attributes, and file meta with the transfer syntax.
        frames: Shape (frames, rows, columns) or (frames, rows, columns, 3), unsigned.
        photometric: Photometric Interpretation of `frames`.
        bits: Bits Stored.
        syntax: One of this module's.
    """
    colours = 3 if frames.ndim == 4 else 1
    ds.SamplesPerPixel, ds.PhotometricInterpretation = colours, photometric
    ds.Rows, ds.Columns = frames.shape[1:3]
    ds.BitsAllocated = frames.dtype.itemsize * 8
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, 0
    if colours == 3:
        ds.PlanarConfiguration = 0
    if len(frames) > 1:
        ds.NumberOfFrames = len(frames)
    if not hasattr(ds, "file_meta"):
        ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax in NATIVE:
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        raw = frames.astype(frames.dtype.newbyteorder(order)).tobytes()
        ds.PixelData = raw + b"\0" * (len(raw) % 2)
        ds["PixelData"].VR = (
            "OW" if ds.BitsAllocated > 8 or syntax == ImplicitVRLittleEndian else "OB"
        )
        return
    pixel = PixelDescription(
        ds.Rows,
        ds.Columns,
        colours,
        ds.BitsAllocated,
        bits,
        0,
        photometric,
        0,
        ExplicitVRLittleEndian,
    )
    encoded = [encode_frame(frame.tobytes(), pixel, syntax) for frame in frames]
    ds.PhotometricInterpretation = encoded[0].photometric_interpretation
    ds.PixelData = encapsulate([one.data for one in encoded])
    ds["PixelData"].VR = "OB"
    if syntax in LOSSY:
        ds.LossyImageCompression = "01"
        ds.LossyImageCompressionRatio = "10"
        ds.LossyImageCompressionMethod = "ISO_10918_1"


def write_file(ds: Dataset, path: Path, application: str) -> None:
    """Write a Part 10 file whose preamble and file meta tell of its origin, as some do."""
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.SourceApplicationEntityTitle = application[:16]
    ds.preamble = application.encode("ascii").ljust(128, b"\0")
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)

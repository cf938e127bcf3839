"""Samples with pixels: CT, multi-frame, RLE, JPEG, big-endian, MONOCHROME1; and the SR beside."""

from __future__ import annotations

import numpy as np
from imagecodecs import jpeg8_encode
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless

from lamella.conformance.samples import (
    COLOUR_CLASS,
    CT_CLASS,
    EXPLICIT_BIG,
    GRAYSCALE_BYTE_CLASS,
    IMPLICIT_LITTLE,
    JPEG,
    PRIVATE_CREATOR,
    RLE,
    SC_CLASS,
    SR_CLASS,
    Sample,
    SampleSet,
    finish,
    make_uid,
)

ROWS, COLUMNS = 12, 16
"""Of the CT slices: not square, so that a mix-up shows."""


def make_ct(run: SampleSet) -> list[Sample]:
    """Return three CT slices of one series."""
    series_uid, frame_of_reference_uid = make_uid(), make_uid()
    slices = []
    for index in range(3):
        ds = run.start("ct", CT_CLASS, "CT")
        ds.SeriesInstanceUID, ds.FrameOfReferenceUID = series_uid, frame_of_reference_uid
        ds.SeriesNumber, ds.InstanceNumber = 7, index + 1
        ds.SeriesDescription = f"{run.word} axial"
        ds.PerformedProcedureStepStartDate = "20200115"
        ds.PerformedProcedureStepStartTime = "102500"
        ds.RequestAttributesSequence = [_request(run)]
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.ImagePositionPatient = [0, 0, 2.5 * index]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [0.5, 0.5], 2.5
        ds.RescaleIntercept, ds.RescaleSlope, ds.KVP = -1024, 1, 120
        ds.WindowCenter, ds.WindowWidth = 40, 400
        ds.private_block(0x0009, PRIVATE_CREATOR, create=True).add_new(0x01, "LO", f"{run.word} P")
        pixels = (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) * 8 + 100 * index).astype("<i2")
        _describe(ds, pixels, "MONOCHROME2", bits_stored=16, is_signed=True)
        ds.PixelData = pixels.tobytes()
        slices.append(finish(f"ct{index + 1}", "ct", ds, frames=(pixels.tobytes(),)))
    return slices


def make_report(run: SampleSet) -> Sample:
    """Return an SR document beside the CT series."""
    ds = run.start("ct", SR_CLASS, "SR")
    ds.SeriesNumber, ds.SeriesDescription = 8, f"{run.word} report"
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.ContentDate, ds.ContentTime = "20200115", "110000"
    ds.ConceptNameCodeSequence = [_code("18748-4", "LN", "Diagnostic imaging report")]
    finding = Dataset()
    finding.RelationshipType, finding.ValueType = "CONTAINS", "TEXT"
    finding.ConceptNameCodeSequence = [_code("121071", "DCM", "Finding")]
    finding.TextValue = "Nothing to be seen."
    ds.ContentSequence = Sequence([finding])
    return finish("report", "ct", ds)


def make_frames(run: SampleSet) -> Sample:
    """Return three frames of 99 bytes each: odd, and padded only at their end."""
    ds = run.start("frames", GRAYSCALE_BYTE_CLASS, "OT")
    pixels = (np.arange(3 * 9 * 11) % 251).astype("u1").reshape(3, 9, 11)
    _describe(ds, pixels[0], "MONOCHROME2")
    ds.NumberOfFrames, ds.ConversionType = 3, "SYN"
    ds.PixelData = pixels.tobytes() + b"\0"
    frames = tuple(frame.tobytes() for frame in pixels)
    return finish("frames", "frames", ds, IMPLICIT_LITTLE, frames)


def make_rle(run: SampleSet) -> Sample:
    """Return two frames in colour, RLE."""
    ds = run.start("coded", COLOUR_CLASS, "OT")
    pixels = np.zeros((2, 8, 8, 3), "u1")
    pixels[0, :, :4, 0], pixels[0, 4:, :, 1], pixels[1, :, :, 2] = 200, 100, 50
    _describe(ds, pixels[0], "RGB")
    ds.NumberOfFrames, ds.ConversionType = 2, "SYN"
    ds.compress(RLELossless, pixels, encoding_plugin="pydicom", generate_instance_uid=False)
    stored = tuple(generate_frames(ds.PixelData, number_of_frames=2))
    frames = tuple(frame.tobytes() for frame in pixels)
    return finish("rle", "coded", ds, RLE, frames, stored)


def make_jpeg(run: SampleSet) -> Sample:
    """Return a lossy JPEG: what has no better form and may go out as it is."""
    ds = run.start("coded", SC_CLASS, "OT")
    ds.SeriesNumber = 2
    pixels = np.add.outer(np.arange(16), np.arange(16)).astype("u1") * 8
    _describe(ds, pixels, "MONOCHROME2")
    stream = bytes(jpeg8_encode(pixels, level=90))
    stream += b"\0" * (len(stream) % 2)
    ds.PixelData = encapsulate([stream])
    ds.LossyImageCompression, ds.ConversionType = "01", "SYN"
    ds["PixelData"].VR = "OB"
    return finish("jpeg", "coded", ds, JPEG, (), (stream,))


def make_big_endian(run: SampleSet) -> Sample:
    """Return an image in Explicit VR Big Endian, which no Web service may send."""
    ds = run.start("coded", SC_CLASS, "OT")
    ds.SeriesNumber, ds.ConversionType = 3, "SYN"
    pixels = np.arange(64, dtype="<u2").reshape(8, 8) * 513
    _describe(ds, pixels, "MONOCHROME2")
    ds.PixelData = pixels.astype(">u2").tobytes()
    return finish("big", "coded", ds, EXPLICIT_BIG, (pixels.tobytes(),))


def make_monochrome1(run: SampleSet) -> Sample:
    """Return an image whose lowest value is white."""
    ds = run.start("coded", SC_CLASS, "OT")
    ds.SeriesNumber, ds.ConversionType = 4, "SYN"
    pixels = np.tile(np.arange(16, dtype="u1") * 17, (16, 1))
    _describe(ds, pixels, "MONOCHROME1")
    ds.PixelData = pixels.tobytes()
    return finish("mono1", "coded", ds, frames=(pixels.tobytes(),))


def _describe(
    ds: Dataset,
    frame: NDArray[np.generic],
    photometric: str,
    bits_stored: int | None = None,
    is_signed: bool = False,
) -> None:
    """Set the Image Pixel attributes (PS3.3 §C.7.6.3)."""
    bits = frame.dtype.itemsize * 8
    ds.Rows, ds.Columns = frame.shape[:2]
    ds.SamplesPerPixel = 3 if frame.ndim == 3 else 1
    if frame.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = photometric
    ds.BitsAllocated, ds.BitsStored = bits, bits_stored or bits
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(is_signed)


def _request(run: SampleSet) -> Dataset:
    item = Dataset()
    item.ScheduledProcedureStepID = f"{run.word}SPS"
    item.RequestedProcedureID = f"{run.word}RP"
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item

"""DICOM files for tests: pydicom's bundled ones, generated ones, and the shared ones if there."""

from __future__ import annotations

import io
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SHARED = Path(__file__).parents[3] / "shared" / "data" / "dicom"


def make_instance(
    study: str = "1.2.3",
    series: str = "1.2.3.1",
    sop: str = "1.2.3.1.1",
    *,
    patient_id: str = "PAT1",
    rows: int = 16,
    columns: int = 16,
    fill: int = 0,
    transfer_syntax: str = ExplicitVRLittleEndian,
    **attributes: object,
) -> bytes:
    """Return a small CT instance as a Part 10 file.

    Args:
        fill: Value of every pixel byte.
        attributes: More attributes by keyword.
    """
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = sop
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = series
    ds.PatientID = patient_id
    ds.PatientName = "Test^Person"
    ds.StudyDate = "20260102"
    ds.StudyTime = "101112"
    ds.Modality = "CT"
    ds.SeriesNumber = 1
    ds.InstanceNumber = 1
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows = rows
    ds.Columns = columns
    ds.BitsAllocated = 16
    ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelRepresentation = 0
    ds.PixelData = bytes([fill]) * (rows * columns * 2)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()

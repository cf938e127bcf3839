"""Small instances, made for one test each."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

PATIENT_NAME = "Nobody^Ever"


def make_instance(
    study_uid: str = "",
    series_uid: str = "",
    *,
    sop_class_uid: str = SecondaryCaptureImageStorage,
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
    pixels: bytes = bytes(64),
) -> FileDataset:
    """Return an instance of 8-bit pixels in one row."""
    meta = FileMetaDataset()
    syntax = meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    ds = FileDataset(
        "",
        {},
        file_meta=meta,
        preamble=bytes(128),
        is_implicit_VR=syntax.is_implicit_VR,
        is_little_endian=syntax.is_little_endian,
    )
    ds.SOPClassUID = sop_class_uid
    ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID = study_uid or generate_uid()
    ds.SeriesInstanceUID = series_uid or generate_uid()
    ds.PatientID = "P1"
    ds.PatientName = PATIENT_NAME
    ds.Modality = "OT"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = 1, len(pixels)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = pixels
    ds["PixelData"].VR = "OB"
    name_instance(ds)
    return ds


def name_instance(ds: Dataset) -> None:
    """Let the file meta information say what the data set says."""
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID


def encode_data_set(ds: Dataset) -> bytes:
    """Return a data set in explicit VR little endian, as it goes over the wire."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, ds)
    return buffer.getvalue()


def save_instance(ds: Dataset, path: Path) -> Path:
    """Write an instance as a Part 10 file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def save_series(folder: Path, count: int) -> list[str]:
    """Write a series of one study; return its SOP Instance UIDs."""
    study_uid, series_uid = generate_uid(), generate_uid()
    uids = []
    for number in range(1, count + 1):
        ds = make_instance(study_uid, series_uid, pixels=number.to_bytes(4, "big") * 16)
        ds.InstanceNumber = number
        save_instance(ds, folder / f"{number:05}.dcm")
        uids.append(str(ds.SOPInstanceUID))
    return uids

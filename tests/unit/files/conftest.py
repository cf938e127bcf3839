"""An installation in a temporary folder, and small instances to put into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from lamella.archive.installation import open_archive
from lamella.settings import Settings
from lamella.vcs.datasets import ensure_default
from lamella.vcs.repository import Repository

MakeFile = Callable[..., Path]
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[Repository]:
    """An empty installation with dataset `default`."""
    archive = await open_archive(Settings(data_dir=tmp_path / "data"))
    try:
        await archive.database.write(ensure_default)
        yield Repository(archive)
    finally:
        await archive.close()


@pytest.fixture
def make_file() -> MakeFile:
    """Return a function that writes one instance: `make_file(path, sop, Keyword=value, …)`."""
    return write_instance


def write_instance(path: Path, sop: str, **attributes: object) -> Path:
    ds = Dataset()
    ds.SOPClassUID = SECONDARY_CAPTURE
    ds.SOPInstanceUID = sop
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    ds.PatientID, ds.PatientName = "p1", "Test^Patient"
    ds.Rows, ds.Columns, ds.SamplesPerPixel = 4, 4, 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelData = bytes(16)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = sop
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path

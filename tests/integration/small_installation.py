"""A small installation with some history, for the tests of fsck: made by the real verbs."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from lamella.archive.installation import Archive, open_archive
from lamella.archive.intake import Intake
from lamella.settings import Settings
from lamella.vcs.commits import Committed, commit_session
from lamella.vcs.datasets import ensure_default
from lamella.vcs.refs import BRANCH, TAG, DatasetRow, create_ref, find_dataset
from lamella.vcs.repository import Repository
from lamella.vcs.staging import Session, stage, stage_deletes

ROOT = "1.2.826.0.1.3680043.10.9999"


def make_file(
    study: int, series: int, number: int, *, version: int = 0, pixel_bytes: int = 128
) -> bytes:
    """Return a Part 10 file; everything in it follows from the arguments."""
    ds = pydicom.Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = CTImageStorage if series % 2 else MRImageStorage
    ds.StudyInstanceUID = f"{ROOT}.{study}"
    ds.SeriesInstanceUID = f"{ROOT}.{study}.{series}"
    ds.SOPInstanceUID = f"{ROOT}.{study}.{series}.{number}"
    ds.StudyDate, ds.StudyTime = f"2020{study % 12 + 1:02}01", "101112"
    ds.AccessionNumber = f"A{study}"
    ds.Modality = "CT" if series % 2 else "MR"
    ds.PatientName, ds.PatientID = f"Tést^{study}", f"P{study}"
    ds.StudyDescription = f"Study {study} of version {version}" if version else f"Study {study}"
    ds.SeriesNumber, ds.InstanceNumber = series, number
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = 1, pixel_bytes // 2
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PixelData = (number % 251).to_bytes(2, "little") * (pixel_bytes // 2)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


@dataclass
class Installation:
    """An open installation and its default dataset."""

    archive: Archive
    repository: Repository
    dataset: DatasetRow
    folder: Path

    async def store(self, files: Sequence[bytes], branch: str = "main") -> Committed:
        """Store files in one commit."""
        intake = Intake(self.archive)
        received = [await intake.add(_stream(data)) for data in files]
        work = Session(self.dataset, branch, "store", "test")
        await stage(self.repository, work, intake, received)
        return await commit_session(self.repository, work)

    async def delete(self, keys: Sequence[tuple[str, str, str]], branch: str = "main") -> Committed:
        """Delete instances in one commit."""
        work = Session(self.dataset, branch, "delete", "test")
        await self.archive.database.write(lambda c: stage_deletes(c, self.repository, work, keys))
        return await commit_session(self.repository, work)

    async def change(self, statement: Any) -> int:
        """Run one statement behind Lamella's back; return how many rows it hit."""
        return await self.archive.database.write(lambda c: c.execute(statement).rowcount)

    async def fetch(self, query: Any) -> list[Any]:
        """Return a query's rows."""
        return await self.archive.database.read(lambda c: list(c.execute(query).all()))


async def open_installation(folder: Path, database_url: str = "") -> Installation:
    """Open an empty installation."""
    settings = Settings(data_dir=folder, database_url=database_url)
    archive = await open_archive(settings)
    await archive.database.write(ensure_default)
    dataset = await archive.database.read(lambda c: find_dataset(c, "default"))
    return Installation(archive, Repository(archive), dataset, folder)


async def fill(installation: Installation) -> None:
    """Make a history: 3 studies, a version, a delete, a branch with a commit, a tag."""
    await installation.store([make_file(1, s, n) for s in (1, 2) for n in range(1, 5)])
    await installation.store([make_file(2, 1, n, pixel_bytes=70_000) for n in (1, 2)])
    head = (await installation.store([make_file(1, 1, 1, version=2)])).commit_id
    database, owner = installation.archive.database, installation.dataset.id
    await database.write(lambda c: create_ref(c, owner, TAG, "v1", head))
    await database.write(lambda c: create_ref(c, owner, BRANCH, "side", head))
    await installation.store([make_file(3, 3, n) for n in range(1, 80)], "side")
    await installation.delete([(f"{ROOT}.2", f"{ROOT}.2.1", f"{ROOT}.2.1.2")])
    await installation.store([make_file(1, 3, 9)])


async def _stream(data: bytes) -> AsyncIterator[bytes]:
    yield data

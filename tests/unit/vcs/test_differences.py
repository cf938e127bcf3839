"""Differences of views: what was added, removed and changed, and in which attributes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from lamella.archive.installation import open_archive
from lamella.archive.intake import Intake
from lamella.settings import Settings
from lamella.vcs import differences
from lamella.vcs.commits import commit_session
from lamella.vcs.datasets import create_dataset
from lamella.vcs.differences import describe_commit, describe_differences
from lamella.vcs.refs import find_dataset
from lamella.vcs.repository import Repository
from lamella.vcs.staging import Session, stage, stage_deletes
from lamella.vcs.view import View, open_view

STUDY, SERIES = "1.2.3", "1.2.3.1"


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[Repository]:
    archive = await open_archive(Settings(data_dir=tmp_path / "data"))
    try:
        await archive.database.write(lambda c: create_dataset(c, "d", duplicates="replace"))
        await archive.database.write(lambda c: create_dataset(c, "e"))
        yield Repository(archive)
    finally:
        await archive.close()


def make_instance(sop: str, **attributes: object) -> bytes:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", sop
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, SERIES
    ds.PatientID, ds.PatientName = "p1", "Test^Patient"
    ds.PixelData = bytes(16)
    ds["PixelData"].VR = "OB"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = sop
    file = BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


async def store(repository: Repository, dataset: str, *files: bytes) -> View:
    """Store files in one commit; return a view of it."""
    read = repository.archive.database.read
    owner = await read(lambda c: find_dataset(c, dataset))
    work = Session(owner, "main", "store", "tester")
    intake = Intake(repository.archive)
    received = [await intake.add(_chunks(data)) for data in files]
    await stage(repository, work, intake, received)
    await commit_session(repository, work)
    return await pin(repository, dataset)


async def delete(repository: Repository, dataset: str, *sop_uids: str) -> View:
    database = repository.archive.database
    owner = await database.read(lambda c: find_dataset(c, dataset))
    work = Session(owner, "main", "delete", "tester")
    keys = [(STUDY, SERIES, sop_uid) for sop_uid in sop_uids]
    await database.write(lambda c: stage_deletes(c, repository, work, keys))
    await commit_session(repository, work)
    return await pin(repository, dataset)


async def pin(repository: Repository, dataset: str) -> View:
    return await repository.archive.database.read(
        lambda c: open_view(c, repository, dataset, "main")
    )


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


def name(sop: str) -> dict[str, str]:
    return {"study": STUDY, "series": SERIES, "instance": sop}


async def test_added_removed_and_changed(repository: Repository) -> None:
    old = await store(repository, "d", make_instance("1.1"), make_instance("1.2"))
    await delete(repository, "d", "1.2")
    new = await store(
        repository,
        "d",
        make_instance("1.3"),
        make_instance("1.1", PatientComments="later", PatientName="Other^Name"),
    )
    forward = await describe_differences(repository, old, new)
    changed = {**name("1.1"), "attributes": ["PatientName", "PatientComments"], "bulk": False}
    assert forward == {
        "from": old.commit_id,
        "to": new.commit_id,
        "added": [name("1.3")],
        "removed": [name("1.2")],
        "changed": [changed],
    }
    backward = await describe_differences(repository, new, old)
    assert backward["added"] == forward["removed"]
    assert backward["removed"] == forward["added"]
    assert backward["changed"] == forward["changed"]


async def test_equal_views_do_not_differ(repository: Repository) -> None:
    view = await store(repository, "d", make_instance("1.1"))
    diff = await describe_differences(repository, view, view)
    assert (diff["added"], diff["removed"], diff["changed"]) == ([], [], [])


async def test_pixel_data_are_bulk(repository: Repository) -> None:
    old = await store(repository, "d", make_instance("1.1"))
    new = await store(repository, "d", make_instance("1.1", PixelData=b"\1" * 16))
    diff = await describe_differences(repository, old, new)
    assert diff["changed"] == [{**name("1.1"), "attributes": [], "bulk": True}]


async def test_long_values_elsewhere_are_named(repository: Repository) -> None:
    """Two overlays or private blobs look alike in JSON, which only points at their bytes."""

    def build(overlay: bytes, private: bytes, nested: bytes) -> bytes:
        lut = Dataset()
        lut.add_new(0x00283006, "OW", nested)
        elements = {0x60003000: ("OW", overlay), 0x00091001: ("OB", private)}
        return make_instance_with(elements, ModalityLUTSequence=[lut])

    base = (b"\0" * 4000, b"\0" * 3000, b"\0" * 2000)
    old = await store(repository, "d", build(*base))
    for position, expected in enumerate(("OverlayData", "00091001", "ModalityLUTSequence")):
        values = list(base)
        values[position] = b"\1" + values[position][1:]
        new = await store(repository, "d", build(*values))
        diff = await describe_differences(repository, old, new)
        changed = {**name("1.1"), "attributes": [expected], "bulk": False}
        assert diff["changed"] == [changed]


def make_instance_with(elements: dict[int, tuple[str, bytes]], **attributes: Any) -> bytes:
    ds = pydicom.dcmread(BytesIO(make_instance("1.1", **attributes)))
    ds.add_new(0x00090010, "LO", "LAMELLA TEST")
    for tag, (vr, value) in elements.items():
        ds.add_new(tag, vr, value)
    file = BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


async def test_private_attributes_go_by_their_tag(repository: Repository) -> None:
    old = await store(repository, "d", make_instance_with({0x00091001: ("LO", b"a")}))
    new = await store(repository, "d", make_instance_with({0x00091001: ("LO", b"b")}))
    diff = await describe_differences(repository, old, new)
    assert diff["changed"] == [{**name("1.1"), "attributes": ["00091001"], "bulk": False}]


async def test_views_of_two_datasets(repository: Repository) -> None:
    old = await store(repository, "d", make_instance("1.1"), make_instance("1.2"))
    new = await store(
        repository, "e", make_instance("1.1", PatientComments="x"), make_instance("1.3")
    )
    diff = await describe_differences(repository, old, new)
    assert diff["added"] == [name("1.3")]
    assert diff["removed"] == [name("1.2")]
    changed = {**name("1.1"), "attributes": ["PatientComments"], "bulk": False}
    assert diff["changed"] == [changed]


async def test_pages_lose_nothing(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differences, "PAGE", 3)
    old = await pin(repository, "d")
    new = await store(repository, "d", *(make_instance(f"1.{n}") for n in range(1, 12)))
    diff = await describe_differences(repository, old, new)
    expected = sorted((name(f"1.{n}") for n in range(1, 12)), key=lambda item: item["instance"])
    assert diff["added"] == expected


async def test_a_commit_with_what_it_changed(repository: Repository) -> None:
    first = await pin(repository, "d")
    shown = await describe_commit(repository, first)
    assert shown["changes"] == {
        "from": None,
        "to": first.commit_id,
        "added": [],
        "removed": [],
        "changed": [],
    }
    second = await store(repository, "d", make_instance("1.1"))
    third = await delete(repository, "d", "1.1")
    shown = await describe_commit(repository, third)
    assert (shown["id"], shown["kind"]) == (third.commit_id, "delete")
    assert shown["changes"] == {
        "from": second.commit_id,
        "to": third.commit_id,
        "added": [],
        "removed": [name("1.1")],
        "changed": [],
    }

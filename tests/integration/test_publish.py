"""`lamella publish`: an index from which every byte of a commit is found without a database."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from lamella.archive.frames import FrameTable
from lamella.archive.packs.local import LocalPackStore
from lamella.archive.published.reader import PublishedIndex
from lamella.cli.main import main
from lamella.errors import Conflict, InvalidRequest, ResourceNotFound
from lamella.files.publisher import publish, withdraw
from lamella.vcs import publications
from lamella.vcs.datasets import create_dataset, delete_dataset
from lamella.vcs.tables import published_pack
from lamella.vcs.view import View, open_view
from tests.integration.small_installation import ROOT, Installation, fill, open_installation


@dataclass
class File:
    path: Path

    def read_at(self, offset_bytes: int, length_bytes: int) -> bytes:
        return self.path.read_bytes()[offset_bytes : offset_bytes + length_bytes]


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    opened = await open_installation(tmp_path / "data")
    await fill(opened)
    yield opened
    await opened.archive.close()


def open_index(installation: Installation, name: str) -> PublishedIndex:
    path = installation.folder / "packs" / "published" / "default" / f"{name}.idx"
    return PublishedIndex.open(File(path), path.stat().st_size)


async def open_revision(installation: Installation, revision: str) -> View:
    repository = installation.repository
    return await installation.archive.database.read(
        lambda c: open_view(c, repository, "default", revision)
    )


@pytest.mark.parametrize("revision", ["main", "v1", "side", "main~3"])
async def test_the_index_names_every_byte_of_the_commit(
    installation: Installation, revision: str
) -> None:
    view = await open_revision(installation, revision)
    made = await publish(installation.repository, view, revision)
    index = open_index(installation, revision)
    assert index.about == made.about
    assert index.about.commit_id == view.commit_id
    entries = await installation.archive.database.read(
        lambda c: {
            (study, series, sop): entry
            for study, series, sop, entry in view.tree(c, installation.repository).walk()
        }
    )
    packs = LocalPackStore(installation.folder / "packs")
    seen = {}
    for study in index.studies():
        for series in study.series:
            section = index.read_series(series)
            assert len(section.instances) == series.n_instances
            for one in section.instances:
                key = (study.study_uid, series.series_uid, one.sop_uid)
                seen[key] = [(digest, length) for digest, _, _, length in one.segments]
                for digest, number, offset, length in one.segments:
                    data = packs.read_now(section.packs[number], offset, length)
                    assert hashlib.sha256(data).digest() == digest
                assert one.frames is not None
                assert FrameTable.from_bytes(one.frames).n_frames == 1
                document = msgspec.json.decode(one.document)
                assert document["00080018"]["Value"] == [one.sop_uid]
                assert document["7FE00010"]["BulkDataURI"] == "bulkdata/7FE00010"
    assert seen == {key: list(entry.segments) for key, entry in entries.items()}
    assert index.about.n_instances == len(entries)
    await packs.close()


async def test_attributes_are_those_of_a_search_for_all_of_them(
    installation: Installation,
) -> None:
    await publish(installation.repository, await open_revision(installation, "v1"), "v1")
    studies = {study.study_uid: study for study in open_index(installation, "v1").studies()}
    study = msgspec.json.decode(studies[f"{ROOT}.1"].attributes)
    assert study["00081030"]["Value"] == ["Study 1 of version 2"]
    assert study["00080061"]["Value"] == ["CT", "MR"]
    assert (study["00201206"]["Value"], study["00201208"]["Value"]) == ([2], [8])
    assert "0020000E" not in study
    assert [one.series_uid for one in studies[f"{ROOT}.1"].series] == [f"{ROOT}.1.1", f"{ROOT}.1.2"]
    series = msgspec.json.decode(studies[f"{ROOT}.1"].series[1].attributes)
    assert series["00080060"]["Value"] == ["MR"]
    assert series["00100010"]["Value"] == [{"Alphabetic": "Tést^1"}]
    assert series["00201209"]["Value"] == [4]


async def test_the_packs_of_the_newest_index_of_a_name_are_noted_and_no_others(
    installation: Installation,
) -> None:
    for revision in ("main~3", "main"):
        await publish(installation.repository, await open_revision(installation, revision), "x")
    noted = await installation.archive.database.read(
        lambda c: publications.list_publications(c, installation.dataset.id)
    )
    assert [(one.name, one.commit_id) for one in noted] == [
        ("x", (await open_revision(installation, "main")).commit_id)
    ]
    assert open_index(installation, "x").about.commit_id == noted[0].commit_id
    index = open_index(installation, "x")
    named = {
        pack
        for study in index.studies()
        for series in study.series
        for pack in index.read_series(series).packs
    }
    rows = await installation.fetch(sa.select(published_pack.c.published_id))
    assert [row[0] for row in rows] == [noted[0].id] * len(named)
    await withdraw(installation.repository, installation.dataset, "x")
    assert await installation.fetch(sa.select(published_pack)) == []
    assert not list((installation.folder / "packs").rglob("*.idx"))
    with pytest.raises(ResourceNotFound):
        await withdraw(installation.repository, installation.dataset, "x")


async def test_packs_that_are_gone_are_not_published(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = await open_revision(installation, "main")

    real = publications.pin_packs

    def pin_another(c, owner, name, commit_id, size, packs):  # type: ignore[no-untyped-def]
        return real(c, owner, name, commit_id, size, {*packs, "0" * 32})

    monkeypatch.setattr("lamella.files.publisher.pin_packs", pin_another)
    with pytest.raises(Conflict):
        await publish(installation.repository, view, "main")
    assert not list((installation.folder / "packs").rglob("*.idx"))
    assert await installation.fetch(sa.select(published_pack)) == []


async def test_a_published_dataset_is_not_deleted(installation: Installation) -> None:
    database = installation.archive.database
    owner = await database.write(lambda c: create_dataset(c, "other"))
    view = await database.read(lambda c: open_view(c, installation.repository, "other", None))
    await publish(installation.repository, view, "main")
    with pytest.raises(Conflict, match="published"):
        await database.write(lambda c: delete_dataset(c, "other"))
    await withdraw(installation.repository, owner, "main")
    await database.write(lambda c: delete_dataset(c, "other"))


async def test_a_name_that_leads_elsewhere_is_refused(installation: Installation) -> None:
    view = await open_revision(installation, "main")
    with pytest.raises(InvalidRequest):
        await publish(installation.repository, view, "../main")


def run(folder: Path, *arguments: str) -> int:
    return main(["--data-dir", str(folder), *arguments])


async def prepare(folder: Path) -> None:
    opened = await open_installation(folder)
    await fill(opened)
    await opened.archive.close()


def test_the_command_publishes_lists_and_withdraws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    asyncio.run(prepare(folder))
    assert run(folder, "publish", "default@main", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert made["index"] == "published/default/main.idx"
    assert (made["studies"], made["series"], made["instances"]) == (2, 4, 10)
    assert (folder / "packs" / made["index"]).stat().st_size == made["bytes"]
    assert run(folder, "publish", "v1", "--name", "release-1") == 0
    assert "index=published/default/release-1.idx" in capsys.readouterr().out
    assert run(folder, "publish", "--list", "--json") == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["main", "release-1"]
    assert run(folder, "publish", "--withdraw", "main") == 0
    assert run(folder, "publish", "--withdraw", "main") == 1
    assert run(folder, "publish", "main", "--list") == 2
    assert run(folder, "publish", "--name", "x") == 2
    assert run(folder, "fsck") == 0

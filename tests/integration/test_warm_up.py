"""Warming up: what is new at a branch is made before anybody asks, and no more than that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from lamella.app import warmer
from lamella.app.warmer import Warmer
from lamella.archive.tables import derived
from lamella.dicomweb.services import Services
from lamella.files.static.doors import Doors
from lamella.settings import Settings
from lamella.vcs.series_documents import KEPT_FROM_INSTANCES, SeriesDocuments
from lamella.vcs.view import pin_view
from tests.integration.small_installation import ROOT, Installation, make_file, open_installation

# of how handlers declare parameters; the application is built in this very process
pytestmark = [
    pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Deprecated 'query' parameter:DeprecationWarning"),
]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Installation]:
    opened = await open_installation(tmp_path / "data")
    yield opened
    await opened.archive.close()


@pytest.fixture
async def services(site: Installation) -> AsyncIterator[Services]:
    made = Services(site.repository, Settings(data_dir=site.folder))
    yield made
    await made.decoders.close()


def make_series(number: int, version: int = 0) -> list[bytes]:
    return [make_file(1, number, n + 1, version=version) for n in range(KEPT_FROM_INSTANCES)]


async def find_documents(site: Installation, number: int) -> SeriesDocuments | None:
    """Return what is kept of a series at the head of the branch."""
    view = await pin_view(site.repository, "default", "main")

    def find(connection: sa.Connection) -> SeriesDocuments | None:
        tree = view.tree(connection, site.repository)
        series = tree.find_series(f"{ROOT}.1", f"{ROOT}.1.{number}")
        assert series is not None
        return site.repository.shelf.find(view.dataset.id, series)

    return await site.archive.database.read(find)


async def test_what_is_new_is_made_and_what_was_there_is_not(
    site: Installation, services: Services
) -> None:
    await site.store(make_series(1))
    warming = Warmer(services)
    assert await warming.look() == 0
    await site.store(make_series(2))
    assert await warming.look() == 1
    assert await find_documents(site, 1) is None
    made = await find_documents(site, 2)
    assert made is not None
    assert len(made.sop_uids) == KEPT_FROM_INSTANCES
    assert await warming.look() == 0

    await site.store(make_series(1, version=1))
    await site.delete([(f"{ROOT}.1", f"{ROOT}.1.2", f"{ROOT}.1.2.1")])
    assert await warming.look() == 2
    changed = await find_documents(site, 1)
    assert changed is not None
    assert b"of version 1" in changed.text


async def test_metadata_are_answered_from_what_was_made(
    site: Installation, services: Services
) -> None:
    warming = Warmer(services)
    await warming.look()
    commit_id = (await site.store(make_series(1))).commit_id.hex()
    await warming.look()
    await site.change(sa.update(derived).values(dicom_json=b"gone"))
    doors = Doors(warming._app, f"/dicomweb/default/{commit_id}")
    path = f"studies/{ROOT}.1/series/{ROOT}.1.1"
    metadata = await doors.get(f"{path}/metadata", "application/dicom+json")
    with metadata.body:
        assert metadata.status == 200
    unmade = await doors.get(f"{path}/instances/{ROOT}.1.1.1/metadata", "application/dicom+json")
    with unmade.body:
        assert unmade.status == 500


async def test_it_is_bounded(
    site: Installation, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warmer, "MOST_SERIES", 3)
    warming = Warmer(services)
    await warming.look()
    await site.store([make_file(1, number, 1) for number in range(1, 8)])
    assert await warming.look() == 3


async def test_what_went_is_no_work(site: Installation, services: Services) -> None:
    await site.store([make_file(1, 1, 1)])
    warming = Warmer(services)
    await warming.look()
    await site.delete([(f"{ROOT}.1", f"{ROOT}.1.1", f"{ROOT}.1.1.1")])
    assert await warming.look() == 0

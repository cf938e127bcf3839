"""Frames of a series that is looked through: read ahead, and those of each instance its own."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from litestar import Litestar
from litestar.datastructures import State
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from lamella.archive.installation import Archive, open_archive
from lamella.dicomweb.problems import answer_error
from lamella.dicomweb.services import Services
from lamella.settings import Settings
from lamella.stow import routes as stow_routes
from lamella.vcs.datasets import ensure_default
from lamella.vcs.repository import Repository
from lamella.wado import frame_tables
from lamella.wado import routes as wado_routes
from tests.harness.collection import join_parts
from tests.harness.samples import make_instance

SERIES = "http://archive.example/dicomweb/default/main/studies/1.2.3/series/1.2.3.1"
ACCEPT = {"Accept": "application/octet-stream; transfer-syntax=*"}
N_SLICES = 90
FRAGMENTED, WITHOUT_PIXELS = "1.2.3.1.1001", "1.2.3.1.1002"
N_FRAGMENTS = 400  # of one frame: a table that is too long to be read ahead


def make_slices() -> list[bytes]:
    return [make_instance(sop=f"1.2.3.1.{n}", fill=n) for n in range(N_SLICES)]


def make_fragmented() -> bytes:
    # Not really JPEG 2000: what is served as it is stored is not looked at.
    frames = [bytes([n % 251]) * 10 for n in range(N_FRAGMENTS)]
    return make_instance(
        sop=FRAGMENTED,
        transfer_syntax=JPEG2000Lossless,
        NumberOfFrames=N_FRAGMENTS,
        PixelData=encapsulate(frames),
    )


def make_plain() -> bytes:
    ds = pydicom.dcmread(io.BytesIO(make_instance(sop=WITHOUT_PIXELS)))
    del ds.PixelData
    buffer = io.BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


class Doors:
    """The doors in this process, as after a start, and how often it reads the database."""

    def __init__(self, archive: Archive, settings: Settings) -> None:
        state = State({"services": Services(Repository(archive), settings)})
        routes = [*stow_routes.ROUTES, *wado_routes.ROUTES]
        app: Any = Litestar(
            routes, state=state, logging_config=None, exception_handlers={Exception: answer_error}
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app))
        self.reads = 0
        self._read = archive.database.read

    async def count(self, work: Any) -> Any:
        """Read, and count."""
        self.reads += 1
        return await self._read(work)

    async def get_frame(self, sop_uid: str, frame_number: int = 1) -> httpx.Response:
        """Ask for one frame."""
        url = f"{SERIES}/instances/{sop_uid}/frames/{frame_number}"
        return await self.client.get(url, headers=ACCEPT)


@pytest.fixture
async def doors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Doors]:
    settings = Settings(data_dir=tmp_path / "data")
    archive = await open_archive(settings)
    await archive.database.write(ensure_default)
    before = Doors(archive, settings)
    content_type, body = join_parts([*make_slices(), make_fragmented(), make_plain()])
    url = SERIES.partition("/studies")[0] + "/studies"
    stored = await before.client.post(url, content=body, headers={"Content-Type": content_type})
    assert stored.status_code == 200, stored.text
    opened = Doors(archive, settings)
    monkeypatch.setattr(archive.database, "read", opened.count)
    yield opened
    await archive.close()


async def test_two_first_frames_are_read_and_all_others_with_them(doors: Doors) -> None:
    for n in (5, 3):
        assert set((await doors.get_frame(f"1.2.3.1.{n}")).content) == {n}
    reads = doors.reads
    for n in reversed(range(N_SLICES)):
        answer = await doors.get_frame(f"1.2.3.1.{n}")
        assert (len(answer.content), set(answer.content)) == (512, {n})
        assert answer.headers["content-location"].endswith(f"/instances/1.2.3.1.{n}/frames/1")
    assert doors.reads == reads


async def test_a_series_too_long_to_be_read_at_once_is_read_in_parts(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_tables, "AHEAD", 30)
    for n in (5, *range(N_SLICES)):
        assert set((await doors.get_frame(f"1.2.3.1.{n}")).content) == {n}
    reads = doors.reads
    for n in range(N_SLICES):
        assert set((await doors.get_frame(f"1.2.3.1.{n}")).content) == {n}
    assert doors.reads == reads < N_SLICES / 2


async def test_what_is_not_read_ahead_is_found_all_the_same(doors: Doors) -> None:
    for n in (5, 3, 4):
        assert (await doors.get_frame(f"1.2.3.1.{n}")).status_code == 200
    for n in (1, 2, N_FRAGMENTS, 1):
        answer = await doors.get_frame(FRAGMENTED, n)
        assert answer.content == bytes([(n - 1) % 251]) * 10
    for _ in range(2):
        assert (await doors.get_frame(FRAGMENTED, N_FRAGMENTS + 1)).status_code == 404
        answer = await doors.get_frame(WITHOUT_PIXELS)
        assert answer.status_code == 404
        assert "no pixel data" in answer.json()["detail"]
        assert (await doors.get_frame("1.2.3.1.999")).status_code == 404

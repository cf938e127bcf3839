"""A fault at each point where a store writes: refused as a whole, and the next one succeeds."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom import dcmread

from lamella.archive.installation import Archive, open_archive
from lamella.archive.instances import Received
from lamella.archive.intake import Intake
from lamella.archive.tables import pack
from lamella.errors import OutOfResources
from lamella.settings import Settings
from lamella.upkeep.fsck import check
from lamella.vcs.commits import commit_abandoned, commit_intake, commit_session, list_abandoned
from lamella.vcs.datasets import ensure_default
from lamella.vcs.refs import find_dataset, read_head
from lamella.vcs.repository import Repository
from lamella.vcs.staging import Session, stage_judged
from lamella.vcs.view import open_view
from tests.crash.faults import (
    FaultyPackStore,
    PackFault,
    drop_free_pages,
    limit_pages,
    short_files,
)
from tests.harness.samples import make_instance

N_INSTANCES = 12
SIDE = 256  # 128 KiB of pixels
MOST_SPARE_PAGES = 400


@dataclass
class House:
    """An installation on a pack store that may fail, and what its branch holds."""

    repository: Repository
    packs: FaultyPackStore
    expected: dict[str, bytes]

    @property
    def archive(self) -> Archive:
        """Its storage side."""
        return self.repository.archive

    async def new_session(self) -> Session:
        """Return a session of one sender."""
        dataset = await self.archive.database.read(lambda c: find_dataset(c, "default"))
        return Session(dataset, "main", "store", "test")

    async def head(self) -> bytes:
        """Return the head of the branch."""
        work = await self.new_session()
        return await self.archive.database.read(lambda c: read_head(c, work.dataset.id, "main"))

    async def count_rows(self) -> dict[str, int]:
        """Return how many rows each table has."""

        def count(connection: sa.Connection) -> dict[str, int]:
            tables = sa.inspect(connection).get_table_names()
            return {
                name: connection.exec_driver_sql(f'SELECT count(*) FROM "{name}"').scalar_one()
                for name in tables
            }

        return await self.archive.database.read(count)

    def list_files(self) -> set[Path]:
        """Return the packs and spool files on the disk."""
        return {path for path in self.packs.folder.rglob("*") if path.is_file()}

    async def list_packs(self) -> list[str]:
        """Return the names of the packs that rows know."""
        query = sa.select(pack.c.name)
        return await self.archive.database.read(lambda c: list(c.execute(query).scalars()))

    async def store_by_stow(self, files: dict[str, bytes]) -> None:
        """Store as a STOW request does."""
        intake, received = await self.receive(files)
        committed = await commit_intake(self.repository, await self.new_session(), intake, received)
        assert committed.created
        self.expected |= files

    async def store_by_dimse(self, files: dict[str, bytes]) -> None:
        """Store as a C-STORE association does, one instance after the other."""
        work = await self.new_session()
        for sop_uid, file in files.items():
            intake, (received,) = await self.receive({sop_uid: file})
            await stage_judged(self.repository, work, intake, received)
            self.expected[sop_uid] = file
        await commit_session(self.repository, work)

    async def receive(self, files: dict[str, bytes]) -> tuple[Intake, list[Received]]:
        """Take files; a failure leaves nothing of them."""
        intake = Intake(self.archive)
        try:
            return intake, [await intake.add(_split(file)) for file in files.values()]
        except BaseException:
            intake.close()
            raise

    async def commit_left_over(self) -> None:
        """Commit what failed commits have left, as the server does later."""
        database = self.archive.database
        for session_id in await database.read(lambda c: list_abandoned(c, self.archive.node_id)):
            await database.write(partial(self._commit_abandoned, session_id))

    def _commit_abandoned(self, session_id: str, connection: sa.Connection) -> None:
        commit_abandoned(connection, self.repository, session_id)

    async def check(self) -> None:
        """See that the branch holds what it should, byte for byte, and that fsck is content."""
        view = await self.archive.database.read(
            lambda c: open_view(c, self.repository, "default", None)
        )
        entries = await self.archive.database.read(
            lambda c: {one[2]: one[3] for one in view.tree(c, self.repository).walk()}
        )
        assert set(entries) == set(self.expected)
        for sop_uid, entry in entries.items():
            chunks = [chunk async for chunk in self.repository.blobs.stream(entry.segments)]
            assert b"".join(chunks) == self.expected[sop_uid]
            assert dcmread(io.BytesIO(b"".join(chunks))).SOPInstanceUID == sop_uid
        report = await check(self.repository, bytes=True)
        assert report.findings == []


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """An installation with one instance in it."""
    archive = await open_archive(Settings(data_dir=tmp_path / "data"), is_server=True)
    await archive.packs.close()
    packs = FaultyPackStore(tmp_path / "data" / "packs")
    faulty = replace(archive, packs=packs)
    await faulty.database.write(ensure_default)
    drop_free_pages(tmp_path / "data" / "lamella.db")
    found = House(Repository(faulty), packs, {})
    await found.store_by_stow(make_files(0, 1))
    yield found
    await faulty.close()


@pytest.mark.parametrize("fault", PackFault)
async def test_fault_of_the_pack_store(house: House, fault: PackFault) -> None:
    files = make_files(1, N_INSTANCES)
    before = await house.head(), await house.count_rows(), house.list_files()
    house.packs.fault = fault

    for store in (house.store_by_stow, house.store_by_dimse):
        with pytest.raises(OutOfResources):
            await store(files)

        assert (await house.head(), await house.count_rows(), house.list_files()) == before
    assert house.packs.n_faults == 2
    await house.check()
    house.packs.fault = None
    await house.store_by_stow(files)
    await house.check()


async def test_fault_at_the_second_pack_of_a_request(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamella.archive.packs.store.PackStore.pack_bytes", 3 * SIDE * SIDE)
    files = make_files(1, N_INSTANCES)
    before = await house.head(), await house.count_rows(), house.list_files()
    house.packs.fault, house.packs.pass_first = PackFault.AFTER_SYNC, 2

    with pytest.raises(OutOfResources):
        await house.store_by_stow(files)

    assert house.packs.n_faults == 1
    assert (await house.head(), await house.count_rows(), house.list_files()) == before
    house.packs.fault = None
    await house.store_by_stow(files)
    await house.check()


async def test_fault_of_the_spool(house: House) -> None:
    files = make_files(1, 1, side=1024)  # beyond the buffer, so that it is spooled while it comes
    before = await house.head(), await house.count_rows(), house.list_files()

    for store in (house.store_by_stow, house.store_by_dimse):
        with short_files(SIDE * SIDE), pytest.raises(OutOfResources):
            await store(files)

        assert (await house.head(), await house.count_rows(), house.list_files()) == before
    await house.store_by_dimse(files)
    await house.check()


async def test_fault_at_each_page_that_a_stow_request_adds(house: House) -> None:
    """One page more each time, until there are enough: each allocation fails once."""
    files = make_files(1, 5 * N_INSTANCES, side=64)
    before = await house.head(), await house.count_rows(), house.list_files()
    n_refused = 0
    for spare_pages in range(MOST_SPARE_PAGES):
        await limit_pages(house.archive.database, spare_pages)
        try:
            await house.store_by_stow(files)
        except OutOfResources:
            n_refused += 1
            state = await house.head(), await house.count_rows(), house.list_files()
            assert state == before
        else:
            break
    assert 2 < n_refused < MOST_SPARE_PAGES
    await house.check()


async def test_fault_takes_only_whole_requests_of_those_that_share_a_transaction(
    house: House,
) -> None:
    """Writers that wait are committed together; each is answered for itself all the same."""
    waiting = {number: make_files(number, 2, side=64) for number in range(1, 60, 2)}
    n_refused = 0
    for number in range(MOST_SPARE_PAGES):
        await limit_pages(house.archive.database, number % 6)
        batch = dict(list(waiting.items())[:6])
        answers = await asyncio.gather(
            *(house.store_by_stow(files) for files in batch.values()), return_exceptions=True
        )
        for first, answer in zip(batch, answers, strict=True):
            if answer is None:
                del waiting[first]
            else:
                assert isinstance(answer, OutOfResources)
                n_refused += 1
        if not waiting:
            break
    await house.check()
    assert len(house.list_files()) == len(await house.list_packs())
    assert n_refused > 2
    assert len(house.expected) > 2 * N_INSTANCES


async def test_fault_at_each_page_that_c_stores_add(house: House) -> None:
    """What one C-STORE has acknowledged stays, even where the commit has no room."""
    n_refused = 0
    number = 1
    while len(house.expected) <= 4 * N_INSTANCES:
        files = make_files(number, 1, side=64)
        await limit_pages(house.archive.database, n_refused % 7)
        head = await house.head()
        try:
            await house.store_by_dimse(files)
        except OutOfResources:
            n_refused += 1
            assert await house.head() == head
        number += 1
        assert number < MOST_SPARE_PAGES
    assert n_refused > 2
    await limit_pages(house.archive.database, None)
    await house.commit_left_over()
    await house.check()


def make_files(first: int, count: int, side: int = SIDE) -> dict[str, bytes]:
    """Return Part 10 files by SOP Instance UID, no two with equal pixels."""
    numbers = range(first, first + count)
    return {
        f"1.2.3.1.{number}": make_instance(
            sop=f"1.2.3.1.{number}",
            rows=side,
            columns=side,
            PixelData=number.to_bytes(4, "little") * (side * side // 2),
        )
        for number in numbers
    }


async def _split(file: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(file), 1 << 16):
        yield file[start : start + (1 << 16)]

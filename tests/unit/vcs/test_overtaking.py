"""What was acknowledged before its commit is not overtaken by a newer version of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lamella.archive.installation import open_archive
from lamella.archive.instances import Received
from lamella.archive.intake import Intake
from lamella.settings import Settings
from lamella.vcs.commits import commit_intake, commit_session
from lamella.vcs.datasets import ensure_default
from lamella.vcs.history import walk_first_parents
from lamella.vcs.judgement import Verdict
from lamella.vcs.refs import find_dataset, read_head
from lamella.vcs.repository import Repository
from lamella.vcs.staging import Session, count_staged, stage_judged
from lamella.vcs.stored import key_of_entry
from tests.harness.samples import make_instance

STUDY, SERIES = "1.2.3", "1.2.3.1"


@dataclass
class House:
    """An installation, with senders that stage one by one."""

    repository: Repository

    async def open_session(self, author: str, kind: str = "store") -> Session:
        read = self.repository.archive.database.read
        return Session(await read(lambda c: find_dataset(c, "default")), "main", kind, author)

    async def take(self, number: int, change: str) -> tuple[Intake, Received]:
        file = make_instance(STUDY, SERIES, f"{SERIES}.{number}", SeriesDescription=change)

        async def chunks() -> AsyncIterator[bytes]:
            yield file

        intake = Intake(self.repository.archive)
        return intake, await intake.add(chunks())

    async def stage(self, work: Session, number: int, change: str) -> bytes:
        """Stage a version of an instance; return its key."""
        intake, received = await self.take(number, change)
        judgement = await stage_judged(self.repository, work, intake, received)
        assert judgement.verdict in (Verdict.STORED, Verdict.VERSION)
        return received.key

    async def list_versions(self, number: int) -> list[bytes]:
        """Return the keys that an instance had on the branch, oldest first."""
        work = await self.open_session("reader")

        def walk(connection: object) -> list[bytes]:
            head = read_head(connection, work.dataset.id, "main")  # type: ignore[arg-type]
            found: list[bytes] = []
            for commit in walk_first_parents(connection, work.dataset.id, head):  # type: ignore[arg-type]
                tree = self.repository.tree(connection, work.dataset.id, commit.commit.tree)  # type: ignore[arg-type]
                entry = tree.entry(STUDY, SERIES, f"{SERIES}.{number}")
                if entry is not None and (not found or found[-1] != key_of_entry(entry)):
                    found.append(key_of_entry(entry))
            return found[::-1]

        return await self.repository.archive.database.read(walk)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    archive = await open_archive(Settings(data_dir=tmp_path / "data"), is_server=True)
    await archive.database.write(ensure_default)
    yield House(Repository(archive))
    await archive.close()


async def test_a_commit_that_waited_stays_behind_a_newer_version(house: House) -> None:
    slow, quick = await house.open_session("dimse:CT1"), await house.open_session("dimse:CT1")
    old = await house.stage(slow, 1, "old")
    await house.stage(slow, 2, "another")
    new = await house.stage(quick, 1, "new")
    assert (await commit_session(house.repository, quick)).created
    assert not (await commit_session(house.repository, slow)).created
    assert await house.list_versions(1) == [old, new]
    assert len(await house.list_versions(2)) == 1


async def test_a_request_stays_ahead_of_what_waited_for_its_commit(house: House) -> None:
    slow = await house.open_session("dimse:CT1")
    old = await house.stage(slow, 1, "old")
    intake, received = await house.take(1, "new")
    stow = await house.open_session("stow")
    committed = await commit_intake(house.repository, stow, intake, [received])
    assert [one.judgement.verdict for one in committed.outcomes] == [Verdict.VERSION]
    await commit_session(house.repository, slow)
    assert await house.list_versions(1) == [old, received.key]


async def test_an_association_goes_on_after_its_commit_by_another(house: House) -> None:
    slow, quick = await house.open_session("dimse:CT1"), await house.open_session("dimse:CT2")
    old = await house.stage(slow, 1, "old")
    new = await house.stage(quick, 1, "new")
    await commit_session(house.repository, quick)
    newest = await house.stage(slow, 1, "newest")
    await house.stage(slow, 3, "more")
    await commit_session(house.repository, slow)
    assert await house.list_versions(1) == [old, new, newest]
    assert len(await house.list_versions(3)) == 1


async def test_only_what_came_first_goes_first(house: House) -> None:
    first, second = await house.open_session("dimse:CT1"), await house.open_session("dimse:CT2")
    old = await house.stage(first, 1, "old")
    new = await house.stage(second, 1, "new")
    await house.stage(second, 2, "another")
    await commit_session(house.repository, first)
    count = house.repository.archive.database.read
    assert await count(lambda c: count_staged(c, second.id)) == 2
    await commit_session(house.repository, second)
    assert await house.list_versions(1) == [old, new]


async def test_sessions_that_wait_for_each_other_are_committed_all_the_same(house: House) -> None:
    first, second = await house.open_session("dimse:CT1"), await house.open_session("dimse:CT2")
    await house.stage(first, 1, "old")
    await house.stage(second, 2, "old")
    newer = [await house.stage(second, 1, "new"), await house.stage(first, 2, "new")]
    await commit_session(house.repository, first)
    await commit_session(house.repository, second)
    for number, key in enumerate(newer, 1):
        assert key in await house.list_versions(number)

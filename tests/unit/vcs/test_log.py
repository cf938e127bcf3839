"""The log: order, limits, pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from lamella.archive.installation import open_archive
from lamella.errors import RevisionNotFound
from lamella.settings import Settings
from lamella.vcs.commit_object import Commit
from lamella.vcs.datasets import create_dataset
from lamella.vcs.history import load_commit, save_commit
from lamella.vcs.log import find_first_parent, read_log
from lamella.vcs.refs import DatasetRow, read_head
from lamella.vcs.repository import Repository
from lamella.vcs.revision import resolve
from lamella.vcs.view import pin_view
from tests.harness.database_work import watch_database

NUMBER = 5


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[Repository]:
    archive = await open_archive(Settings(data_dir=tmp_path / "data"))
    yield Repository(archive)
    await archive.close()


@pytest.fixture
async def history(repository: Repository) -> tuple[DatasetRow, list[bytes]]:
    """A dataset, and its commits from the first to the newest."""

    return await repository.archive.database.write(make_history)


def make_history(connection: sa.Connection) -> tuple[DatasetRow, list[bytes]]:
    """Make a dataset whose commits have one tree; return them from the first on."""
    dataset = create_dataset(connection, "d")
    ids = [read_head(connection, dataset.id, "main")]
    first = load_commit(connection, dataset.id, ids[0])
    for number in range(1, NUMBER):
        made = Commit(
            tree=first.commit.tree,
            parents=(ids[-1].hex(),),
            author="a",
            committer="c",
            time_us=number,
            message=f"number {number}",
            kind="store",
        )
        saved = save_commit(connection, dataset.id, made, number, first.visible_id)
        ids.append(saved.id)
    return dataset, ids


async def read_ids(
    repository: Repository,
    dataset: DatasetRow,
    start: bytes,
    limit: int | None = None,
    before: bytes | None = None,
) -> list[object]:
    log = await repository.archive.database.read(
        lambda c: read_log(c, dataset.id, start, limit, before)
    )
    return [commit["id"] for commit in log]


async def test_newest_first(
    repository: Repository, history: tuple[DatasetRow, list[bytes]]
) -> None:
    dataset, ids = history
    shown = [commit_id.hex() for commit_id in reversed(ids)]
    assert await read_ids(repository, dataset, ids[-1]) == shown
    assert await read_ids(repository, dataset, ids[2]) == shown[2:]


async def test_pages_join_without_gap_or_overlap(
    repository: Repository, history: tuple[DatasetRow, list[bytes]]
) -> None:
    dataset, ids = history
    pages: list[object] = []
    before = None
    while page := await read_ids(repository, dataset, ids[-1], 2, before):
        assert len(page) <= 2
        pages += page
        before = bytes.fromhex(str(page[-1]))
    assert pages == await read_ids(repository, dataset, ids[-1])


async def test_a_commit_is_described_as_the_contract_says(
    repository: Repository, history: tuple[DatasetRow, list[bytes]]
) -> None:
    dataset, ids = history
    (commit,) = await repository.archive.database.read(
        lambda c: read_log(c, dataset.id, ids[1], limit=1)
    )
    assert set(commit) == {
        "id",
        "tree",
        "parents",
        "author",
        "committer",
        "time",
        "message",
        "kind",
        "provenance",
    }
    assert commit["parents"] == [ids[0].hex()]
    assert commit["time"] == "1970-01-01T00:00:00.000001Z"


async def test_parents(repository: Repository, history: tuple[DatasetRow, list[bytes]]) -> None:
    dataset, ids = history
    read = repository.archive.database.read
    assert await read(lambda c: find_first_parent(c, dataset.id, ids[1])) == ids[0]
    assert await read(lambda c: find_first_parent(c, dataset.id, ids[0])) is None
    with pytest.raises(RevisionNotFound):
        await read(lambda c: find_first_parent(c, dataset.id, bytes(32)))


async def test_a_number_of_steps_back_is_the_first_parent_ancestor(
    repository: Repository, history: tuple[DatasetRow, list[bytes]]
) -> None:
    dataset, ids = history

    def go_back(connection: sa.Connection, steps: int) -> bytes:
        return resolve(connection, dataset, f"{ids[-1].hex()}~{steps}").commit_id

    read = repository.archive.database.read
    for steps in range(NUMBER):
        assert await read(partial(go_back, steps=steps)) == ids[-1 - steps]
    with pytest.raises(RevisionNotFound):
        await read(partial(go_back, steps=NUMBER))


async def test_many_steps_back_are_one_statement(
    tmp_path: Path,
) -> None:
    with watch_database() as work:
        archive = await open_archive(Settings(data_dir=tmp_path / "counted"))
        repository = Repository(archive)
        dataset, ids = await archive.database.write(make_history)
        counts = []
        for steps in (1, NUMBER - 1):
            work.reset()
            view = await pin_view(repository, dataset.name, f"{ids[-1].hex()}~{steps}")
            assert view.commit_id == ids[-1 - steps].hex()
            counts.append(work.statements.total())
        await archive.close()
    assert counts[0] == counts[1]

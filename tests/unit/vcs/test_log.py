"""The log: order, limits, pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
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

NUMBER = 5


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[Repository]:
    archive = await open_archive(Settings(data_dir=tmp_path / "data"))
    yield Repository(archive)
    await archive.close()


@pytest.fixture
async def history(repository: Repository) -> tuple[DatasetRow, list[bytes]]:
    """A dataset, and its commits from the first to the newest."""

    def make(connection: sa.Connection) -> tuple[DatasetRow, list[bytes]]:
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

    return await repository.archive.database.write(make)


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

"""Revisions looked up by one statement: the same view as a transaction resolves, on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from lamella.archive.installation import open_archive
from lamella.errors import RevisionNotFound
from lamella.settings import Settings
from lamella.vcs.commit_object import Commit
from lamella.vcs.datasets import create_dataset, delete_dataset
from lamella.vcs.history import load_commit, save_commit
from lamella.vcs.lookup import look_up
from lamella.vcs.refs import (
    BRANCH,
    TAG,
    create_ref,
    find_dataset,
    move_branch,
    next_log_time,
    read_head,
)
from lamella.vcs.repository import Repository
from lamella.vcs.view import open_view, pin_view, read_view
from tests.harness.postgresql import run_postgresql


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[Repository]:
    with run_postgresql() as url:
        archive = await open_archive(Settings(data_dir=tmp_path / "data", database_url=url))
        await archive.database.write(lambda c: create_dataset(c, "d"))
        yield Repository(archive)
        await archive.close()


def commit_nothing(connection: sa.Connection) -> bytes:
    """Move branch main to a new commit with the same tree."""
    owner = find_dataset(connection, "d")
    head = load_commit(connection, owner.id, read_head(connection, owner.id, "main"))
    time_us = next_log_time(connection, owner.id, "main")
    made = Commit(
        tree=head.commit.tree,
        parents=(head.id.hex(),),
        author="a",
        committer="c",
        time_us=time_us,
        message="",
        kind="store",
    )
    saved = save_commit(connection, owner.id, made, head.generation + 1, head.visible_id)
    move_branch(connection, owner.id, "main", head.id, saved.id, "store", time_us)
    return saved.id


async def test_what_is_looked_up_is_what_is_resolved(repository: Repository) -> None:
    database = repository.archive.database
    ids = [await database.write(commit_nothing) for _ in range(3)]

    def name(connection: sa.Connection) -> None:
        owner = find_dataset(connection, "d")
        create_ref(connection, owner.id, TAG, "v1", ids[0])
        create_ref(connection, owner.id, BRANCH, "both", ids[0])
        create_ref(connection, owner.id, TAG, "both", ids[1])
        create_ref(connection, owner.id, BRANCH, "side", ids[1])

    await database.write(name)
    by_name = [
        None,
        "main",
        "v1",
        "both",
        "side",
        *(one.hex() for one in ids),
        ids[1].hex().upper(),
    ]
    for text in by_name:
        view = await database.read(lambda c, t=text: open_view(c, repository, "d", t))  # type: ignore[misc]
        found = await look_up(repository, "d", text)
        assert found is not None
        owner, resolved, shown = found
        assert (owner, resolved, shown.id) == (view.dataset, view.revision, view.shown_id)
    for text in ("main~1", ids[1].hex()[:12], "none", "0" * 64, "main@2026-01-01T00:00:00Z"):
        assert await look_up(repository, "d", text) is None
    assert await look_up(repository, "none", "main") is None


async def test_every_read_sees_the_newest_commit(repository: Repository) -> None:
    database = repository.archive.database
    for _ in range(3):
        head = await database.write(commit_nothing)
        for _ in range(2):  # the second time it is known
            assert (await pin_view(repository, "d", "main")).commit_id == head.hex()


async def test_a_dataset_deleted_and_made_again_is_another(repository: Repository) -> None:
    database = repository.archive.database
    old = await pin_view(repository, "d", "main")
    await database.write(lambda c: delete_dataset(c, "d"))
    for text in ("main", old.commit_id):
        with pytest.raises(RevisionNotFound):
            await pin_view(repository, "d", text)
    await database.write(lambda c: create_dataset(c, "d"))
    assert (await pin_view(repository, "d", "main")).dataset.id != old.dataset.id


async def test_a_dataset_deleted_between_look_and_read(repository: Repository) -> None:
    known = await pin_view(repository, "d", "main")
    calls = []

    def work(connection: sa.Connection, view: object) -> int:
        calls.append(view)
        if len(calls) == 1:  # as if the look had been before, and the read after
            raise RevisionNotFound("It was deleted meanwhile.")
        return find_dataset(connection, "d").id

    view, dataset_id = await read_view(repository, "d", "main", work)
    assert (view.dataset.id, dataset_id, len(calls)) == (known.dataset.id, known.dataset.id, 2)

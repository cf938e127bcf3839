"""A known view serves only as long as nobody, in whatever process, has committed anything."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from lamella.archive.database import open_database
from lamella.archive.installation import open_archive
from lamella.errors import RevisionNotFound
from lamella.settings import Settings
from lamella.vcs.commit_object import Commit, format_time
from lamella.vcs.datasets import create_dataset, delete_dataset
from lamella.vcs.history import load_commit, save_commit
from lamella.vcs.refs import find_dataset, move_branch, next_log_time, read_head
from lamella.vcs.repository import Repository
from lamella.vcs.view import View, pin_view, read_view


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[Repository]:
    archive = await open_archive(Settings(data_dir=tmp_path / "data"))
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


def commit_elsewhere(folder: Path) -> bytes:
    """Do the same in another process, which has ended when this returns."""
    code = (
        "import asyncio, sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from lamella.archive.database import open_database\n"
        "from test_known_views import commit_nothing\n"
        "async def main():\n"
        "    database = open_database(sys.argv[1])\n"
        "    print((await database.write(commit_nothing)).hex())\n"
        "    await database.close()\n"
        "asyncio.run(main())\n"
    )
    url = f"sqlite:///{folder / 'lamella.db'}"
    done = subprocess.run(
        [sys.executable, "-c", code, url, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    return bytes.fromhex(done.stdout.strip())


async def test_the_version_stands_still_until_somebody_commits(
    repository: Repository, tmp_path: Path
) -> None:
    database = repository.archive.database
    first = database.read_version()
    assert first is not None
    await database.read(lambda c: find_dataset(c, "d"))
    assert database.read_version() == first
    await database.write(commit_nothing)
    second = database.read_version()
    assert second != first
    await asyncio.to_thread(commit_elsewhere, tmp_path / "data")
    assert database.read_version() not in (first, second)


@pytest.mark.parametrize("revision", [None, "main", "main~1", "COMMIT", "COMMIT[:9]", "main@NOW"])
async def test_every_form_is_known_until_the_next_commit(
    repository: Repository, revision: str | None
) -> None:
    database = repository.archive.database
    head = await database.write(commit_nothing)
    if revision is not None and revision.startswith("COMMIT"):
        revision = head.hex()[: 9 if "9" in revision else 64]
    elif revision == "main@NOW":
        now_us = await database.read(lambda c: next_log_time(c, 1, "main"))
        revision = f"main@{format_time(now_us)}"
    view = await pin_view(repository, "d", revision)
    assert await pin_view(repository, "d", revision) is view
    await database.write(lambda c: create_dataset(c, "other"))
    again = await pin_view(repository, "d", revision)
    assert again is not view
    assert again == view


async def test_a_move_by_this_or_another_process_is_seen_at_once(
    repository: Repository, tmp_path: Path
) -> None:
    for round_ in range(6):
        before = await pin_view(repository, "d", "main")
        if round_ % 2:
            head = await asyncio.to_thread(commit_elsewhere, tmp_path / "data")
        else:
            head = await repository.archive.database.write(commit_nothing)
        assert (await pin_view(repository, "d", "main")).commit_id == head.hex()
        assert (await pin_view(repository, "d", None)).commit_id == head.hex()
        assert (await pin_view(repository, "d", "main~1")).commit_id == before.commit_id


async def test_a_deleted_dataset_is_known_no_more(repository: Repository) -> None:
    old = await pin_view(repository, "d", "main")
    await repository.archive.database.write(lambda c: delete_dataset(c, "d"))
    with pytest.raises(RevisionNotFound):
        await pin_view(repository, "d", old.commit_id)
    await repository.archive.database.write(lambda c: create_dataset(c, "d"))
    assert (await pin_view(repository, "d", "main")).dataset.id != old.dataset.id


async def test_a_read_begins_anew_when_its_dataset_is_replaced_under_it(
    repository: Repository, tmp_path: Path
) -> None:
    known = await pin_view(repository, "d", "main")
    seen: list[int] = []

    async def replace() -> None:
        other = open_database(f"sqlite:///{tmp_path / 'data' / 'lamella.db'}")
        await other.write(lambda c: delete_dataset(c, "d"))
        await other.write(lambda c: create_dataset(c, "d"))
        await other.close()

    def work(connection: sa.Connection, view: View) -> str:
        seen.append(view.dataset.id)
        if len(seen) == 1:
            asyncio.run(replace())
            raise KeyError("a row that is gone")
        return find_dataset(connection, "d").name

    view, name = await read_view(repository, "d", "main", work)
    assert name == "d"
    assert seen == [known.dataset.id, view.dataset.id]
    assert view.dataset.id != known.dataset.id


async def test_an_error_of_the_work_itself_is_told_once(repository: Repository) -> None:
    await pin_view(repository, "d", "main")
    calls: list[View] = []

    def work(_connection: sa.Connection, view: View) -> None:
        calls.append(view)
        raise RevisionNotFound("no such thing")

    with pytest.raises(RevisionNotFound, match="no such thing"):
        await read_view(repository, "d", "main", work)
    assert len(calls) == 1

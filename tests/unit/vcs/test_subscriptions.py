"""What a commit asks for is asked for with it, once, and only of those who subscribed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lamella.archive.outbox import Job, list_jobs
from lamella.errors import ResourceNotFound
from lamella.vcs.datasets import create_dataset, delete_dataset
from lamella.vcs.refs import find_dataset
from lamella.vcs.subscriptions import SECRET, list_subscriptions, subscribe, unsubscribe
from tests.integration.small_installation import Installation, make_file, open_installation


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Installation]:
    installation = await open_installation(tmp_path / "data")
    yield installation
    await installation.archive.close()


async def read_jobs(site: Installation) -> list[Job]:
    return await site.archive.database.read(list_jobs)


async def test_each_commit_asks_once(site: Installation) -> None:
    write = site.archive.database.write
    await site.store([make_file(1, 1, 1)])
    made = await write(lambda c: subscribe(c, "default", "copy", {"to": "x", SECRET: "s"}))
    await write(lambda c: subscribe(c, "default", "copy", {"to": "y"}, branch="other"))

    committed = await site.store([make_file(1, 1, 2)])
    await site.store([make_file(1, 1, 2)])  # nothing new

    (job,) = await read_jobs(site)
    assert (job.kind, job.key) == ("copy", f"{made.id}:main:{committed.commit_id.hex()}")
    assert job.arguments == {
        "to": "x",
        "subscription": made.id,
        "dataset": "default",
        "branch": "main",
        "commit": committed.commit_id.hex(),
        "parent": committed.start_id.hex(),
    }


async def test_who_unsubscribed_is_not_told(site: Installation) -> None:
    write, read = site.archive.database.write, site.archive.database.read
    made = await write(lambda c: subscribe(c, "default", "copy", {}))
    await write(lambda c: unsubscribe(c, made.dataset_id, made.id))
    await site.store([make_file(1, 1, 1)])
    assert await read_jobs(site) == []
    assert await read(lambda c: list_subscriptions(c, made.dataset_id)) == []
    assert (await read(lambda c: find_dataset(c, "default"))).n_subscriptions == 0
    with pytest.raises(ResourceNotFound):
        await write(lambda c: unsubscribe(c, made.dataset_id, made.id))


async def test_a_dataset_goes_with_its_subscriptions(site: Installation) -> None:
    write = site.archive.database.write
    await write(lambda c: create_dataset(c, "trial"))
    await write(lambda c: subscribe(c, "trial", "copy", {}))
    await write(lambda c: delete_dataset(c, "trial"))

"""Work is asked for in a transaction, had by one at a time, and never lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from lamella.archive import outbox
from lamella.archive.database import Database, open_database
from lamella.archive.migration import migrate_to_head
from lamella.archive.outbox import State
from lamella.archive.tables import outbox as table
from lamella.errors import Conflict, ResourceNotFound

KINDS = ("copy",)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'lamella.db'}")
    await migrate_to_head(opened)
    yield opened
    await opened.close()


async def ask(database: Database, **options: object) -> int:
    return await database.write(lambda c: outbox.enqueue(c, "copy", {"n": 1}, **options))  # type: ignore[arg-type]


async def claim(database: Database, owner: str) -> outbox.Job | None:
    return await database.write(lambda c: outbox.claim(c, KINDS, owner))


async def end_leases(database: Database) -> None:
    await database.write(lambda c: c.execute(sa.update(table).values(due_us=1)).rowcount)


async def test_work_is_had_by_one(database: Database) -> None:
    first, second = await ask(database), await ask(database)
    assert [job.id for job in [await claim(database, "a"), await claim(database, "b")] if job] == [
        first,
        second,
    ]
    assert await claim(database, "c") is None
    assert not await database.read(lambda c: outbox.has_due(c, KINDS))


async def test_what_is_undone_with_its_transaction_is_not_asked_for(database: Database) -> None:
    def work(connection: sa.Connection) -> None:
        outbox.enqueue(connection, "copy", {})
        raise ResourceNotFound("undone")

    with pytest.raises(ResourceNotFound):
        await database.write(work)
    assert await claim(database, "a") is None


async def test_one_key_is_one_job(database: Database) -> None:
    first = await ask(database, key="k")
    assert await ask(database, key="k") == first
    assert await ask(database) != await ask(database)


async def test_what_a_dead_runner_had_is_had_by_another_and_by_it_no_more(
    database: Database,
) -> None:
    job_id = await ask(database)
    await claim(database, "a")
    await end_leases(database)
    taken = await claim(database, "b")
    assert taken is not None
    assert (taken.id, taken.attempts, taken.owner) == (job_id, 2, "b")
    assert await database.write(lambda c: outbox.renew(c, job_id, "a", {})) is None
    assert not await database.write(lambda c: outbox.finish(c, job_id, "a", State.DONE))
    assert await database.write(lambda c: outbox.finish(c, job_id, "b", State.DONE, result=[1]))
    found = await database.read(lambda c: outbox.find_job(c, job_id))
    assert (found.state, found.result) == (State.DONE, [1])


async def test_work_of_another_kind_is_left(database: Database) -> None:
    await database.write(lambda c: outbox.enqueue(c, "other", {}))
    assert await claim(database, "a") is None


async def test_work_waits_until_it_is_due(database: Database) -> None:
    await ask(database, delay_s=3600)
    assert await claim(database, "a") is None
    await end_leases(database)
    assert await claim(database, "a") is not None


async def test_cancelling_what_waits_ends_it_and_retry_begins_it(database: Database) -> None:
    job_id = await ask(database)
    job = await database.write(lambda c: outbox.cancel(c, job_id))
    assert job.state is State.CANCELLED
    assert await claim(database, "a") is None
    with pytest.raises(Conflict):
        await database.write(lambda c: outbox.cancel(c, job_id))
    await database.write(lambda c: outbox.retry(c, job_id))
    assert await claim(database, "a") is not None
    with pytest.raises(Conflict):
        await database.write(lambda c: outbox.retry(c, job_id))


async def test_cancelling_what_runs_tells_its_runner(database: Database) -> None:
    job_id = await ask(database)
    await claim(database, "a")
    assert not await database.read(lambda c: outbox.is_stopped(c, job_id, "a"))
    job = await database.write(lambda c: outbox.cancel(c, job_id))
    assert job.state is State.RUNNING
    assert await database.read(lambda c: outbox.is_stopped(c, job_id, "a"))
    assert await database.write(lambda c: outbox.renew(c, job_id, "a", {"done": 3})) is True


async def test_a_broker_is_told_once_and_again_after_a_while(database: Database) -> None:
    job_id = await ask(database)

    async def list_unsent(again_after_us: int) -> list[int]:
        return await database.read(lambda c: outbox.list_unsent(c, again_after_us, 10))

    assert await list_unsent(10**9) == [job_id]
    await database.write(lambda c: outbox.note_sent(c, [job_id]))
    assert await list_unsent(10**9) == []
    assert await list_unsent(-1) == [job_id]
    await database.write(lambda c: outbox.note_sent(c, [job_id], is_sent=False))
    assert await list_unsent(10**9) == [job_id]


async def test_jobs_are_listed_newest_first(database: Database) -> None:
    made = [await ask(database) for _ in range(4)]
    await database.write(lambda c: outbox.cancel(c, made[1]))

    async def numbers(**wanted: object) -> list[int]:
        found = await database.read(lambda c: outbox.list_jobs(c, **wanted))  # type: ignore[arg-type]
        return [job.id for job in found]

    assert await numbers() == made[::-1]
    assert await numbers(limit=2, before=made[3]) == [made[2], made[1]]
    assert await numbers(state=State.CANCELLED) == [made[1]]
    assert await numbers(kind="other") == []
    counts = await database.read(outbox.count_jobs)
    assert counts == {State.WAITING: 3, State.RUNNING: 0, State.DEAD: 0}


async def test_what_ended_long_ago_is_forgotten(database: Database) -> None:
    job_id = await ask(database)
    await database.write(lambda c: outbox.cancel(c, job_id))
    assert await database.write(outbox.forget_ended) == 0
    assert await database.write(lambda c: outbox.forget_ended(c, kept_us=-1)) == 1
    with pytest.raises(ResourceNotFound):
        await database.read(lambda c: outbox.find_job(c, job_id))

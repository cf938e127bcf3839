"""Jobs run in their process: to their end, again after a failure, no more when cancelled."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import sqlalchemy as sa

from lamella.archive import outbox
from lamella.archive.installation import open_archive
from lamella.archive.outbox import Arguments, Job, State
from lamella.archive.tables import outbox as table
from lamella.errors import InvalidRequest, OutOfResources
from lamella.imaging.pool import DecoderPool
from lamella.jobs.local import LocalJobs
from lamella.jobs.runner import JobRunner
from lamella.settings import Settings
from lamella.vcs.repository import Repository
from lamella.vcs.work import JobContext, JobKind, Run, describe_job

PATIENCE_S = 30


class Desk:
    """Asks for jobs and looks at them."""

    def __init__(self, repository: Repository, settings: Settings) -> None:
        self.repository = repository
        self.settings = settings

    async def ask(self, **arguments: Any) -> int:
        write = self.repository.archive.database.write
        return await write(lambda c: outbox.enqueue(c, "work", arguments))

    async def find(self, job_id: int) -> Job:
        return await self.repository.archive.database.read(lambda c: outbox.find_job(c, job_id))

    async def wait(self, job_id: int, is_so: Callable[[Job], bool]) -> Job:
        """Return a job once something is so."""
        until = monotonic() + PATIENCE_S
        while not is_so(job := await self.find(job_id)):
            assert monotonic() < until, job
            await asyncio.sleep(0.02)
        return job

    async def hasten(self, job_id: int) -> None:
        """Let a job be due."""
        here = table.c.id == job_id
        update = sa.update(table).where(here).values(due_us=0)
        await self.repository.archive.database.write(lambda c: c.execute(update).rowcount)

    @asynccontextmanager
    async def running(self, run: Run, attempts: int = 3) -> AsyncIterator[None]:
        """Let jobs run for the time of a block."""
        kinds = {"work": JobKind("work", run, attempts)}
        jobs = LocalJobs(JobRunner(self.repository, self.settings, DecoderPool(), kinds))
        await jobs.start()
        try:
            yield
        finally:
            await jobs.stop()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    settings = Settings(data_dir=tmp_path / "data")
    archive = await open_archive(settings, is_server=True)
    yield Desk(Repository(archive), settings)
    await archive.close()


def has_ended(job: Job) -> bool:
    return job.ended_us is not None


async def test_a_job_runs_and_leaves_its_result(desk: Desk) -> None:
    async def run(context: JobContext, arguments: Arguments) -> Any:
        context.report(2, 5, "half-way")
        return {"twice": arguments["n"] * 2}

    async with desk.running(run):
        job = await desk.wait(await desk.ask(n=21), has_ended)
    assert (job.state, job.result, job.attempts) == (State.DONE, {"twice": 42}, 1)
    assert (job.done, job.total, job.note) == (2, 5, "half-way")
    assert describe_job(job)["due"] is None


async def test_a_failure_is_tried_again_where_it_was(desk: Desk) -> None:
    seen = []

    async def run(context: JobContext, arguments: Arguments) -> Any:
        seen.append(context.job.position)
        await context.save({"page": len(seen)})
        if len(seen) < 3:
            raise OutOfResources("Not now.")
        return None

    async with desk.running(run):
        job_id = await desk.ask()
        for attempt in (1, 2):
            job = await desk.wait(
                job_id,
                lambda job, n=attempt: job.attempts == n and job.state is State.WAITING,  # type: ignore[misc]
            )
            assert job.error == "Not now."
            assert describe_job(job)["due"] > describe_job(job)["created"]
            await desk.hasten(job_id)
        job = await desk.wait(job_id, has_ended)
    assert (job.state, seen) == (State.DONE, [None, {"page": 1}, {"page": 2}])


async def test_a_failure_that_cannot_be_noted_is_not_lost_in_silence(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: unseen.append(about))
    database, failed = desk.repository.archive.database, asyncio.Event()

    async def refuse(work: object) -> None:
        failed.set()
        raise OutOfResources("The database is away.")

    async def run(context: JobContext, arguments: Arguments) -> Any:
        context.report(1)
        monkeypatch.setattr(database, "write", refuse)
        raise OutOfResources("Not now.")

    job_id = await desk.ask()
    async with desk.running(run):
        await asyncio.wait_for(failed.wait(), PATIENCE_S)
    monkeypatch.undo()
    gc.collect()
    assert unseen == []
    assert "a job waits: The database is away." in caplog.text
    assert (await desk.find(job_id)).state is State.RUNNING  # until its lease ends


async def test_what_cannot_succeed_is_dead_at_once(desk: Desk) -> None:
    async def run(context: JobContext, arguments: Arguments) -> Any:
        raise InvalidRequest("There is no such thing.")

    async with desk.running(run):
        job = await desk.wait(await desk.ask(), has_ended)
    assert (job.state, job.attempts, job.error) == (State.DEAD, 1, "There is no such thing.")


async def test_what_fails_too_often_is_dead_and_may_be_retried(desk: Desk) -> None:
    async def run(context: JobContext, arguments: Arguments) -> Any:
        raise ValueError("John^Doe")  # what an unknown error says may be anybody's

    async with desk.running(run, attempts=1):
        job = await desk.wait(await desk.ask(), has_ended)
    assert job.state is State.DEAD
    assert "ValueError" in job.error
    assert "John" not in job.error

    async def succeed(context: JobContext, arguments: Arguments) -> Any:
        return 1

    await desk.repository.archive.database.write(lambda c: outbox.retry(c, job.id))
    async with desk.running(succeed):
        job = await desk.wait(job.id, has_ended)
    assert job.state is State.DONE


async def test_a_job_is_cancelled_while_it_runs(desk: Desk) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def run(context: JobContext, arguments: Arguments) -> Any:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async with desk.running(run):
        job_id = await desk.ask()
        await began.wait()
        await desk.repository.archive.database.write(lambda c: outbox.cancel(c, job_id))
        job = await desk.wait(job_id, has_ended)
    assert job.state is State.CANCELLED
    assert ended.is_set()


async def test_a_stop_puts_work_back_and_the_next_start_goes_on(desk: Desk) -> None:
    began = asyncio.Event()

    async def hang(context: JobContext, arguments: Arguments) -> Any:
        began.set()
        await asyncio.sleep(3600)

    async def succeed(context: JobContext, arguments: Arguments) -> Any:
        return context.job.attempts

    job_id = await desk.ask()
    async with desk.running(hang):
        await began.wait()
    job = await desk.find(job_id)
    assert (job.state, job.attempts) == (State.WAITING, 0)
    async with desk.running(succeed):
        job = await desk.wait(job_id, has_ended)
    assert (job.state, job.result) == (State.DONE, 1)


async def test_what_a_killed_server_ran_runs_at_its_next_start(desk: Desk) -> None:
    async def succeed(context: JobContext, arguments: Arguments) -> Any:
        return context.job.attempts

    job_id = await desk.ask()
    owner = f"{desk.repository.archive.node_id}/jobs:dead"
    await desk.repository.archive.database.write(lambda c: outbox.claim(c, ["work"], owner))
    async with desk.running(succeed):
        job = await desk.wait(job_id, has_ended)
    assert (job.state, job.result) == (State.DONE, 2)


async def test_work_that_kills_its_process_each_time_is_given_up(desk: Desk) -> None:
    async def run(context: JobContext, arguments: Arguments) -> Any:
        raise AssertionError("it is not begun again")

    job_id = await desk.ask()
    for _ in range(3):
        await desk.repository.archive.database.write(lambda c: outbox.claim(c, ["work"], "dead"))
        await desk.hasten(job_id)
    async with desk.running(run):
        job = await desk.wait(job_id, has_ended)
    assert (job.state, job.error) == (State.DEAD, "Every attempt was cut off.")

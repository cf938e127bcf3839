"""Workers and Redis that are killed: every job that was asked for is done nonetheless."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from lamella.archive.database import Database, open_database
from lamella.archive.outbox import LEASE_US, Job, State, enqueue, list_jobs
from lamella.archive.tables import outbox
from tests.crash.load import make_environ
from tests.harness.redis_server import RedisServer, run_redis
from tests.harness.server import run_command, serve
from tests.harness.stack import choose_stack

SLOW_KIND = """
import asyncio, os, sys
from pathlib import Path
from lamella.cli.main import main
from lamella.jobs import background
from lamella.vcs.work import JobKind

async def run(context, arguments):
    with Path(arguments["log"]).open("a") as log:
        log.write(f"{context.job.id} {os.getpid()}\\n")
    for step in range(arguments["steps"]):
        context.report(step, arguments["steps"])
        await asyncio.sleep(0.05)
    return os.getpid()

kinds = {"slow": JobKind("slow", run)}
background.list_kinds = lambda: kinds
sys.exit(main(sys.argv[1:]))
"""
JOBS = 12
PATIENCE_S = 120


@pytest.fixture
def queue() -> Iterator[RedisServer]:
    with run_redis() as server:
        yield server


@contextmanager
def work(folder: Path, redis_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker that knows slow jobs for the time of a block."""
    settings = choose_stack(folder) | {"data_dir": str(folder), "redis_url": redis_url}
    settings = {name: value for name, value in settings.items() if value}
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_KIND, "worker"],
        env=make_environ(**settings),
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"lamella worker ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


class Outbox:
    """The outbox of a folder, from outside."""

    def __init__(self, folder: Path) -> None:
        self._url = choose_stack(folder).get("database_url", f"sqlite:///{folder / 'lamella.db'}")
        self.log = folder / "log"

    def ask(self, count: int, steps: int) -> list[int]:
        """Ask for slow jobs."""
        arguments = {"log": str(self.log), "steps": steps}

        async def run(database: Database) -> list[int]:
            return await database.write(
                lambda c: [enqueue(c, "slow", arguments) for _ in range(count)]
            )

        return asyncio.run(self._open(run))

    def list(self) -> Sequence[Job]:
        async def run(database: Database) -> Sequence[Job]:
            return await database.read(list_jobs)

        return asyncio.run(self._open(run))

    def end_leases(self) -> None:
        """Let time pass for what dead workers have."""

        async def run(database: Database) -> None:
            update = outbox.update().where(outbox.c.state == State.RUNNING.value)
            values = {"due_us": outbox.c.due_us - LEASE_US, "sent_us": 0}
            await database.write(lambda c: c.execute(update.values(values)).rowcount)

        asyncio.run(self._open(run))

    def wait(self, *states: State) -> Sequence[Job]:
        """Return the jobs once all stand in one of these states."""
        until = time.monotonic() + PATIENCE_S
        while True:
            found = self.list()
            if all(job.state in states for job in found):
                return found
            assert time.monotonic() < until, found
            time.sleep(0.1)

    def wait_until_running(self, count: int, attempts: int = 1) -> Sequence[Job]:
        """Return what runs once it is so much, in the attempt of this number."""
        until = time.monotonic() + PATIENCE_S
        while True:
            running = [job for job in self.list() if job.state is State.RUNNING]
            found = [job for job in running if job.attempts == attempts]
            if len(found) >= count:
                return found
            assert time.monotonic() < until, running
            time.sleep(0.05)

    async def _open(self, run):  # type: ignore[no-untyped-def]
        database = open_database(self._url)
        try:
            return await run(database)
        finally:
            await database.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    assert run_command(made, "migrate", **choose_stack(made)).returncode == 0
    return made


@pytest.mark.parametrize("by_redis", [False, True])
def test_the_jobs_of_a_killed_worker_are_taken_over(
    folder: Path, by_redis: bool, queue: RedisServer
) -> None:
    url, jobs = queue.url_of() if by_redis else "", Outbox(folder)
    with work(folder, url) as first:
        jobs.ask(2, steps=100_000)
        running = jobs.wait_until_running(2)
        first.kill()
        first.wait()
    with work(folder, url) as second:
        quick = jobs.ask(JOBS, steps=1)
        jobs.end_leases()
        taken = jobs.wait_until_running(2, attempts=2)
        assert {job.id for job in taken} == {job.id for job in running}
        for job in taken:
            done = run_command(folder, "jobs", "cancel", str(job.id), **choose_stack(folder))
            assert done.returncode == 0, done.stderr
        ended = {job.id: job for job in jobs.wait(State.DONE, State.CANCELLED)}
        assert {ended[job.id].state for job in taken} == {State.CANCELLED}
        assert {ended[job_id].result for job_id in quick} == {second.pid}


def test_two_workers_share_jobs_and_none_is_done_twice(folder: Path, queue: RedisServer) -> None:
    jobs = Outbox(folder)
    with work(folder, queue.url_of()) as first, work(folder, queue.url_of()) as second:
        jobs.ask(JOBS, steps=20)
        found = jobs.wait(State.DONE)
    assert {job.result for job in found} == {first.pid, second.pid}
    assert len(jobs.log.read_text().splitlines()) == JOBS


def test_jobs_go_on_after_redis_lost_everything(folder: Path, queue: RedisServer) -> None:
    jobs = Outbox(folder)
    with serve(folder, dimse="off", redis_url=queue.url_of()) as server:
        assert server.process.poll() is None
        jobs.ask(3, steps=1)  # no worker yet: the messages wait in Redis
        time.sleep(1.5)
        queue.kill()
        jobs.ask(3, steps=1)
        time.sleep(1.5)
        queue.start()
        with work(folder, queue.url_of()):
            jobs.ask(3, steps=40)
            jobs.wait_until_running(1)
            queue.kill()
            time.sleep(2)
            queue.start()
            found = jobs.wait(State.DONE)
    assert len(found) == 9

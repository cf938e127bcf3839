"""Group commit: writers that wait at the same time share one transaction, and its one sync.

A durable commit costs an fsync, whatever is in it. Work that arrives while another transaction
is under way is therefore done together: each piece in a savepoint of its own, so that one that
fails takes nothing else with it, and none is answered before the one commit is on disk.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import sqlalchemy as sa

from lamella.errors import OutOfResources

MOST_TOGETHER = 32
MOST_WAITING = 1000  # more than connections and associations of a process that store at once

AnyWork = Callable[[sa.Connection], Any]


@dataclass(slots=True)
class _Job:
    work: AnyWork
    future: Future[Any] = field(default_factory=Future)
    result: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class WriteQueue:
    """The writers of one process, in line for one thread.

    Args:
        engine: Whose transactions begin IMMEDIATE.
        transact: Runs one piece of work in a transaction of its own.
        follow: Called after each transaction, while no other is under way.
    """

    def __init__(
        self,
        engine: sa.Engine,
        transact: Callable[[sa.Engine, AnyWork], Any],
        follow: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._transact = transact
        self._follow = follow
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="lamella-db-write", daemon=True)
        self._thread.start()

    def submit(self, work: AnyWork) -> Future[Any]:
        """Put work in line; the future has its result once that is durable.

        Raises:
            OutOfResources: Too much is in line already.
        """
        if self._jobs.qsize() >= MOST_WAITING:
            raise OutOfResources("Too many writers wait for the database: try again later.")
        job = _Job(work)
        self._jobs.put(job)
        return job.future

    def close(self) -> None:
        """Do what is in line, and stop."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            jobs, is_open = self._take()
            ready = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if len(ready) > 1:
                self._run_together(ready)
            elif ready:
                self._run_alone(ready[0])
            if ready:
                self._follow()

    def _take(self) -> tuple[list[_Job], bool]:
        """Return the next jobs, and whether more may come."""
        job = self._jobs.get()
        jobs: list[_Job] = []
        while job is not None:
            jobs.append(job)
            if len(jobs) == MOST_TOGETHER:
                return jobs, True
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return jobs, True
        return jobs, False

    def _run_together(self, jobs: list[_Job]) -> None:
        try:
            with self._engine.begin() as connection:
                for job in jobs:
                    _run_in_savepoint(connection, job)
        except Exception:  # noqa: BLE001 - the transaction is undone, for whatever reason
            for job in jobs:
                self._run_alone(job)
            return
        for job in jobs:
            job.settle()

    def _run_alone(self, job: _Job) -> None:
        job.result, job.error = None, None
        try:
            job.result = self._transact(self._engine, job.work)
        except BaseException as error:  # noqa: BLE001 - it belongs to who waits for the future
            job.error = error
        job.settle()


def _run_in_savepoint(connection: sa.Connection, job: _Job) -> None:
    """Run one job; what it raises is its own affair, unless the database itself is in trouble.

    Raises:
        OperationalError: The disk is full, or the like; SQLite may have undone the transaction.
    """
    driver = _driver(connection)  # by SQLAlchemy's means a savepoint costs 50 µs more
    driver.execute("SAVEPOINT job")
    try:
        job.result = job.work(connection)
    except sa.exc.OperationalError:
        raise
    except BaseException as error:  # noqa: BLE001 - it belongs to who waits for the future
        job.error = error
        driver.execute("ROLLBACK TO job")
    driver.execute("RELEASE job")


def _driver(connection: sa.Connection) -> sqlite3.Connection:
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver

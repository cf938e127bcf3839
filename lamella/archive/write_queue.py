"""Group commit: writers that wait at the same time share one transaction, and its one sync.

A durable commit costs an fsync, whatever is in it. Work that arrives while another transaction
is under way is therefore done together: each piece in a savepoint of its own, so that one that
fails takes nothing else with it, and none is answered before the one commit is on disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import sqlalchemy as sa

from lamella.archive.batch_queue import BatchQueue, Job
from lamella.errors import OutOfResources

MOST_WAITING = 1000  # more than connections and associations of a process that store at once

AnyWork = Callable[[sa.Connection], Any]
_Jobs = Sequence[Job[AnyWork, Any]]


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
        self._queue: BatchQueue[AnyWork, Any] = BatchQueue(
            "lamella-db-write", self._run_together, lambda work: transact(engine, work), follow
        )

    def submit(self, work: AnyWork) -> Future[Any]:
        """Put work in line; the future has its result once that is durable.

        Raises:
            OutOfResources: Too much is in line already.
        """
        if self._queue.n_waiting >= MOST_WAITING:
            raise OutOfResources("Too many writers wait for the database: try again later.")
        return self._queue.submit(work)

    def close(self) -> None:
        """Do what is in line, and stop."""
        self._queue.close()

    def _run_together(self, jobs: _Jobs) -> None:
        with self._engine.begin() as connection:
            for job in jobs:
                _run_in_savepoint(connection, job)


def _run_in_savepoint(connection: sa.Connection, job: Job[AnyWork, Any]) -> None:
    """Run one job; what it raises is its own affair, unless the database itself is in trouble.

    Raises:
        OperationalError: The disk is full, or the like; SQLite may have undone the transaction.
    """
    driver = _driver(connection)  # by SQLAlchemy's means a savepoint costs 50 µs more
    driver.execute("SAVEPOINT job")
    try:
        job.result = job.item(connection)
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

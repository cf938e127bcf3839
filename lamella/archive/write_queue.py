"""Group commit: writers that wait at the same time share one transaction, and its one sync.

A durable commit costs an fsync, whatever is in it. Work that arrives while another transaction
is under way is therefore done together: each piece in a savepoint of its own, so that one that
fails takes nothing else with it, and none is answered before the one commit is on disk.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lamella.archive.batch_queue import BatchQueue, Job
from lamella.errors import OutOfResources

BUSY_TIMEOUT_S = 120.0  # for another process that writes
LOOK_AGAIN_S = 0.0005
MOST_WAITING = 1000  # more than connections and associations of a process that store at once

LOGGER = logging.getLogger(__name__)

AnyWork = Callable[[sa.Connection], Any]


@dataclass(frozen=True, slots=True)
class Write:
    """One writer's part of a transaction.

    Attributes:
        work: What it does.
        seal: What it does last, after all work that shares the transaction.
    """

    work: AnyWork
    seal: AnyWork | None


class WriteQueue:
    """The writers of one process, in line for one thread.

    Args:
        engine: Whose connections begin no transaction by themselves.
        follow: Called after each transaction, while no other is under way.
    """

    def __init__(self, engine: sa.Engine, follow: Callable[[], None]) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None
        self._queue: BatchQueue[Write, Any] = BatchQueue(
            "lamella-db-write", self._run_together, self._run_alone, self._begin_early, self._end
        )
        self._follow = follow
        self._is_begun = False

    def submit(self, work: AnyWork, seal: AnyWork | None = None) -> Future[Any]:
        """Put work in line; the future has its result once that is durable.

        Raises:
            OutOfResources: Too much is in line already.
        """
        if self._queue.n_waiting >= MOST_WAITING:
            raise OutOfResources("Too many writers wait for the database: try again later.")
        return self._queue.submit(Write(work, seal))

    def close(self) -> None:
        """Do what is in line, and stop."""
        self._queue.close()
        if self._connection is not None:
            self._connection.close()

    def _run_together(self, jobs: Sequence[Job[Write, Any]]) -> None:
        with self._transact() as connection:
            for job in jobs:
                _run_in_savepoint(connection, job)
            for job in jobs:
                if job.error is None and job.item.seal is not None:
                    job.item.seal(connection)

    def _run_alone(self, write: Write) -> Any:
        with self._transact() as connection:
            result = write.work(connection)
            if write.seal is not None:
                write.seal(connection)
            return result

    def _begin_early(self) -> None:
        """Begin a transaction for all who come while another process is in one."""
        try:
            self._begin()
        except Exception as error:  # noqa: BLE001 - who waits is told when it is tried again
            LOGGER.debug("No transaction could begin: %s", type(error).__name__)

    def _end(self) -> None:
        """End a transaction of which nobody made use."""
        if self._is_begun and self._connection is not None:
            self._is_begun = False
            _driver(self._connection).rollback()
        self._follow()

    def _begin(self) -> sa.Connection:
        """Return the connection, in a transaction."""
        if self._connection is None:
            self._connection = self._engine.connect()
            _driver(self._connection).execute("PRAGMA busy_timeout = 0")  # see `_begin`
        if not self._is_begun:
            _begin(_driver(self._connection))
            self._is_begun = True
        return self._connection

    @contextmanager
    def _transact(self) -> Iterator[sa.Connection]:
        """Begin and end a transaction by the driver's means: SQLAlchemy's take 40 µs more."""
        connection = self._begin()
        self._is_begun, driver = False, _driver(connection)
        try:
            yield connection
            driver.execute("COMMIT")
            if connection.in_transaction():  # in its eyes; there was but the one begun above
                connection.commit()
        except BaseException:
            driver.rollback()
            connection.rollback()
            raise


def _begin(driver: sqlite3.Connection) -> None:
    """Begin a transaction once no other process is in one.

    SQLite's own way to wait sleeps for up to 100 ms between two looks; a transaction takes a few,
    so that of two busy processes both would sleep most of the time.

    Raises:
        OperationalError: Another one was busy for too long.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(LOOK_AGAIN_S)


def _run_in_savepoint(connection: sa.Connection, job: Job[Write, Any]) -> None:
    """Run one job; what it raises is its own affair, unless the database itself is in trouble.

    Raises:
        OperationalError: The disk is full, or the like; SQLite may have undone the transaction.
    """
    driver = _driver(connection)  # by SQLAlchemy's means a savepoint costs 50 µs more
    driver.execute("SAVEPOINT job")
    try:
        job.result = job.item.work(connection)
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

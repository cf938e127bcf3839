"""The database, SQLite or PostgreSQL, behind two verbs: `read` and `write`.

Work on the database is written as plain functions that take a `Connection`; `read` and `write`
run one such function in one transaction. On SQLite it runs in a worker thread with the
standard driver (one thread hop a transaction instead of one a statement: 0.1 ms a query
against 0.6 ms over aiosqlite); on PostgreSQL it runs over asyncpg (see `postgresql`).

SQLite: WAL and `synchronous=FULL`, so that a commit survives a power cut; writers begin
IMMEDIATE, and one thread writes for a process: its writers queue instead of polling, and share
transactions (see `write_queue`).
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from lamella.archive.checkpoint import LIMIT_FRAMES, Checkpointer
from lamella.archive.drivers import Row
from lamella.archive.statements import Names, Statement
from lamella.archive.threads import runs_here, wait_for
from lamella.archive.write_queue import BUSY_TIMEOUT_S, WriteQueue
from lamella.errors import InvalidRequest, OutOfResources

T = TypeVar("T")
Work = Callable[[sa.Connection], T]

metadata = sa.MetaData()

UNSTORABLE = "\ufffd"
"""Stands in text for U+0000, which PostgreSQL cannot hold (and which no value may have)."""

KEPT_CONNECTIONS = 8
"""To PostgreSQL, a process: these stay open, and as many more open while many are asked for."""

MOST_CONNECTIONS = 2 * KEPT_CONNECTIONS
READERS = 4
WRITER_CACHE_KIB = 16 << 10  # keys are digests: each instance lands on pages of its own
READER_CACHE_KIB = 2 << 10


class Database(ABC):
    """One database; open it with `open_database`, close it with `close`.

    Attributes:
        dialect: `sqlite` or `postgresql`.
        works_in_threads: Whether work runs in a thread, so that it may wait for another one.
        has_version: Whether there is a number by which to know that nothing was committed since;
            see `read_version`.
    """

    dialect: str
    works_in_threads: bool
    has_version: bool

    @abstractmethod
    async def read(self, work: Work[T]) -> T:
        """Run `work` in a transaction that sees one state of the database.

        Raises:
            OutOfResources: The database cannot be reached, is full, or stayed locked.
        """

    async def fetch(self, statement: Statement, names: Names) -> list[Row]:
        """Run one SELECT, which needs no transaction around it, and return its rows.

        Raises:
            OutOfResources: As `read`.
        """
        return await self.read(lambda connection: statement.fetch_all(connection, names))

    @abstractmethod
    def read_now(self, work: Work[T]) -> T:
        """Like `read`, in the calling thread, which is not the event loop's."""

    @abstractmethod
    async def write(self, work: Work[T], seal: Work[None] | None = None) -> T:
        """Run `work` in a transaction that is durable once this returns.

        Both may be run again after a lost race, so they must not have effects elsewhere.

        Args:
            work: What to do.
            seal: What to do last, after all other work that shares the transaction: what waits
                for something that goes on meanwhile.

        Raises:
            OutOfResources: The database cannot be reached, is full, or stayed locked.
        """

    async def rewrite(self, work: Work[T]) -> T:
        """Run `work`, which changes whole tables, as `write` does; nobody else writes meanwhile.

        Raises:
            OutOfResources: As `write`.
        """
        return await self.write(work)

    @abstractmethod
    def read_version(self) -> int | None:
        """Return a number that changes with every commit, whichever process made it.

        It takes microseconds and waits for nothing, so it may be called in the event loop, and
        is called there only. What was read after one call is what a read would find now, as
        long as a later call returns the same number.

        Returns:
            None if the database has no such number.
        """

    @abstractmethod
    async def close(self) -> None:
        """Wait for work under way and close all connections."""


class SqliteDatabase(Database):
    """A SQLite file that several processes may share.

    Attributes:
        path: Of the file.
    """

    dialect = "sqlite"
    works_in_threads = True
    has_version = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._path = sa.engine.make_url(url).database or ""
        self.path = Path(self._path)
        self._write_engine = _sqlite_engine(url, WRITER_CACHE_KIB)
        self._read_engine = _sqlite_engine(url, READER_CACHE_KIB)
        self._checkpointer = Checkpointer(self._path)
        self._writer = WriteQueue(self._write_engine, self._checkpointer.follow)
        self._readers = ThreadPoolExecutor(READERS, "lamella-db-read")
        self._of_thread = threading.local()
        self._shared: sa.Connection | None = None
        self._shared_lock = threading.Lock()
        self._sentry: sqlite3.Connection | None = None

    async def read(self, work: Work[T]) -> T:
        if runs_here():
            return self.read_now(work)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._read, work)

    def read_now(self, work: Work[T]) -> T:
        with self._shared_lock:
            if self._shared is None:
                self._shared = self._read_engine.connect()
            return _read_on(self._shared, work)

    async def write(self, work: Work[T], seal: Work[None] | None = None) -> T:
        return await _finish(self._writer.submit(work, seal))

    async def rewrite(self, work: Work[T]) -> T:
        """Run `work` on a connection of its own, as `write` does otherwise.

        What a statement would need to be undone is every page that it touches: of a table that
        is dropped, all of it. Here that goes to a file in the system's folder for such files,
        not to memory; SQLite decides where when a transaction begins.
        """
        engine = _sqlite_engine(self._url, WRITER_CACHE_KIB, temp_store="FILE")
        writer = WriteQueue(engine, self._checkpointer.follow)
        try:
            return await _finish(writer.submit(work))
        finally:
            await asyncio.to_thread(writer.close)
            engine.dispose()

    def read_version(self) -> int | None:
        try:
            if self._sentry is None:  # it writes nothing: its own commits would not count
                self._sentry = sqlite3.connect(self._path, timeout=0, isolation_level=None)
            found = self._sentry.execute("PRAGMA data_version").fetchone()
        except sqlite3.OperationalError:
            return None  # locked or in trouble: the read that follows waits, or says what it is
        return int(found[0])

    async def close(self) -> None:
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self._checkpointer.close)
        self._readers.shutdown(wait=True)
        if self._sentry is not None:
            self._sentry.close()
        self._write_engine.dispose()
        self._read_engine.dispose()

    def _read(self, work: Work[T]) -> T:
        """Run work on the connection that this thread keeps."""
        connection: sa.Connection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = self._of_thread.connection = self._read_engine.connect()
        return _read_on(connection, work)


def open_database(url: str) -> Database:
    """Open `sqlite:///path` or `postgresql://…`; no table is made here.

    Raises:
        InvalidRequest: The URL names another kind of database, or a driver is missing.
    """
    if url.startswith("sqlite:///"):
        return SqliteDatabase(url)
    scheme, _, rest = url.partition("://")
    if scheme in ("postgresql", "postgres") and rest:
        try:
            from lamella.archive.postgresql import PostgresDatabase
        except ModuleNotFoundError as error:
            raise InvalidRequest(
                "PostgreSQL needs an extra: install lamella[postgresql]."
            ) from error
        return PostgresDatabase(f"postgresql+asyncpg://{rest}")
    raise InvalidRequest(f"A database URL starts with sqlite:/// or postgresql://, not {scheme}.")


def read_clock_us(connection: sa.Connection) -> int:
    """Return the database's clock in microseconds since 1970, UTC (one clock for all nodes)."""
    if connection.dialect.name == "postgresql":
        now = sa.text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)")
        return int(connection.execute(now).scalar_one())
    return time.time_ns() // 1000  # SQLite runs on this very clock, to the millisecond only


def _read_on(connection: sa.Connection, work: Work[T]) -> T:
    """Run work in a transaction on a connection that is used again.

    SQLAlchemy's own way to and from a transaction takes 80 µs, the driver's 5.
    """
    driver: Any = connection.connection.dbapi_connection
    try:
        driver.execute("BEGIN")
        try:
            return work(connection)
        finally:
            if connection.in_transaction():  # in its eyes; there is but the one begun above
                connection.rollback()
            else:
                driver.rollback()
    except (sa.exc.OperationalError, sqlite3.OperationalError) as error:
        raise _translate(error) from error


async def _finish(future: Future[T]) -> T:
    try:
        return await wait_for(future)
    except (sa.exc.OperationalError, sqlite3.OperationalError) as error:
        raise _translate(error) from error


def _translate(error: sa.exc.OperationalError | sqlite3.OperationalError) -> Exception:
    """Tell want of resources, which passes, from a wrong statement, which does not."""
    cause = error.orig if isinstance(error, sa.exc.OperationalError) else error
    primary = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    reason = {
        sqlite3.SQLITE_FULL: "The database is full: no room on its disk.",
        sqlite3.SQLITE_IOERR: "The database's disk reports an error.",
        sqlite3.SQLITE_BUSY: "The database stayed locked by another writer.",
        sqlite3.SQLITE_CANTOPEN: "The database file cannot be opened.",
        sqlite3.SQLITE_READONLY: "The database file is read-only.",
    }.get(primary)
    return error if reason is None else OutOfResources(reason)


def _sqlite_engine(url: str, cache_kib: int, temp_store: str = "MEMORY") -> sa.Engine:
    engine = sa.create_engine(
        url,
        connect_args={
            "check_same_thread": False,
            "timeout": BUSY_TIMEOUT_S,
            "cached_statements": 512,
        },
        hide_parameters=True,  # errors are logged; what was bound may be a patient
        poolclass=sa.pool.QueuePool,
        pool_size=READERS,
    )

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun as we say
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"cache_size=-{cache_kib}",
            f"wal_autocheckpoint={LIMIT_FRAMES}",
            f"temp_store={temp_store}",
            "case_sensitive_like=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine

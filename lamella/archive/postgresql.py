"""PostgreSQL behind `Database`: transactions over asyncpg, on connections that stay open.

Work gets a SQLAlchemy connection, whose dialect believes that every statement is a transaction
of its own; where transactions begin and end is told to the driver itself. SQLAlchemy's own way
asks the server three times whether a pooled connection still lives, and takes 0.6 ms of processor
time a transaction. Here BEGIN finds out: it may be said again on another connection.

PostgreSQL has nothing as cheap as SQLite's `data_version` (3.5 µs), by which a process knows that
nobody has committed since it last looked; a query for such a number would cost as much as the
queries that it would save.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from lamella.archive.database import KEPT_CONNECTIONS, MOST_CONNECTIONS, Database, Work
from lamella.archive.drivers import Row
from lamella.archive.postgresql_driver import DRIVER_ERRORS, raise_error, replace_unstorable
from lamella.archive.statements import Names, Statement
from lamella.errors import OutOfResources

T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 10.0
WAIT_FOR_CONNECTION_S: Final = 30.0
KEPT_STATEMENTS: Final = 400  # prepared, a connection

_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE: Final = "BEGIN"
_ATTEMPTS: Final = 5
_OUT_OF_REACH: Final = frozenset({"08", "57"})
_CANCELLED: Final = frozenset({"57014", "55P03", "25P03"})


class PostgresDatabase(Database):
    """A PostgreSQL server, over asyncpg."""

    dialect = "postgresql"
    works_in_threads = False
    has_version = False

    def __init__(self, url: str) -> None:
        self._engine = _make_engine(url)
        self._links = _Links(self._engine)
        self._endings: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def read(self, work: Work[T]) -> T:
        with _telling_want():
            link, result = await self._begin_and_work(_READ, work)
        self._end_later(link)
        return result

    async def fetch(self, statement: Statement, names: Names) -> list[Row]:
        text, values = statement.prepare(self.dialect, names)
        with _telling_want():
            link, rows = await self._links.open(lambda link: link.fetch(text, values))
            await self._links.give_back(link)
        return rows

    def read_now(self, work: Work[T]) -> T:
        assert self._loop is not None, "its schema was looked at, in the loop"
        return asyncio.run_coroutine_threadsafe(self.read(work), self._loop).result()

    async def write(self, work: Work[T], seal: Work[None] | None = None) -> T:
        def work_and_seal(connection: sa.Connection) -> T:
            result = work(connection)
            if seal is not None:
                seal(connection)
            return result

        for attempt in range(_ATTEMPTS):
            try:
                with _telling_want():
                    return await self._work_and_commit(work_and_seal)
            except sa.exc.DBAPIError as error:
                if not _lost_race(error) or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def read_version(self) -> int | None:
        return None

    async def close(self) -> None:
        await asyncio.gather(*self._endings)
        await self._links.close()
        await self._engine.dispose()

    async def _work_and_commit(self, work: Work[T]) -> T:
        link, result = await self._begin_and_work(_WRITE, work)
        async with self._keeping(link):
            await link.say("COMMIT")
        await self._links.give_back(link)
        return result

    async def _begin_and_work(self, begin: str, work: Work[T]) -> tuple[_Link, T]:
        self._loop = asyncio.get_running_loop()
        link, _ = await self._links.open(lambda link: link.say(begin))
        async with self._keeping(link):
            return link, await link.connection.run_sync(_work_on, work)

    @contextlib.asynccontextmanager
    async def _keeping(self, link: _Link) -> AsyncIterator[None]:
        """Undo a transaction that something goes wrong in; what is raised goes on."""
        try:
            yield
        except Exception:
            await self._links.undo(link)
            raise
        except BaseException:  # who waited was cancelled: nobody knows what the server still does
            await self._links.drop(link)
            raise

    def _end_later(self, link: _Link) -> None:
        """End a transaction that changed nothing; who has read need not wait for that."""
        task = asyncio.create_task(self._links.undo(link))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)


@dataclass(frozen=True, slots=True)
class _Link:
    """An open connection: SQLAlchemy's, and the driver's below it."""

    connection: AsyncConnection
    driver: asyncpg.Connection

    async def say(self, text: str) -> None:
        """Run a statement that has neither values nor rows."""
        try:
            await self.driver.execute(text)
        except DRIVER_ERRORS as error:
            raise_error(text, error)

    async def fetch(self, text: str, values: Sequence[Any]) -> list[Row]:
        """Run a SELECT outside of any transaction."""
        try:
            found = await self.driver.fetch(text, *replace_unstorable(values))
        except DRIVER_ERRORS as error:
            raise_error(text, error)
        return [tuple(record) for record in found]

    async def try_first(self, use: Callable[[_Link], Awaitable[T]]) -> T:
        """Use it; where that fails the connection is of no use any more."""
        try:
            return await use(self)
        except BaseException:
            await self.cut()
            raise

    async def cut(self) -> None:
        """Close it, in whatever state it is, without a word to the server."""
        self.driver.terminate()
        await self.connection.close()


class _Links:
    """Connections; the one that was used last is used next."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._idle: list[_Link] = []
        self._room = asyncio.Semaphore(MOST_CONNECTIONS)

    async def open(self, use: Callable[[_Link], Awaitable[T]]) -> tuple[_Link, T]:
        """Return a connection, and what its first use gave.

        Args:
            use: Finds out whether the connection lives; tried on others if it does not.

        Raises:
            OSError, DBAPIError: There is none to be had.
            OutOfResources: All are in use, and stayed so.
        """
        await self._wait_for_room()
        try:
            while self._idle:
                link = self._idle.pop()
                with contextlib.suppress(OSError, sa.exc.DBAPIError):  # it died while idle
                    return link, await link.try_first(use)
            link = await self._connect()
            return link, await link.try_first(use)
        except BaseException:
            self._room.release()
            raise

    async def undo(self, link: _Link) -> None:
        """End a transaction without effect; keep its connection if it still works."""
        try:
            await link.say("ROLLBACK")
        except (OSError, sa.exc.DBAPIError):
            await self.drop(link)
        else:
            await self.give_back(link)

    async def give_back(self, link: _Link) -> None:
        """Take back a connection whose transaction has ended."""
        if len(self._idle) >= KEPT_CONNECTIONS and not self._room.locked():
            await self.drop(link)
            return
        self._idle.append(link)
        self._room.release()

    async def drop(self, link: _Link) -> None:
        """Do without a connection."""
        try:
            await link.cut()
        finally:
            self._room.release()

    async def close(self) -> None:
        """Close those that nobody uses."""
        while self._idle:
            await self._idle.pop().connection.close()

    async def _wait_for_room(self) -> None:
        if not self._room.locked():
            await self._room.acquire()
            return
        try:
            async with asyncio.timeout(WAIT_FOR_CONNECTION_S):
                await self._room.acquire()
        except TimeoutError as error:
            raise OutOfResources("All connections to the database are in use.") from error

    async def _connect(self) -> _Link:
        connection = await self._engine.connect()
        driver = (await connection.get_raw_connection()).driver_connection
        assert isinstance(driver, asyncpg.Connection)
        return _Link(connection, driver)


def _make_engine(url: str) -> AsyncEngine:
    engine = create_async_engine(
        url,
        poolclass=sa.pool.NullPool,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            "statement_cache_size": KEPT_STATEMENTS,
            "max_cached_statement_lifetime": 0,
            # compiling a plan takes longer than any query of ours that an estimate calls long
            "server_settings": {"application_name": "lamella", "jit": "off"},
        },
    )
    sa.event.listen(engine.sync_engine, "before_cursor_execute", _bind_storable, retval=True)
    return engine


def _work_on(connection: sa.Connection, work: Work[T]) -> T:
    try:
        return work(connection)
    finally:
        if connection.in_transaction():  # in its eyes; there is but the one begun before
            connection.rollback()


@contextlib.contextmanager
def _telling_want() -> Iterator[None]:
    """Raise what passes again as `OutOfResources`."""
    try:
        yield
    except OSError as error:
        raise OutOfResources("The database cannot be reached.") from error
    except sa.exc.DBAPIError as error:
        reason = _explain_want(error)
        if reason is None:
            raise
        raise OutOfResources(reason) from error


def _explain_want(error: sa.exc.DBAPIError) -> str | None:
    """Return what PostgreSQL wants for, if that passes; None for what is wrong with a statement.

    Source:
        PostgreSQL manual, appendix A: classes 08 (connection), 53 (resources) and 57 (an
        operator's doing: shutdown, restart, a statement that was cancelled or took too long).
    """
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if state in _CANCELLED:
        return "The database broke off a statement that took too long."
    if state.startswith("53"):
        return "The database has no room or no connection left."
    lost = (sa.exc.OperationalError, sa.exc.InterfaceError)
    if error.connection_invalidated or isinstance(error, lost) or state[:2] in _OUT_OF_REACH:
        return "The database cannot be reached."
    return None


def _lost_race(error: sa.exc.DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in ("40001", "40P01")


def _bind_storable(
    _connection: sa.Connection,
    _cursor: object,
    statement: str,
    parameters: Any,
    _context: object,
    executemany: bool,
) -> tuple[str, Any]:
    """Take U+0000 out of what SQLAlchemy binds."""
    if executemany:
        return statement, [replace_unstorable(row) for row in parameters]
    return statement, replace_unstorable(parameters)

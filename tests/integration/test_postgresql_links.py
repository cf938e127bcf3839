"""Connections to PostgreSQL: cut, given up and asked for by many, and what work notices of it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Iterator

import pytest
import sqlalchemy as sa

from lamella.archive.database import MOST_CONNECTIONS, Database, open_database
from lamella.archive.statements import Statement, fetch_text
from lamella.errors import OutOfResources
from tests.harness.postgresql import PostgreSQLServer, run_postgresql_server

CUT = "SELECT pg_terminate_backend(?)"
WHO = "SELECT pg_backend_pid() WHERE 1 = ?"
ONE = Statement(sa.select(sa.literal_column("1", sa.Integer)))
THING = sa.Table("thing", sa.MetaData(), sa.Column("name", sa.Text, primary_key=True))


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQLServer]:
    with run_postgresql_server() as running:
        yield running


@pytest.fixture
async def database(server: PostgreSQLServer) -> AsyncIterator[Database]:
    opened = open_database(server.url)
    yield opened
    await opened.close()


def read_backend(connection: sa.Connection) -> int:
    return int(fetch_text(connection, WHO, (1,))[0][0])


async def cut(server: PostgreSQLServer, *backends: int) -> None:
    """End connections as an administrator does."""
    other = open_database(server.url)
    for backend in backends:
        await other.write(lambda c, b=backend: fetch_text(c, CUT, (b,)))  # type: ignore[misc]
    await other.close()


async def test_what_died_while_idle_is_replaced(
    database: Database, server: PostgreSQLServer
) -> None:
    used = {await database.read(read_backend) for _ in range(10)}
    assert len(used) < 10  # they are kept
    await cut(server, *used)
    later = {await database.read(read_backend) for _ in range(10)}
    assert not later & used
    await cut(server, *later)
    assert await database.fetch(ONE, {}) == [(1,)]


async def test_a_transaction_whose_connection_is_cut_is_refused_and_undone(
    database: Database, server: PostgreSQLServer
) -> None:
    await database.write(lambda c: THING.create(c))

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.insert(THING), [{"name": "lost"}])
        sa.util.await_only(cut(server, read_backend(connection)))
        read_backend(connection)

    with pytest.raises(OutOfResources):
        await database.write(work)
    assert await database.read(lambda c: list(c.execute(sa.select(THING)))) == []
    await database.write(lambda c: THING.drop(c))


async def test_what_is_given_up_leaves_nothing_behind(database: Database) -> None:
    await database.write(lambda c: THING.create(c))
    running = asyncio.Event()

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.insert(THING), [{"name": "given up"}])
        running.set()
        sa.util.await_only(asyncio.sleep(60))

    for _ in range(MOST_CONNECTIONS + 1):  # each gives its place back
        running.clear()
        task = asyncio.create_task(database.write(work))
        await running.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await database.read(lambda c: list(c.execute(sa.select(THING)))) == []
    await database.write(lambda c: THING.drop(c))


async def test_many_share_few_connections(database: Database) -> None:
    used: set[int] = set()
    most = 0

    def work(connection: sa.Connection) -> None:
        nonlocal most
        backend = read_backend(connection)
        assert backend not in used
        used.add(backend)
        most = max(most, len(used))
        sa.util.await_only(asyncio.sleep(0.01))
        used.remove(backend)

    await asyncio.gather(*(database.read(work) for _ in range(4 * MOST_CONNECTIONS)))
    assert 1 < most <= MOST_CONNECTIONS


async def test_details_of_an_error_stay_with_the_server(database: Database) -> None:
    await database.write(lambda c: THING.create(c))
    patient = "^".join(["Doe", "Jane"])  # so that no line of this file has it
    insert = "INSERT INTO thing (name) VALUES (?) RETURNING name"
    await database.write(lambda c: fetch_text(c, insert, (patient,)))
    with pytest.raises(sa.exc.IntegrityError) as caught:
        await database.write(lambda c: fetch_text(c, insert, (patient,)))
    shown = "".join(traceback.format_exception(caught.value))
    assert "unique constraint" in shown
    assert patient not in shown
    await database.write(lambda c: THING.drop(c))


async def test_a_character_that_cannot_be_stored(database: Database) -> None:
    found = await database.read(lambda c: fetch_text(c, "SELECT CAST(? AS TEXT)", ("a\0b",)))
    assert found == [("a\ufffdb",)]

"""Group commit: work shares transactions, and failures stay with whoever caused them."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from lamella.archive import write_queue
from lamella.archive.database import Database, open_database
from lamella.errors import InvalidRequest, OutOfResources

TABLE = sa.Table("mark", sa.MetaData(), sa.Column("number", sa.Integer, primary_key=True))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'test.db'}")
    await opened.write(lambda c: TABLE.create(c))
    yield opened
    await opened.close()


def insert(number: int) -> object:
    def work(connection: sa.Connection) -> int:
        connection.execute(sa.insert(TABLE), {"number": number})
        return number

    return work


async def read_numbers(database: Database) -> set[int]:
    return await database.read(lambda c: set(c.execute(sa.select(TABLE.c.number)).scalars()))


async def hold_and_queue(database: Database, *works: object) -> list[object]:
    """Run works that all wait behind another one, so that they come to share a transaction."""
    started, gate = threading.Event(), threading.Event()

    def hold(_connection: sa.Connection) -> None:
        started.set()
        gate.wait(10)

    holder = asyncio.ensure_future(database.write(hold))
    await asyncio.to_thread(started.wait, 10)
    tasks = [asyncio.ensure_future(database.write(work)) for work in works]  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    gate.set()
    await holder
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_waiting_work_is_done_in_few_transactions(database: Database) -> None:
    said: list[str] = []

    def trace(connection: sa.Connection) -> None:
        connection.connection.dbapi_connection.set_trace_callback(said.append)  # type: ignore[union-attr]

    await database.write(trace)
    said.clear()
    results = await hold_and_queue(database, *(insert(number) for number in range(20)))
    assert results == list(range(20))
    assert await read_numbers(database) == set(range(20))
    assert said.count("BEGIN IMMEDIATE") == 2, "the holder's, and one for all who waited"


async def test_work_that_comes_while_another_process_writes_shares_a_transaction(
    tmp_path: Path, database: Database
) -> None:
    said: list[str] = []

    def trace(connection: sa.Connection) -> None:
        connection.connection.dbapi_connection.set_trace_callback(said.append)  # type: ignore[union-attr]

    await database.write(trace)
    said.clear()
    with closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        tasks = []
        for number in range(5):
            tasks.append(asyncio.ensure_future(database.write(insert(number))))  # type: ignore[arg-type]
            await asyncio.sleep(0.01)
        other.execute("COMMIT")
        await asyncio.gather(*tasks)
    assert await read_numbers(database) == set(range(5))
    assert said.count("COMMIT") == 1


async def test_writers_who_went_away_leave_no_transaction_behind(
    tmp_path: Path, database: Database
) -> None:
    with closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        task = asyncio.ensure_future(database.write(insert(1)))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        other.execute("COMMIT")
        await database.write(insert(2))  # type: ignore[arg-type]
        other.execute("PRAGMA busy_timeout = 10000")
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    assert await read_numbers(database) == {2}


async def test_one_failure_takes_nothing_else_with_it(database: Database) -> None:
    def fail_after_writing(connection: sa.Connection) -> None:
        connection.execute(sa.insert(TABLE), {"number": 99})
        raise InvalidRequest("no")

    results = await hold_and_queue(database, insert(1), fail_after_writing, insert(2), insert(1))
    assert results[0] == 1
    assert isinstance(results[1], InvalidRequest)
    assert results[2] == 2
    assert isinstance(results[3], sa.exc.IntegrityError)
    assert await read_numbers(database) == {1, 2}


async def test_a_full_database_refuses_only_what_does_not_fit(database: Database) -> None:
    big = sa.text("CREATE TABLE big AS SELECT randomblob(1000000) AS data")

    def limit(connection: sa.Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 10}")

    await database.write(limit)
    results = await hold_and_queue(database, insert(1), lambda c: c.execute(big), insert(2))
    assert results[0] == 1
    assert isinstance(results[1], OutOfResources)
    assert results[2] == 2
    assert await read_numbers(database) == {1, 2}


async def test_work_in_line_is_done_before_a_close(tmp_path: Path) -> None:
    opened = open_database(f"sqlite:///{tmp_path / 'test.db'}")
    await opened.write(lambda c: TABLE.create(c))
    tasks = [asyncio.ensure_future(opened.write(insert(number))) for number in range(50)]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await opened.close()
    assert await asyncio.gather(*tasks) == list(range(50))


async def test_more_than_may_wait_is_refused_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_queue, "MOST_WAITING", 3)
    results = await hold_and_queue(database, *(insert(number) for number in range(5)))
    assert results[:3] == [0, 1, 2]
    assert [type(result) for result in results[3:]] == [OutOfResources] * 2
    assert await read_numbers(database) == {0, 1, 2}


async def test_what_seals_comes_after_all_work_that_shares_the_transaction(
    database: Database,
) -> None:
    order: list[str] = []

    def write(number: int) -> asyncio.Task[object]:
        def work(connection: sa.Connection) -> int:
            order.append(f"work {number}")
            connection.execute(sa.insert(TABLE), {"number": number})
            return number

        def seal(connection: sa.Connection) -> None:
            order.append(f"seal {number}")
            connection.execute(sa.insert(TABLE), {"number": 10 + number})

        return asyncio.ensure_future(database.write(work, seal))

    gate = threading.Event()
    holder = asyncio.ensure_future(database.write(lambda _c: gate.wait(10)))
    await asyncio.sleep(0)
    tasks = [write(number) for number in (1, 3)]
    await asyncio.sleep(0.05)
    gate.set()
    await holder
    assert await asyncio.gather(*tasks) == [1, 3]
    assert order == ["work 1", "work 3", "seal 1", "seal 3"]
    assert await read_numbers(database) == {1, 3, 11, 13}


async def test_a_seal_that_fails_undoes_its_own_work_and_no_other(database: Database) -> None:
    def fail(_connection: sa.Connection) -> None:
        raise OutOfResources("The bytes did not get there.")

    gate = threading.Event()
    holder = asyncio.ensure_future(database.write(lambda _c: gate.wait(10)))
    await asyncio.sleep(0)
    writes = [
        asyncio.ensure_future(database.write(insert(1))),  # type: ignore[arg-type]
        asyncio.ensure_future(database.write(insert(2), fail)),  # type: ignore[arg-type]
        asyncio.ensure_future(database.write(insert(3))),  # type: ignore[arg-type]
    ]
    await asyncio.sleep(0.05)
    gate.set()
    await holder
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert (results[0], results[2]) == (1, 3)
    assert isinstance(results[1], OutOfResources)
    assert await read_numbers(database) == {1, 3}

"""Prepared statements on both databases: the same answers as SQLAlchemy gives, and its errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from lamella.archive.database import Database, open_database
from lamella.archive.statements import MissingInsert, Statement, fetch_text, insert_into
from tests.harness.postgresql import run_postgresql

TABLE = sa.Table(
    "thing",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("size", sa.BigInteger, nullable=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
INSERT = insert_into(TABLE)
INSERT_MISSING = MissingInsert(TABLE)
FIND = Statement(sa.select(TABLE.c.id, TABLE.c.data).where(TABLE.c.name == sa.bindparam("name")))
LIST = Statement(
    sa.select(TABLE.c.name)
    .where(
        TABLE.c.size > sa.bindparam("above"),
        TABLE.c.name.in_(sa.bindparam("names", expanding=True)),
    )
    .order_by(TABLE.c.id)
)
LIST_LARGEST = Statement(
    sa.select(TABLE.c.name).where(TABLE.c.size != 7).order_by(TABLE.c.size.desc()).limit(2)
)
RESIZE = Statement(
    sa.update(TABLE)
    .where(TABLE.c.name == sa.bindparam("of_name"))
    .values(size=sa.bindparam("new_size"))
)
TOUCH = Statement(
    sa.update(TABLE)
    .where(TABLE.c.name.in_(sa.bindparam("names", expanding=True)))
    .values(size=sa.bindparam("new_size"))
    .returning(TABLE.c.name)
)


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    with run_postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    is_sqlite = request.param == "sqlite"
    url = (
        f"sqlite:///{tmp_path / 'test.db'}" if is_sqlite else request.getfixturevalue("server_url")
    )
    opened = open_database(url)
    await opened.write(lambda c: TABLE.create(c))
    yield opened
    await opened.write(lambda c: TABLE.drop(c))
    await opened.close()


def make_rows(names: Sequence[str]) -> list[dict[str, object]]:
    return [
        {"name": name, "size": number, "data": name.encode()} for number, name in enumerate(names)
    ]


async def test_what_is_inserted_is_found(database: Database) -> None:
    (row,) = make_rows(["one"])
    row_id = await database.write(lambda c: INSERT.run_for_id(c, row))
    found = await database.read(lambda c: FIND.fetch_row(c, {"name": "one"}))
    assert found is not None
    assert tuple(found) == (row_id, b"one")
    assert await database.read(lambda c: FIND.fetch_row(c, {"name": "two"})) is None
    assert await database.read(lambda c: FIND.fetch_value(c, {"name": "two"})) is None


async def test_lists_of_any_length(database: Database) -> None:
    names = [f"n{number}" for number in range(9)]
    await database.write(lambda c: INSERT.run_many(c, make_rows(names)))
    for length in range(len(names) + 1):
        wanted = names[:length]
        bound = {"above": 1, "names": wanted}
        found = await database.read(lambda c, bound=bound: LIST.fetch_values(c, bound))
        assert found == wanted[2:]


async def test_literals_keep_their_values(database: Database) -> None:
    await database.write(lambda c: INSERT.run_many(c, make_rows([f"n{n}" for n in range(9)])))
    assert await database.read(lambda c: LIST_LARGEST.fetch_values(c)) == ["n8", "n6"]


async def test_changed_rows_are_counted_and_returned(database: Database) -> None:
    await database.write(lambda c: INSERT.run_many(c, make_rows(["a", "b", "c"])))
    resize = {"of_name": "a", "new_size": 10}
    assert await database.write(lambda c: RESIZE.run(c, resize)) == 1
    assert await database.write(lambda c: RESIZE.run(c, {**resize, "of_name": "z"})) == 0
    touch = {"names": ["b", "c", "d"], "new_size": None}
    assert sorted(await database.write(lambda c: TOUCH.fetch_values(c, touch))) == ["b", "c"]


async def test_missing_rows_alone_are_inserted(database: Database) -> None:
    await database.write(lambda c: INSERT_MISSING.run_many(c, make_rows(["a"])))
    first = await database.read(lambda c: FIND.fetch_row(c, {"name": "a"}))
    other = [{"name": "a", "size": 5, "data": b"other"}, {"name": "b", "size": 6, "data": b"b"}]
    await database.write(lambda c: INSERT_MISSING.run_many(c, other))
    assert await database.read(lambda c: FIND.fetch_row(c, {"name": "a"})) == first
    assert await database.read(lambda c: FIND.fetch_value(c, {"name": "b"})) is not None


async def test_an_error_is_sqlalchemys_and_tells_no_values(database: Database) -> None:
    rows = make_rows(["Doe^Jane"])
    await database.write(lambda c: INSERT.run_many(c, rows))
    for insert in (lambda c: INSERT.run_for_id(c, rows[0]), lambda c: INSERT.run_many(c, rows)):
        with pytest.raises(sa.exc.IntegrityError) as caught:
            await database.write(insert)
        assert "Doe" not in str(caught.value)


async def test_a_failed_transaction_undoes_what_statements_did(database: Database) -> None:
    def work(connection: sa.Connection) -> None:
        INSERT.run_many(connection, make_rows(["a"]))
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        await database.write(work)
    assert await database.read(lambda c: FIND.fetch_row(c, {"name": "a"})) is None


async def test_text_with_question_marks_for_values(database: Database) -> None:
    await database.write(lambda c: INSERT.run_many(c, make_rows(["a", "b", "c"])))
    text = "SELECT name, data FROM thing WHERE size >= ? AND name IN (?, ?) ORDER BY name LIMIT ?"
    found = await database.read(lambda c: fetch_text(c, text, (1, "a", "b", 5)))
    assert [tuple(row) for row in found] == [("b", b"b")]


async def test_one_select_without_a_transaction(database: Database) -> None:
    await database.write(lambda c: INSERT.run_many(c, make_rows(["a", "b"])))
    names = {"above": -1, "names": ["b", "a"]}
    assert [tuple(row) for row in await database.fetch(LIST, names)] == [("a",), ("b",)]


async def test_work_of_both_kinds_shares_a_transaction(database: Database) -> None:
    """Prepared statements see what SQLAlchemy did in their transaction, and the other way round."""

    def work(connection: sa.Connection) -> list[object]:
        INSERT.run_many(connection, make_rows(["a"]))
        connection.execute(sa.update(TABLE).values(size=9))
        with pytest.raises(sa.exc.IntegrityError), connection.begin_nested():
            INSERT.run_many(connection, make_rows(["b", "a"]))
        return [
            FIND.fetch_value(connection, {"name": "b"}),
            [tuple(row) for row in connection.execute(sa.select(TABLE.c.name, TABLE.c.size))],
        ]

    assert await database.write(work) == [None, [("a", 9)]]


async def test_a_read_sees_one_state(database: Database) -> None:
    await database.write(lambda c: INSERT.run_many(c, make_rows(["a"])))
    loop = asyncio.get_running_loop()

    def write_meanwhile() -> None:
        asyncio.run_coroutine_threadsafe(
            database.write(lambda c: INSERT.run_many(c, make_rows(["b"]))), loop
        ).result()

    def work(connection: sa.Connection) -> list[int]:
        counts = [len(LIST.fetch_all(connection, {"above": -1, "names": ["a", "b"]}))]
        if database.works_in_threads:
            write_meanwhile()
        else:
            sa.util.await_only(asyncio.to_thread(write_meanwhile))
        counts.append(len(LIST.fetch_all(connection, {"above": -1, "names": ["a", "b"]})))
        return counts

    assert await database.read(work) == [1, 1]
    assert len(await database.fetch(LIST, {"above": -1, "names": ["a", "b"]})) == 2


def test_types_that_need_converting_are_refused() -> None:
    with pytest.raises(TypeError):
        Statement(sa.select(sa.literal_column("1", sa.Boolean)))
    with pytest.raises(TypeError):
        Statement(sa.select(sa.literal_column("1", sa.DateTime)))

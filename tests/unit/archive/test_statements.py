"""Prepared statements: the same answers as SQLAlchemy gives, and its errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from lamella.archive.database import Database, open_database
from lamella.archive.statements import MissingInsert, Statement, insert_into

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


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'test.db'}")
    await opened.write(lambda c: TABLE.create(c))
    yield opened
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


def test_types_that_need_converting_are_refused() -> None:
    with pytest.raises(TypeError):
        Statement(sa.select(sa.literal_column("1", sa.Boolean)))
    with pytest.raises(TypeError):
        Statement(sa.select(sa.literal_column("1", sa.DateTime)))

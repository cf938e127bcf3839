"""Prepared statements: what a hot path asks of the database, compiled once.

    READ_HEAD = Statement(sa.select(ref.c.commit_id).where(ref.c.name == sa.bindparam("name")))
    READ_HEAD.fetch_value(connection, {"name": "main"})

SQLAlchemy takes 35 µs to run even a statement that it has compiled already, most of it around
the driver; the driver itself takes 1.5 µs. On SQLite a `Statement` therefore keeps its SQL text
and the order of its parameters, and runs on the connection's driver, in whatever transaction
the connection is in. On PostgreSQL, where a round trip costs more than that, it runs through
SQLAlchemy. Both give plain values.

Columns are whole numbers, text or bytes: what SQLite's driver takes and gives as it stands.
Names of lists are bound with `sa.bindparam(name, expanding=True)`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NoReturn

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

_SQLITE: Final = sqlite.dialect(paramstyle="qmark")
_PLAIN: Final = (sa.Integer, sa.Text, sa.LargeBinary, sa.types.NullType)

Names = Mapping[str, Any]
Row = Sequence[Any]
_NONE: Final[Names] = {}


class Statement:
    """One statement with named parameters, run many times.

    Args:
        construct: A SELECT, UPDATE or DELETE; an INSERT by `insert_into` and `insert_missing_into`.
        columns: Of an INSERT: the columns that each row names.

    Raises:
        TypeError: A result column is of a type that SQLite's driver does not give as it stands.
    """

    def __init__(self, construct: sa.Executable, columns: Sequence[str] | None = None) -> None:
        self._construct = construct
        self._columns = columns
        self._lists = _name_lists(construct)
        self._compiled: dict[tuple[int, ...], _Compiled] = {}
        self._plain = None if self._lists else _Compiled(construct, columns)

    def fetch_all(self, connection: sa.Connection, names: Names = _NONE) -> list[Row]:
        """Run it and return all rows."""
        if connection.dialect.name != "sqlite":
            return list(connection.execute(self._construct, names))
        return self._execute(connection, names).fetchall()

    def fetch_row(self, connection: sa.Connection, names: Names = _NONE) -> Row | None:
        """Run it and return the first row, or None if there is none."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._construct, names).first()
        row: Row | None = self._execute(connection, names).fetchone()
        return row

    def fetch_value(self, connection: sa.Connection, names: Names = _NONE) -> Any:
        """Run it and return the first column of the first row, or None if there is none."""
        row = self.fetch_row(connection, names)
        return None if row is None else row[0]

    def fetch_values(self, connection: sa.Connection, names: Names = _NONE) -> list[Any]:
        """Run it and return the first column of all rows."""
        return [row[0] for row in self.fetch_all(connection, names)]

    def run(self, connection: sa.Connection, names: Names = _NONE) -> int:
        """Run it and return the number of rows that it inserted, changed or deleted."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._construct, names).rowcount
        return self._execute(connection, names).rowcount

    def run_for_id(self, connection: sa.Connection, names: Names) -> int:
        """Insert one row and return the id that the database gave it."""
        if connection.dialect.name != "sqlite":
            result = connection.execute(self._construct, names)
            assert result.inserted_primary_key is not None
            return int(result.inserted_primary_key[0])
        row_id = self._execute(connection, names).lastrowid
        assert row_id is not None
        return row_id

    def run_many(self, connection: sa.Connection, rows: Sequence[Names]) -> None:
        """Run it once for each set of parameters."""
        if not rows:
            return
        if connection.dialect.name != "sqlite":
            connection.execute(self._construct, list(rows))
            return
        compiled = self._find_compiled(rows[0])
        try:
            _driver(connection).executemany(compiled.text, map(compiled.order, rows))
        except sqlite3.Error as error:
            _raise(compiled.text, error)

    def _execute(self, connection: sa.Connection, names: Names) -> sqlite3.Cursor:
        if self._lists:
            names = {**names, **{name: _pad(names[name]) for name in self._lists}}
        compiled = self._find_compiled(names)
        try:
            return _driver(connection).execute(compiled.text, compiled.order(names))
        except sqlite3.Error as error:
            _raise(compiled.text, error)

    def _find_compiled(self, names: Names) -> _Compiled:
        if self._plain is not None:
            return self._plain
        lengths = tuple(len(names[name]) for name in self._lists)
        compiled = self._compiled.get(lengths)
        if compiled is None:
            samples = dict(zip(self._lists, lengths, strict=True))
            compiled = _Compiled(self._construct, self._columns, samples)
            self._compiled[lengths] = compiled
        return compiled


def fetch_text(connection: sa.Connection, text: str, values: Sequence[Any]) -> list[Row]:
    """Run a SELECT that was put together as text, and return all rows.

    Args:
        connection: In any transaction.
        text: With a question mark for each value, and none for anything else.
        values: Whole numbers, text or bytes.
    """
    if connection.dialect.name != "sqlite":
        names = {f"v{index}": value for index, value in enumerate(values)}
        return list(connection.execute(_name_values(text), names))
    try:
        return _driver(connection).execute(text, values).fetchall()
    except sqlite3.Error as error:
        _raise(text, error)


@lru_cache(maxsize=256)
def _name_values(text: str) -> sa.TextClause:
    first, *rest = text.split("?")
    return sa.text(first + "".join(f":v{index}{part}" for index, part in enumerate(rest)))


class _Compiled:
    """A statement for SQLite: its text, and how to put named parameters in its order."""

    def __init__(
        self,
        construct: sa.Executable,
        columns: Sequence[str] | None,
        lengths: Mapping[str, int] = {},
    ) -> None:
        _check_types(construct)
        compiled = construct.compile(  # type: ignore[attr-defined]
            dialect=_SQLITE, column_keys=None if columns is None else list(columns)
        )
        required = {name for bind, name in compiled.bind_names.items() if bind.required}
        lists = {name: [None] * length for name, length in lengths.items()}
        expanded = compiled.construct_expanded_state({**dict.fromkeys(required), **lists})
        members = {
            member: (name, index)
            for name, names in expanded.parameter_expansion.items()
            for index, member in enumerate(names)
        }
        constants = {
            name: value
            for name, value in expanded.parameters.items()
            if name not in required and name not in members
        }
        self.text: str = expanded.statement
        self.order = _make_order(expanded.positiontup or (), constants, members)


def insert_into(table: sa.Table) -> Statement:
    """Return an INSERT whose rows name all columns but the id that the database gives."""
    return Statement(sa.insert(table), _list_columns(table))


class MissingInsert:
    """An INSERT that leaves those rows as they are whose key is taken."""

    def __init__(self, table: sa.Table) -> None:
        columns = _list_columns(table)
        self._sqlite = Statement(sqlite.insert(table).on_conflict_do_nothing(), columns)
        self._postgresql = postgresql.insert(table).on_conflict_do_nothing()

    def run_many(self, connection: sa.Connection, rows: Sequence[Names]) -> None:
        """Insert what is not there yet."""
        if connection.dialect.name == "sqlite":
            self._sqlite.run_many(connection, rows)
        elif rows:
            connection.execute(self._postgresql, list(rows))


def _list_columns(table: sa.Table) -> list[str]:
    given = table.autoincrement_column
    return [column.name for column in table.columns if column is not given]


def _name_lists(construct: sa.Executable) -> tuple[str, ...]:
    binds = sa.sql.visitors.iterate(construct)  # type: ignore[arg-type]
    return tuple(
        dict.fromkeys(
            bind.key for bind in binds if isinstance(bind, sa.BindParameter) and bind.expanding
        )
    )


def _check_types(construct: sa.Executable) -> None:
    for column in getattr(construct, "exported_columns", ()):
        if not isinstance(column.type, _PLAIN):
            raise TypeError(f"{column} is of a type that has to be converted")


def _make_order(
    positions: Sequence[str],
    constants: Mapping[str, Any],
    members: Mapping[str, tuple[str, int]],
) -> Callable[[Names], tuple[Any, ...]]:
    """Return what turns named parameters into a statement's positions.

    Args:
        positions: Names in the statement's order.
        constants: Values that the statement itself brings.
        members: Names that stand for one item of a list: the list's name, the item's index.
    """
    if len(positions) > 1 and not constants and not members:
        return itemgetter(*positions)

    def pick(name: str, names: Names) -> Any:
        if name in members:
            of_list, index = members[name]
            return names[of_list][index]
        return constants[name] if name in constants else names[name]

    return lambda names: tuple(pick(name, names) for name in positions)


def _pad(items: Iterable[Any]) -> list[Any]:
    """Repeat a list's last item up to a power of two, so that few texts have to be compiled."""
    padded = list(items)
    length = 1 << max(0, len(padded) - 1).bit_length()
    return padded + padded[-1:] * (length - len(padded))


def _driver(connection: sa.Connection) -> sqlite3.Connection:
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _raise(text: str, error: sqlite3.Error) -> NoReturn:
    """Raise a driver's error as SQLAlchemy does, without what was bound: it may be a patient."""
    raise sa.exc.DBAPIError.instance(
        text, None, error, sqlite3.Error, hide_parameters=True
    ) from error

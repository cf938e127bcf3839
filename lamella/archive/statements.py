"""Prepared statements: what a hot path asks of the database, compiled once.

    READ_HEAD = Statement(sa.select(ref.c.commit_id).where(ref.c.name == sa.bindparam("name")))
    READ_HEAD.fetch_value(connection, {"name": "main"})

A `Statement` keeps its SQL text and the order of its parameters for each database, and runs on the
connection's own driver, in whatever transaction the connection is in (why: see `drivers`).

Columns are whole numbers, text or bytes: what the drivers take and give as it stands.
Names of lists are bound with `sa.bindparam(name, expanding=True)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from lamella.archive.drivers import Row, find_driver

_PLAIN: Final = (sa.Integer, sa.Text, sa.LargeBinary, sa.types.NullType)

Names = Mapping[str, Any]
_NONE: Final[Names] = {}


class Statement:
    """One statement with named parameters, run many times.

    Args:
        construct: A SELECT, UPDATE or DELETE; an INSERT by `insert_into` and `insert_missing_into`.
        columns: Of an INSERT: the columns that each row names.

    Raises:
        TypeError: A result column is of a type that a driver does not give as it stands.
    """

    def __init__(self, construct: sa.Executable, columns: Sequence[str] | None = None) -> None:
        _check_types(construct)
        self._construct = construct
        self._columns = columns
        self._lists = _name_lists(construct)
        self._compiled: dict[tuple[Any, ...], _Compiled] = {}

    def fetch_all(self, connection: sa.Connection, names: Names = _NONE) -> list[Row]:
        """Run it and return all rows."""
        dialect = connection.dialect.name
        text, values = self.prepare(dialect, names)
        return find_driver(dialect).fetch(connection, text, values)

    def fetch_row(self, connection: sa.Connection, names: Names = _NONE) -> Row | None:
        """Run it and return the first row, or None if there is none."""
        dialect = connection.dialect.name
        text, values = self.prepare(dialect, names)
        return find_driver(dialect).fetch_row(connection, text, values)

    def fetch_value(self, connection: sa.Connection, names: Names = _NONE) -> Any:
        """Run it and return the first column of the first row, or None if there is none."""
        row = self.fetch_row(connection, names)
        return None if row is None else row[0]

    def fetch_values(self, connection: sa.Connection, names: Names = _NONE) -> list[Any]:
        """Run it and return the first column of all rows."""
        return [row[0] for row in self.fetch_all(connection, names)]

    def run(self, connection: sa.Connection, names: Names = _NONE) -> int:
        """Run it and return the number of rows that it inserted, changed or deleted."""
        dialect = connection.dialect.name
        text, values = self.prepare(dialect, names)
        return find_driver(dialect).run(connection, text, values)

    def run_for_id(self, connection: sa.Connection, names: Names) -> int:
        """Insert one row and return the id that the database gave it."""
        dialect = connection.dialect.name
        text, values = self.prepare(dialect, names)
        return find_driver(dialect).run_for_id(connection, text, values)

    def run_many(self, connection: sa.Connection, rows: Sequence[Names]) -> None:
        """Run it once for each set of parameters."""
        if not rows:
            return
        dialect = connection.dialect.name
        compiled = self._find_compiled(dialect, rows[0], for_many=True)
        find_driver(dialect).run_many(connection, compiled.text, map(compiled.order, rows))

    def prepare(self, dialect: str, names: Names = _NONE) -> tuple[str, Sequence[Any]]:
        """Return its text and values in the order that a dialect's driver takes them in."""
        if self._lists:
            names = {**names, **{name: _pad(names[name]) for name in self._lists}}
        compiled = self._find_compiled(dialect, names)
        return compiled.text, compiled.order(names)

    def _find_compiled(self, dialect: str, names: Names, for_many: bool = False) -> _Compiled:
        key = (dialect, for_many, *(len(names[name]) for name in self._lists))
        compiled = self._compiled.get(key)
        if compiled is None:
            lengths = {name: len(names[name]) for name in self._lists}
            made = _compile(self._construct, dialect, self._columns, for_many)
            compiled = self._compiled[key] = _Compiled(made, lengths)
        return compiled


def fetch_text(connection: sa.Connection, text: str, values: Sequence[Any]) -> list[Row]:
    """Run a SELECT that was put together as text, and return all rows.

    Args:
        connection: In any transaction.
        text: With a question mark for each value, and none for anything else.
        values: Whole numbers, text or bytes.
    """
    dialect = connection.dialect.name
    if dialect != "sqlite":
        text = _number_values(text)
    return find_driver(dialect).fetch(connection, text, values)


@lru_cache(maxsize=256)
def _number_values(text: str) -> str:
    first, *rest = text.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))


class _Compiled:
    """A statement for one database: its text, and how to put named parameters in its order."""

    def __init__(self, compiled: sa.sql.compiler.SQLCompiler, lengths: Mapping[str, int]) -> None:
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
        self._of_dialect = {
            "sqlite": Statement(sqlite.insert(table).on_conflict_do_nothing(), columns),
            "postgresql": Statement(postgresql.insert(table).on_conflict_do_nothing(), columns),
        }

    def run_many(self, connection: sa.Connection, rows: Sequence[Names]) -> None:
        """Insert what is not there yet."""
        self._of_dialect[connection.dialect.name].run_many(connection, rows)


@cache
def _make_dialect(name: str) -> sa.Dialect:
    if name == "sqlite":
        return sqlite.dialect(paramstyle="qmark")
    return postgresql.asyncpg.dialect()  # type: ignore[no-untyped-call]


def _compile(
    construct: sa.Executable, dialect: str, columns: Sequence[str] | None, for_many: bool
) -> sa.sql.compiler.SQLCompiler:
    compiled: sa.sql.compiler.SQLCompiler = construct.compile(  # type: ignore[attr-defined]
        dialect=_make_dialect(dialect),
        column_keys=None if columns is None else list(columns),
        for_executemany=for_many,
    )
    return compiled


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

"""Rows of an old schema, to see what a migration makes of them."""

from __future__ import annotations

import sqlalchemy as sa

Columns = dict[str, list[str]]
Rows = dict[str, list[tuple[object, ...]]]


def fill_tables(connection: sa.Connection) -> None:
    """Insert three rows into each table, as its columns and references ask for."""
    found = sa.MetaData()
    found.reflect(connection)
    for table in found.sorted_tables:
        if table.name != "alembic_version":
            rows = [{c.name: _make_value(c, number) for c in table.columns} for number in (1, 2, 3)]
            connection.execute(table.insert(), rows)


_NOT_CARRIED = frozenset({"alembic_version", "place"})  # 0015: what it told, `instance` tells


def list_columns(connection: sa.Connection) -> Columns:
    """Return the columns of all tables whose rows every revision has (and none of Alembic's)."""
    found = sa.MetaData()
    found.reflect(connection)
    return {
        table.name: [column.name for column in table.columns]
        for table in found.sorted_tables
        if table.name not in _NOT_CARRIED
    }


def read_tables(connection: sa.Connection, columns: Columns) -> Rows:
    """Return all rows of tables, sorted, as far as these columns go."""
    return {
        name: sorted(map(tuple, connection.execute(_select(name, wanted))), key=repr)
        for name, wanted in columns.items()
    }


def _select(name: str, columns: list[str]) -> sa.Select[tuple[object, ...]]:
    table = sa.table(name, *map(sa.column, columns))
    return sa.select(*table.columns)


def _make_value(column: sa.Column[object], number: int) -> object:
    """Return a value; equal numbers give equal values, so that references hold."""
    if isinstance(column.type, sa.Integer):
        return number
    if isinstance(column.type, sa.LargeBinary):
        return bytes([number]) * 32
    return f"text {number}"

"""Rows of an old schema, to see what a migration makes of them."""

from __future__ import annotations

import sqlalchemy as sa

Rows = dict[str, list[tuple[object, ...]]]


def fill_tables(connection: sa.Connection) -> None:
    """Insert three rows into each table, as its columns and references ask for."""
    found = sa.MetaData()
    found.reflect(connection)
    for table in found.sorted_tables:
        if table.name != "alembic_version":
            rows = [{c.name: _make_value(c, number) for c in table.columns} for number in (1, 2, 3)]
            connection.execute(table.insert(), rows)


def read_tables(connection: sa.Connection) -> Rows:
    """Return all rows of all tables but Alembic's, sorted."""
    found = sa.MetaData()
    found.reflect(connection)
    return {
        table.name: sorted(map(tuple, connection.execute(sa.select(table))), key=repr)
        for table in found.sorted_tables
        if table.name != "alembic_version"
    }


def _make_value(column: sa.Column[object], number: int) -> object:
    """Return a value; equal numbers give equal values, so that references hold."""
    if isinstance(column.type, sa.Integer):
        return number
    if isinstance(column.type, sa.LargeBinary):
        return bytes([number]) * 32
    return f"text {number}"

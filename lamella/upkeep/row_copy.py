"""Copying all rows of one database into another one, of either kind."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from lamella.archive import attribute_index, catalog, tables
from lamella.archive.database import metadata
from lamella.errors import InvalidRequest
from lamella.vcs import network_tables
from lamella.vcs import tables as vcs_tables

BATCH_ROWS = 500
TABLES = (tables, attribute_index, catalog, vcs_tables, network_tables)
"""Modules that define tables: they must be known before any can be listed."""

VERSION_TABLE = "alembic_version"  # written by the new database's own migration

Progress = Callable[[str, int, int], None]
"""Called with a table's name, rows of it that are copied, and rows that it has."""


def refuse_unknown_tables(old: sa.Connection) -> None:
    """Better copy nothing than leave rows behind.

    Raises:
        InvalidRequest: There is a table that this version does not know.
    """
    unknown = set(sa.inspect(old).get_table_names()) - set(metadata.tables) - {VERSION_TABLE}
    if unknown:
        raise InvalidRequest(f"The database has a table of another kind: {min(unknown)}.")


def copy_rows(old: sa.Connection, new: sa.Connection, progress: Progress) -> dict[str, int]:
    """Copy all tables in the order of their references.

    Args:
        old: In a transaction that sees one state.
        new: Of the same schema, and empty.
        progress: Is told of every batch.

    Returns:
        How many rows each table has.

    Raises:
        InvalidRequest: The new database is not empty.
    """
    filled = [t.name for t in metadata.sorted_tables if _has_rows(new, t)]
    if filled:
        raise InvalidRequest(f"The new database is not empty: {filled[0]} has rows.")
    return {table.name: _copy_table(old, new, table, progress) for table in metadata.sorted_tables}


def _has_rows(connection: sa.Connection, table: sa.Table) -> bool:
    found = connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1))
    return found.first() is not None


def _copy_table(old: sa.Connection, new: sa.Connection, table: sa.Table, progress: Progress) -> int:
    n_rows = old.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    n_copied = 0
    query = sa.select(table).execution_options(yield_per=BATCH_ROWS)
    for batch in old.execute(query).mappings().partitions():
        new.execute(table.insert(), [dict(row) for row in batch])
        n_copied += len(batch)
        progress(table.name, n_copied, n_rows)
    _restart_numbers(old, new, table)
    return n_copied


def _restart_numbers(old: sa.Connection, new: sa.Connection, table: sa.Table) -> None:
    """Let a table's next row have a number that none ever had, deleted ones included."""
    column = table.autoincrement_column
    last = None if column is None else _read_last_number(old, table, column.name)
    if column is None or not last:
        return
    if new.dialect.name == "postgresql":
        sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
        new.execute(sa.select(sa.func.setval(sequence, last)))
        return
    values = {"name": table.name, "last": last}
    new.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
    new.execute(sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), values)


def _read_last_number(old: sa.Connection, table: sa.Table, column: str) -> int | None:
    if old.dialect.name == "postgresql":
        sequence = old.execute(sa.select(sa.func.pg_get_serial_sequence(table.name, column)))
        name = sequence.scalar_one()
        found = old.execute(sa.text(f"SELECT last_value, is_called FROM {name}")).one()
        return int(found.last_value) if found.is_called else None
    query = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name")
    return old.execute(query, {"name": table.name}).scalar_one_or_none()

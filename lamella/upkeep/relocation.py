"""Moving an installation's rows from its SQLite file to a PostgreSQL server.

Packs stay where they are. Rows are copied in one transaction of the new database, from one state
of the old, whose writers are locked out meanwhile: it is done wholly or not at all. A note in the
data folder then keeps a server from going on with the old file by mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from lamella.archive import attribute_index, catalog, tables
from lamella.archive.database import Database, metadata, open_database
from lamella.archive.installation import ServerLock, note_move
from lamella.archive.migration import find_head_revision, migrate_to_head, read_schema_revision
from lamella.errors import InvalidRequest, OutOfResources
from lamella.settings import Settings
from lamella.vcs import network_tables
from lamella.vcs import tables as vcs_tables

BATCH_ROWS = 500
BUSY_TIMEOUT_S = 60
TABLES = (tables, attribute_index, catalog, vcs_tables, network_tables)
"""Modules that define tables: they must be known before any can be listed."""

VERSION_TABLE = "alembic_version"  # written by the new database's own migration

Progress = Callable[[str, int, int], None]
"""Called with a table's name, rows of it that are copied, and rows that it has."""


async def move_database(settings: Settings, url: str, progress: Progress) -> dict[str, int]:
    """Copy all rows of an embedded installation to another database, and note the move.

    Args:
        settings: Of the installation, whose database is SQLite.
        url: `postgresql://…` of an empty database.
        progress: Is told of every batch.

    Returns:
        How many rows each table has.

    Raises:
        FolderLocked: A server runs on the data folder.
        InvalidRequest: The old database is no SQLite file or has another schema; the new one is
            not PostgreSQL, or not empty.
        OutOfResources: A database cannot be reached, or is full.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise InvalidRequest("An installation is moved to a postgresql:// URL.")
    folder = settings.data_dir.absolute()
    path = _find_old(settings)
    new = open_database(url)
    lock = ServerLock(folder)
    try:
        with _open_old(path) as old:
            copied = await _fill(old, new, progress)
            note_move(folder, url)
    finally:
        lock.release()
        await new.close()
    return copied


def _find_old(settings: Settings) -> Path:
    """Return the SQLite file of an installation.

    Raises:
        InvalidRequest: It has none.
    """
    url = settings.database_url or f"sqlite:///{settings.data_dir.absolute() / 'lamella.db'}"
    path = Path(url.removeprefix("sqlite:///"))
    if not url.startswith("sqlite:///") or not path.is_file():
        raise InvalidRequest("There is no SQLite database to move.")
    return path


@contextmanager
def _open_old(path: Path) -> Iterator[sa.Connection]:
    """Open a SQLite file that nobody else writes until the block ends.

    Raises:
        InvalidRequest: Its schema is not this version's.
        OutOfResources: It is locked or broken.
    """
    engine = sa.create_engine(
        f"sqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_S}, poolclass=sa.pool.NullPool
    )
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            if read_schema_revision(connection) != find_head_revision():
                raise InvalidRequest("The database has an older schema: run `lamella migrate`.")
            yield connection
    except sa.exc.OperationalError as error:
        raise OutOfResources("The SQLite file cannot be read, or is in use.") from error


async def _fill(old: sa.Connection, new: Database, progress: Progress) -> dict[str, int]:
    """Copy all tables in the order of their references."""
    unknown = set(sa.inspect(old).get_table_names()) - set(metadata.tables) - {VERSION_TABLE}
    if unknown:  # better no move than one that leaves rows behind
        raise InvalidRequest(f"The database has a table of another kind: {min(unknown)}.")
    await migrate_to_head(new)

    def copy(connection: sa.Connection) -> dict[str, int]:
        filled = [t.name for t in metadata.sorted_tables if _has_rows(connection, t)]
        if filled:
            raise InvalidRequest(f"The new database is not empty: {filled[0]} has rows.")
        return {
            table.name: _copy_table(old, connection, table, progress)
            for table in metadata.sorted_tables
        }

    return await new.write(copy)


def _has_rows(connection: sa.Connection, table: sa.Table) -> bool:
    found = connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1))
    return found.first() is not None


def _copy_table(old: sa.Connection, new: sa.Connection, table: sa.Table, progress: Progress) -> int:
    n_rows = old.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    n_copied = 0
    rows = old.execution_options(yield_per=BATCH_ROWS).execute(sa.select(table))
    for batch in rows.mappings().partitions():
        new.execute(table.insert(), [dict(row) for row in batch])
        n_copied += len(batch)
        progress(table.name, n_copied, n_rows)
    _restart_numbers(old, new, table)
    return n_copied


def _restart_numbers(old: sa.Connection, new: sa.Connection, table: sa.Table) -> None:
    """Let a table's next row have a number that none ever had, deleted ones included."""
    column = table.autoincrement_column
    if column is None:
        return
    last = old.execute(
        sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table.name}
    ).scalar_one_or_none()
    if last:
        sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
        new.execute(sa.select(sa.func.setval(sequence, last)))

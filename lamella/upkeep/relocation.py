"""Moving an installation's rows from its SQLite file to a PostgreSQL server.

Packs stay where they are. Rows are copied in one transaction of the new database, from one state
of the old, whose writers are locked out meanwhile: it is done wholly or not at all. A note in the
data folder then keeps a server from going on with the old file by mistake.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from lamella.archive.database import Database, open_database
from lamella.archive.installation import ServerLock, note_move
from lamella.archive.migration import find_head_revision, migrate_to_head, read_schema_revision
from lamella.errors import InvalidRequest, OutOfResources
from lamella.settings import Settings
from lamella.upkeep.row_copy import Progress, copy_rows, refuse_unknown_tables

BUSY_TIMEOUT_S = 60


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
    refuse_unknown_tables(old)
    await migrate_to_head(new)
    return await new.write(lambda connection: copy_rows(old, connection, progress))

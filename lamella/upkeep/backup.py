"""Backup: a copy of an installation that is an installation itself, on SQLite and a folder.

    saved = await back_up(archive, Path("/backup"), show)

The database is copied first and the packs after it, while gc takes nothing away: everything the
copied rows name is in the store when its turn comes. Packs never change and only grow, so what an
earlier backup in the same folder has is not copied again. The new database takes the old one's
place when all of its packs are there, in one step; only then go packs that it does not know. A
backup that is cut off leaves the earlier one whole.

Of SQLite its own online backup makes the copy; of PostgreSQL all rows are read in one snapshot
and written to a SQLite file, so that there is one kind of backup, which any installation can be
restored from and `fsck` can be run on.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import sqlalchemy as sa

from lamella.archive.database import Database, SqliteDatabase, open_database
from lamella.archive.installation import Archive, ServerLock, prepare_folder
from lamella.archive.migration import migrate_to_head
from lamella.archive.packs.local import LocalPackStore, make_durable_folder, sync_folder
from lamella.archive.packs.store import PackStore
from lamella.archive.threads import run_in_thread
from lamella.errors import IntegrityError, InvalidRequest, OutOfResources
from lamella.upkeep.holds import hold_packs
from lamella.upkeep.row_copy import copy_rows, refuse_unknown_tables

DATABASE = "lamella.db"
DRAFT = "lamella.db.new"
CHUNK_BYTES = 4 << 20

Progress = Callable[[str, int, int], None]
"""Told what is copied (a table, or `packs`), how many are done, and of how many."""


@dataclass(slots=True)
class Saved:
    """What a backup came to.

    Attributes:
        packs: That it has.
        copied: Packs that were copied, or had grown.
        copied_bytes: Of them.
        dropped: Packs of earlier backups that nothing names any more.
        failed: Packs that could not be read.
    """

    packs: int = 0
    copied: int = 0
    copied_bytes: int = 0
    dropped: int = 0
    failed: int = 0

    def describe(self) -> dict[str, int]:
        """Return it in the shape of `--json`."""
        return asdict(self)


async def back_up(archive: Archive, folder: Path, progress: Progress) -> Saved:
    """Copy an installation, which servers may be working on, into a folder.

    Args:
        archive: Of the installation.
        folder: New, empty, or with an earlier backup of it; an absolute path.
        progress: Told how far it is.

    Raises:
        InvalidRequest: The folder holds something else, or is the installation's own.
        FolderLocked: A server runs on the folder, or another backup is made into it.
        OutOfResources: There is no room, or the database or the pack store does not answer.
    """
    if archive.spool_folder.is_relative_to(folder) or folder in archive.cache_folder.parents:
        raise InvalidRequest("A backup goes into another folder than what it is a backup of.")
    try:
        prepare_folder(folder)
        lock = ServerLock(folder)
    except OSError as error:
        raise OutOfResources(f"The backup's folder cannot be used: {error.strerror}.") from error
    try:
        async with hold_packs(archive.database, "a backup"):
            await _copy_database(archive.database, folder / DRAFT, progress)
            saved = await _copy_packs(archive.packs, folder, progress)
        await run_in_thread(_put_in_place, folder)
        saved.dropped = await _drop_unknown(folder)
    except OSError as error:
        raise OutOfResources(f"The backup cannot be written: {error.strerror}.") from error
    finally:
        lock.release()
    return saved


async def _copy_database(database: Database, path: Path, progress: Progress) -> None:
    """Write all rows, as they are at one moment, into a SQLite file."""
    for left in _list_files(path):
        left.unlink(missing_ok=True)
    progress("database", 0, 1)
    if isinstance(database, SqliteDatabase):
        await run_in_thread(copy_sqlite, database.path, path)
    else:
        await _copy_rows_to(database, path, progress)
    progress("database", 1, 1)


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite database that others may be writing.

    Raises:
        OutOfResources: It cannot be read, or there is no room.
    """
    try:
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
            old.backup(new)
    except sqlite3.Error as error:
        raise OutOfResources("The database cannot be copied: no room, or it is broken.") from error


async def _copy_rows_to(database: Database, path: Path, progress: Progress) -> None:
    copy = open_database(f"sqlite:///{path}")
    try:
        await migrate_to_head(copy)
    finally:
        await copy.close()
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.pool.NullPool)

    def read(connection: sa.Connection) -> None:
        refuse_unknown_tables(connection)
        with engine.begin() as new:
            copy_rows(connection, new, progress)

    await database.read(read)


async def _copy_packs(packs: PackStore, folder: Path, progress: Progress) -> Saved:
    """Copy what the copied database names and the folder lacks."""
    store = LocalPackStore(folder / "packs")
    saved = Saved()
    try:
        wanted = await run_in_thread(list_packs, folder / DRAFT)
        for name, size_bytes in wanted:
            saved.packs += 1
            try:
                copied = await run_in_thread(_copy_pack, packs, store, name, size_bytes)
            except IntegrityError:  # fsck names what is lost
                saved.failed += 1
                continue
            saved.copied += copied > 0
            saved.copied_bytes += copied
            progress("packs", saved.packs, len(wanted))
    finally:
        await store.close()
    return saved


def list_packs(database: Path) -> list[tuple[str, int]]:
    """Return name and size of the packs that a backup's database names, and that hold anything."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(
            "SELECT name, size_bytes FROM pack WHERE EXISTS"
            " (SELECT 1 FROM location WHERE location.pack_id = pack.id) ORDER BY id"
        ).fetchall()


def _copy_pack(packs: PackStore, store: LocalPackStore, name: str, size_bytes: int) -> int:
    """Copy what a folder lacks of a pack, durably; return how much that was.

    Raises:
        IntegrityError: The pack is missing or too short.
    """
    path = store.path_of(name)
    make_durable_folder(path.parent)
    start = path.stat().st_size if path.exists() else 0
    if start >= size_bytes:
        return 0
    last = packs.read_stored(name, size_bytes - 1, 1)  # before a file is made for it
    with path.open("ab") as file:
        for place in range(start, size_bytes - 1, CHUNK_BYTES):
            file.write(packs.read_stored(name, place, min(CHUNK_BYTES, size_bytes - 1 - place)))
        file.write(last)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
    return size_bytes - start


def _put_in_place(folder: Path) -> None:
    """Let the new database take the place of an earlier backup's."""
    draft = folder / DRAFT
    with closing(sqlite3.connect(draft)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    fd = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    for left in _list_files(folder / DATABASE)[1:]:  # of the one that goes
        left.unlink(missing_ok=True)
    os.rename(draft, folder / DATABASE)
    sync_folder(folder)


async def _drop_unknown(folder: Path) -> int:
    known = {name for name, _ in await run_in_thread(list_packs, folder / DATABASE)}
    store = LocalPackStore(folder / "packs")
    try:
        unknown = [info.name async for info in store.list() if info.name not in known]
        for name in unknown:
            await store.delete(name)
    finally:
        await store.close()
    return len(unknown)


def _list_files(path: Path) -> list[Path]:
    """Return the files of a SQLite database."""
    return [path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal"))]

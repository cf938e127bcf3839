"""A pack store and a database whose disks are full at a chosen moment: real ones, subclassed."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import Enum
from pathlib import Path

import sqlalchemy as sa

from lamella.archive.database import Database
from lamella.archive.packs.local import LocalPackStore


class PackFault(Enum):
    """Where the adoption of a pack fails."""

    BEFORE_SYNC = "before the file is synced"
    AFTER_RENAME = "after the rename, before the folder is synced"


class FaultyPackStore(LocalPackStore):
    """A pack store whose disk is full for a while.

    Attributes:
        fault: Where the next adoptions fail; None lets them pass.
        pass_first: How many adoptions still pass before that.
        n_faults: How often it has failed.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.fault: PackFault | None = None
        self.pass_first = 0
        self.n_faults = 0

    def _adopt(self, name: str, spool: Path) -> None:
        if self.fault is None or self.pass_first > 0:
            self.pass_first -= 1
            super()._adopt(name, spool)
            return
        self.n_faults += 1
        if self.fault is PackFault.AFTER_RENAME:
            super()._adopt(name, spool)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def drop_free_pages(path: Path) -> None:
    """Give back what migrations have left free, so that a limit counts from the first page."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")


async def limit_pages(database: Database, spare_pages: int | None) -> None:
    """Let a SQLite database grow by so many pages only; None lifts the limit.

    The limit is one of the connection that writes, of which there is one.
    """

    def limit(connection: sa.Connection) -> None:
        used = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
        most = 1 << 30 if spare_pages is None else max(1, used - free + spare_pages)
        connection.exec_driver_sql(f"PRAGMA max_page_count = {most}")

    await database.write(limit)


@contextmanager
def short_files(most_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes: writes there fail with EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

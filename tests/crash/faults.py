"""A pack store and a database whose disks are full at a chosen moment: real ones, subclassed."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from enum import Enum
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from lamella.archive.database import Database
from lamella.archive.packs.growing import GrowingPack
from lamella.archive.packs.local import LocalPackStore


class PackFault(Enum):
    """Where a pack store fails to keep bytes."""

    BEFORE_SYNC = "before they are written and synced"
    AFTER_SYNC = "after they are: behind the rename of a file, or the write to a growing pack"


class FaultyPackStore(LocalPackStore):
    """A pack store whose disk is full for a while.

    Attributes:
        fault: Where the next stores fail; None lets them pass.
        pass_first: How many still pass before that.
        n_faults: How often it has failed.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.fault: PackFault | None = None
        self.pass_first = 0
        self.n_faults = 0

    def fail_around(self, work: Callable[[], None]) -> None:
        """Do a part of the work, and fail."""
        if self.fault is None or self.pass_first > 0:
            self.pass_first -= 1
            work()
            return
        self.n_faults += 1
        if self.fault is PackFault.AFTER_SYNC:
            work()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _adopt(self, name: str, spool: Path) -> None:
        self.fail_around(partial(super()._adopt, name, spool))

    def _make_growing(self, name: str) -> GrowingPack:
        return FaultyGrowingPack(self, name)


class FaultyGrowingPack(GrowingPack):
    """A growing pack on the disk that is full."""

    def __init__(self, store: FaultyPackStore, name: str) -> None:
        super().__init__(name, store.path_of(name))
        self._store = store

    def write(self, views: Sequence[memoryview], offset_bytes: int) -> None:
        self._store.fail_around(partial(super().write, views, offset_bytes))


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

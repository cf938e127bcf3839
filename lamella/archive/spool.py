"""Spool files: where incoming bytes wait, on the packs' own disk, until they become a pack.

A spool file is locked for as long as its process lives, so that a later start can tell
leftovers of a crash from work under way in another process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lamella.archive.source import FileSource
from lamella.errors import OutOfResources

SUFFIX = ".spool"


class Spool:
    """One growing file of instances, one after the other.

    Attributes:
        path: Where the file lies.
        size_bytes: How much has been kept.
    """

    def __init__(self, folder: Path) -> None:
        self.size_bytes = 0
        self._written = 0
        self.path, descriptor = _create_locked(folder)
        self._fd: int | None = descriptor

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes of the instance under way.

        Raises:
            OutOfResources: The disk is full.
        """
        view = memoryview(data)
        with _full_disk_named():
            while view:
                count = os.pwrite(self._descriptor, view, self.size_bytes + self._written)
                self._written += count
                view = view[count:]

    def source(self) -> FileSource:
        """Return the bytes of the instance under way."""
        return FileSource(self._descriptor, self.size_bytes, self._written)

    def keep(self) -> int:
        """End the instance under way and return where it begins."""
        start = self.size_bytes
        self.size_bytes += self._written
        self._written = 0
        return start

    def drop(self) -> None:
        """Forget the instance under way."""
        self._written = 0
        os.ftruncate(self._descriptor, self.size_bytes)

    def copy_ranges(self, folder: Path, ranges: Sequence[tuple[int, int]]) -> Spool:
        """Return a new spool that holds only these (offset, length) ranges, one after the other.

        Raises:
            OutOfResources: The disk is full.
        """
        copy = Spool(folder)
        try:
            for offset, length in ranges:
                for start in range(offset, offset + length, 1 << 20):
                    copy.write(
                        os.pread(self._descriptor, min(1 << 20, offset + length - start), start)
                    )
            copy.keep()
        except BaseException:
            copy.remove()
            raise
        return copy

    def close(self) -> None:
        """Close the file, which stays (a pack store adopts it by its path)."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def remove(self) -> None:
        """Close and delete the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    @property
    def _descriptor(self) -> int:
        if self._fd is None:
            raise ValueError("This spool is closed.")
        return self._fd


def _create_locked(folder: Path) -> tuple[Path, int]:
    """Return a new spool file and its open descriptor, which holds the file's lock.

    Whoever looks for leftovers may take a file for one before it is locked, and delete it.
    """
    while True:
        path = folder / f"{secrets.token_hex(12)}{SUFFIX}"
        with _full_disk_named():
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)


def remove_leftovers(folder: Path) -> int:
    """Delete spool files whose process is gone; return how many."""
    count = 0
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            fd = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            count += 1
        except BlockingIOError:
            continue  # its process lives
        finally:
            os.close(fd)
    return count


@contextmanager
def _full_disk_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE):
            raise OutOfResources(f"No room to receive instances: {error.strerror}.") from error
        raise

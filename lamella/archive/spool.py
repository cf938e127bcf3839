"""Spools: where incoming bytes wait, in a block of memory and behind it in a file.

What is short stays in the block and never sees a file of its own. What is longer goes into one
file, on the packs' own disk, which becomes a pack. It is locked for as long as its process
lives, so that a later start can tell leftovers of a crash from work under way in another process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lamella.archive.blocks import PAGE_BYTES, Block, round_up
from lamella.archive.direct import create_file, use_page_cache, write_all
from lamella.archive.source import ByteSource, FileSource, MemorySource
from lamella.errors import OutOfResources

SUFFIX = ".spool"
COPY_BYTES = 1 << 20

Chunk = bytes | bytearray | memoryview


class Spool:
    """Instances, one after the other.

    Attributes:
        block: Holds the end of what came; the caller's. None after `leave_block`.
        size_bytes: How much has been kept.
    """

    def __init__(self, folder: Path, block: Block) -> None:
        self.block: Block | None = block
        self._view = block.view
        self.size_bytes = 0
        self._folder = folder
        self._path: Path | None = None
        self._fd: int | None = None
        self._base = 0  # where the block's first byte lies in the file
        self._filled = 0  # bytes in the block

    @property
    def is_in_memory(self) -> bool:
        """Whether all of it is in the block, and there is no file."""
        return self._fd is None

    @property
    def end_bytes(self) -> int:
        """How much has come, the instance under way included."""
        return self._base + self._filled

    @property
    def path(self) -> Path:
        """Where the file lies, which holds everything after `seal`."""
        if self._path is None:
            raise ValueError("This spool has no file.")
        return self._path

    def take(self, data: Chunk) -> memoryview:
        """Append bytes of the instance under way as far as the block has room; return the rest."""
        view = memoryview(data)
        count = min(len(view), len(self._view) - self._filled)
        self._view[self._filled : self._filled + count] = view[:count]
        self._filled += count
        return view[count:]

    def write(self, data: Chunk) -> None:
        """Append bytes of the instance under way, to the file if the block is full.

        Raises:
            OutOfResources: The disk is full.
        """
        rest = self.take(data)
        while rest and self.block is not None:
            self._empty_block()
            rest = self.take(rest)
        if rest:
            with name_full_disk():
                write_all(self._file, [rest], self._base)
            self._base += len(rest)

    def leave_block(self) -> None:
        """Put what is in the block into the file, and go on without a block.

        Raises:
            OutOfResources: The disk is full; what was in the block is lost.
        """
        try:
            with name_full_disk():
                use_page_cache(self._file)
                write_all(self._file, [self._view[: self._filled]], self._base)
                self._base += self._filled
        finally:
            self.block, self._view, self._filled = None, memoryview(bytearray()), 0

    @property
    def is_short_of_room(self) -> bool:
        """Whether another instance may well not fit into the block."""
        return self._filled > len(self._view) // 2

    def make_room(self) -> None:
        """Move what has been kept to the file, so that the next instance is read from memory.

        Raises:
            OutOfResources: The disk is full.
        """
        self._empty_block()

    def source(self, start: int, stop: int) -> ByteSource:
        """Return the bytes of an instance that has been kept.

        Raises:
            OutOfResources: The disk is full.
        """
        if start >= self._base:
            return MemorySource(self._view[start - self._base : stop - self._base])
        with name_full_disk():
            self._flush()
        return FileSource(self._file, start, stop - start)

    def keep(self) -> int:
        """End the instance under way and return where it begins."""
        start = self.size_bytes
        self.size_bytes = self._base + self._filled
        return start

    def drop(self) -> None:
        """Forget the instance under way."""
        start = self.size_bytes
        if start < self._base:  # its begin is in the file already
            os.ftruncate(self._file, start)
            self._base = start if self.block is None else start // PAGE_BYTES * PAGE_BYTES
            kept = os.pread(self._file, start - self._base, self._base)
            self._view[: len(kept)] = kept
        self._filled = start - self._base

    def rewrite(self, pieces: Iterator[bytes]) -> None:
        """Let other bytes take the place of the instance under way.

        Args:
            pieces: The bytes; what makes them may read the instance meanwhile.

        Raises:
            OutOfResources: The disk is full.
        """
        with tempfile.SpooledTemporaryFile(max_size=COPY_BYTES, dir=str(self._folder)) as copy:
            with name_full_disk():
                copy.writelines(pieces)
            self.drop()
            copy.seek(0)
            while chunk := copy.read(COPY_BYTES):
                self.write(chunk)

    def drop_last(self, start: int, stop: int) -> bool:
        """Forget an instance that has been kept, if nothing came behind it; tell whether."""
        if stop != self.size_bytes or stop != self.end_bytes:
            return False
        self.size_bytes = start
        self.drop()
        return True

    def compact(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Keep only these (offset, length) ranges of a spool in memory, one after the other.

        Args:
            ranges: In ascending order, without overlaps.
        """
        view, end = self._view, 0
        for offset, length in ranges:
            if offset != end:
                view[end : end + length] = view[offset : offset + length]
            end += length
        self._filled = self.size_bytes = end

    def seal(self) -> None:
        """Write all that has been kept into the file; the block may then serve another spool.

        Raises:
            OutOfResources: The disk is full.
        """
        with name_full_disk():
            self._flush()
            os.ftruncate(self._file, self.size_bytes)
        self._base, self._filled = self.size_bytes, 0

    def copy_ranges(self, ranges: Sequence[tuple[int, int]]) -> Path:
        """Return a new spool file that holds only these (offset, length) ranges of a sealed one.

        Raises:
            OutOfResources: The disk is full.
        """
        use_page_cache(self._file)
        with name_full_disk():
            path, descriptor = _create_locked(self._folder)
            use_page_cache(descriptor)
        try:
            with name_full_disk(), os.fdopen(descriptor, "wb") as copy:
                for offset, length in ranges:
                    for start in range(offset, offset + length, COPY_BYTES):
                        count = min(COPY_BYTES, offset + length - start)
                        copy.write(os.pread(self._file, count, start))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def close(self) -> None:
        """Close the file and delete it, unless a pack store has adopted it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self.path.unlink(missing_ok=True)

    @property
    def _file(self) -> int:
        """The file's descriptor; opens the file."""
        if self._fd is None:
            self._path, self._fd = _create_locked(self._folder)
        return self._fd

    def _empty_block(self) -> None:
        """Move what is in the block to the file, but for the instance under way if that fits."""
        kept = max(self.size_bytes - self._base, 0)
        count = kept // PAGE_BYTES * PAGE_BYTES
        with name_full_disk():
            if not count:  # the instance is longer than the block, so it is read from the file
                use_page_cache(self._file)
                count = self._filled
            write_all(self._file, [self._view[:count]], self._base)
        self._filled -= count
        self._base += count
        self._view[: self._filled] = self._view[count : count + self._filled]

    def _flush(self) -> None:
        """Write what is in the block, which stays as it is."""
        if not self._filled:
            return
        end = round_up(self._filled)
        self._view[self._filled : end] = bytes(end - self._filled)
        write_all(self._file, [self._view[:end]], self._base)


def create_spool(folder: Path) -> tuple[Path, IO[bytes]]:
    """Return the path of a new file that may become a pack, and the file, open for writing.

    It is no leftover for as long as it is open.
    """
    path, descriptor = _create_locked(folder)
    use_page_cache(descriptor)
    return path, os.fdopen(descriptor, "w+b")


def _create_locked(folder: Path) -> tuple[Path, int]:
    """Return a new spool file and its open descriptor, which holds the file's lock.

    Whoever looks for leftovers may take a file for one before it is locked, and delete it.
    """
    while True:
        path = folder / f"{secrets.token_hex(12)}{SUFFIX}"
        descriptor = create_file(path)
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
def name_full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE):
            raise OutOfResources(f"No room to receive instances: {error.strerror}.") from error
        raise

"""Growing packs: where small stores that come at the same time are written together.

A file of its own costs a store a file, a rename and two syncs. Here one thread appends what
waits to one open pack, each store's bytes in whole pages of their own, with one write and one
sync for all of them; only then is any of them answered. A pack that is full is left for a new
one, and a process never opens an old one to append: a range that a crash left without a row is
nobody's for ever.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from lamella.archive.batch_queue import BatchQueue, Job
from lamella.archive.blocks import Block, round_up
from lamella.archive.direct import create_file, write_all
from lamella.archive.packs.store import PackRange, name_pack

LOGGER = logging.getLogger(__name__)

FULL_BYTES = 64 << 20


class GrowingPack:
    """One open pack; one thread writes it, any may give ranges back.

    Args:
        name: Of the pack.
        path: Where its file is to be; the folder is there.

    Raises:
        OSError: The file cannot be made.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path
        self._fd = create_file(path)
        fcntl.flock(self._fd, fcntl.LOCK_SH)  # until it is closed; see `is_growing`
        self._end = 0
        self._released: dict[int, int] = {}  # start of each range that was given back, by its end
        self._lock = threading.Lock()

    @property
    def is_full(self) -> bool:
        """Whether another pack should take what comes."""
        return self._end >= FULL_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether nothing in it is anybody's."""
        return self._end == 0

    def reserve(self, lengths_bytes: Sequence[int]) -> list[PackRange]:
        """Return the next ranges; each begins at a page, and none has a gap behind it."""
        found: list[PackRange] = []
        with self._lock:
            for length_bytes in lengths_bytes:
                found.append(PackRange(self.name, self._end, length_bytes))
                self._end += round_up(length_bytes)
        return found

    def release(self, found: PackRange) -> None:
        """Take a range back; it is used again as soon as nothing behind it is anybody's."""
        with self._lock:
            self._released[found.offset_bytes + round_up(found.length_bytes)] = found.offset_bytes
            while self._end in self._released:
                self._end = self._released.pop(self._end)

    def write(self, views: Sequence[memoryview], offset_bytes: int) -> None:
        """Write whole pages and make them durable.

        Raises:
            OSError: They may not be.
        """
        write_all(self._fd, views, offset_bytes)
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file and cut off what nobody has; delete it if that is all.

        Raises:
            OSError: The disk has other troubles than want of room.
        """
        try:
            os.ftruncate(self._fd, self._end)
        finally:
            os.close(self._fd)
        if self.is_empty:
            self._path.unlink(missing_ok=True)


def is_growing(path: Path) -> bool:
    """Tell whether some process has a pack open to append to it.

    Raises:
        OSError: It cannot be opened, though it is there.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one store brings: whole pages, of which the first bytes count."""

    pages: memoryview
    length_bytes: int


class PackGrower:
    """Appends to the growing pack of one process, in a thread of its own.

    Args:
        open_pack: Makes an empty pack of a name, whose name is durable.
    """

    def __init__(self, open_pack: Callable[[str], GrowingPack]) -> None:
        self._open_pack = open_pack
        self._pack: GrowingPack | None = None
        self._queue: BatchQueue[_Piece, PackRange] = BatchQueue(
            "lamella-pack", self._write_together, lambda piece: self._write([piece])[0]
        )

    def submit(self, block: Block, length_bytes: int) -> Future[PackRange]:
        """Put the first bytes of a block in line; the future has their place once it is durable.

        The block must stay as it is until then. The future raises OSError.
        """
        end = round_up(length_bytes)
        block.view[length_bytes:end] = bytes(end - length_bytes)  # others' bytes were there
        return self._queue.submit(_Piece(block.view[:end], length_bytes))

    def release(self, found: PackRange) -> None:
        """Take back a range that no row names, if its pack still grows."""
        pack = self._pack
        if pack is not None and pack.name == found.pack_name:
            pack.release(found)

    def close(self) -> None:
        """Write what is in line, and stop."""
        self._queue.close()
        try:
            self._leave_pack()
        except OSError as error:
            LOGGER.warning("A pack could not be cut to what is in it: %s", error.strerror)

    def _write_together(self, jobs: Sequence[Job[_Piece, PackRange]]) -> None:
        places = self._write([job.item for job in jobs])
        for job, place in zip(jobs, places, strict=True):
            job.result = place

    def _write(self, pieces: Sequence[_Piece]) -> list[PackRange]:
        pack = self._find_pack()
        places = pack.reserve([piece.length_bytes for piece in pieces])
        try:
            pack.write([piece.pages for piece in pieces], places[0].offset_bytes)
        except BaseException:
            # What a failed sync has left on the disk nobody knows, so nothing more goes there.
            for place in places:
                pack.release(place)
            self._leave_pack()
            raise
        return places

    def _find_pack(self) -> GrowingPack:
        if self._pack is not None and self._pack.is_full:
            self._leave_pack()
        if self._pack is None:
            self._pack = self._open_pack(name_pack())
        return self._pack

    def _leave_pack(self) -> None:
        pack, self._pack = self._pack, None
        if pack is not None:
            pack.close()

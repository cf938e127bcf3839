"""Chunks of packs in files, so that what was read from S3 once is read from the disk again.

A chunk is named by pack and number, and packs never change, so a file is never outdated. It begins
with a checksum over its name and its bytes, which is looked at whenever a process opens it: what
a crash or a bad disk left of a file counts as absent. Nothing is synced. Any number of processes
share the folder, and anybody may delete it at any time.
"""

from __future__ import annotations

import logging
import os
import secrets
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

from isal import isal_zlib

from lamella.archive.packs.descriptors import Descriptor, DescriptorCache

logger = logging.getLogger("lamella.cache")

CHUNK_BYTES = 1 << 20
OPEN_FILES = 256
USED_AGAIN_NS = 60 * 1_000_000_000  # how finely it is noted when a chunk was used
LEFT_OVER_NS = 3600 * 1_000_000_000  # a draft this old has no writer any more
_CHECKSUM = struct.Struct("<I")
_DRAFT = ".draft"


class ChunkCache:
    """One folder of chunks, those used longest ago deleted first. For any number of threads.

    Args:
        folder: Made when the first chunk is kept.
        limit_bytes: What its files may take. A process looks after it each time it has written
            a 32nd part of that, and then leaves a fourth free, so that some processes together
            stay within it.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._unswept_bytes = limit_bytes  # an earlier run may have left too much
        self._open = DescriptorCache(OPEN_FILES)
        self._lock = threading.Lock()

    def read_open(self, name: str, index: int, start: int, stop: int) -> bytes | None:
        """Return bytes of a chunk whose file is open and known to be whole; None if it is not."""
        file = self._open.borrow(_name_chunk(name, index))
        if file is None:
            return None
        with file:
            return os.pread(file.fd, stop - start, _CHECKSUM.size + start)

    def read(self, name: str, index: int, start: int, stop: int) -> bytes | None:
        """Return bytes `start` to `stop` of a chunk, fewer where the pack ends; None: not here."""
        found = self.read_open(name, index, start, stop)
        if found is not None:
            return found
        data = self._open_whole(name, index)
        return None if data is None else data[start:stop]

    def keep(self, name: str, index: int, data: memoryview) -> None:
        """Keep a chunk; where the disk does not allow it, that is logged and nothing is kept."""
        path = self._path_of(name, index)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_DRAFT}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with draft.open("wb", buffering=0) as file:
                    _write_all(file.fileno(), memoryview(_seal(name, index, data)))
                    _write_all(file.fileno(), data)
                draft.rename(path)
            finally:
                draft.unlink(missing_ok=True)
            self._make_room(len(data) + _CHECKSUM.size)
        except OSError as error:
            logger.warning("the cache of packs cannot be written: %s", error.strerror)

    def drop(self, name: str) -> None:
        """Forget a pack."""
        self._open.drop(lambda key: key.startswith(name))
        for path in self._path_of(name, 0).parent.glob(f"{name[2:]}-*"):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close all files."""
        self._open.drop(lambda _key: True)

    def _path_of(self, name: str, index: int) -> Path:
        return self._folder / name[:2] / f"{name[2:]}-{index:08x}"

    def _open_whole(self, name: str, index: int) -> bytes | None:
        """Return a chunk from its file, which stays open; None if there is none that is whole."""
        path = self._path_of(name, index)
        try:
            file = Descriptor(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return None
        with file:
            facts = os.fstat(file.fd)
            seal = os.pread(file.fd, _CHECKSUM.size, 0)
            data = os.pread(file.fd, facts.st_size, _CHECKSUM.size)
            if not data or seal != _seal(name, index, data):
                logger.warning("a damaged chunk of a pack is fetched again")
                path.unlink(missing_ok=True)
                return None
            if time.time_ns() - facts.st_mtime_ns > USED_AGAIN_NS:
                with suppress(OSError):  # deleted just now by another process
                    os.utime(path)
            self._open.keep(_name_chunk(name, index), file)
        return data

    def _make_room(self, written_bytes: int) -> None:
        with self._lock:
            self._unswept_bytes += written_bytes
            if self._unswept_bytes < self._limit_bytes // 32:
                return
            self._unswept_bytes = 0
        self._delete_oldest()

    def _delete_oldest(self) -> None:
        found = []
        for folder in os.scandir(self._folder):
            for entry in os.scandir(folder.path):
                with suppress(FileNotFoundError):  # another process deleted it just now
                    facts = entry.stat()
                    found.append((facts.st_mtime_ns, facts.st_size, entry.path))
        found.sort()
        excess = sum(size for _, size, _ in found) - self._limit_bytes * 3 // 4
        oldest_draft_ns = time.time_ns() - LEFT_OVER_NS
        for modified_ns, size, path in found:
            is_left_over = path.endswith(_DRAFT) and modified_ns < oldest_draft_ns
            if excess > 0 or is_left_over:
                Path(path).unlink(missing_ok=True)
                excess -= size


def _name_chunk(name: str, index: int) -> str:
    return f"{name}-{index}"


def _seal(name: str, index: int, data: bytes | memoryview) -> bytes:
    """Return the checksum of a chunk; a file of zeros, or of another chunk, has not got it."""
    seed = isal_zlib.crc32(_name_chunk(name, index).encode())
    return _CHECKSUM.pack(isal_zlib.crc32(data, seed))


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]

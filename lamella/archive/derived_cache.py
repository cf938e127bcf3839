"""A bounded folder of things that were derived and can be derived again.

A file is named by what it was made from, which never changes, so it is never wrong, only absent
or damaged; damage is noticed by its checksum and counts as absence. Nothing is synced. Any number
of processes may share the folder, and anybody may delete it at any time.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
from contextlib import suppress
from pathlib import Path

import zstandard

logger = logging.getLogger("lamella.cache")

LIMIT_BYTES = 1 << 30
SWEEP_EVERY_BYTES = 64 << 20
_LEVEL = 1
_DRAFT = ".draft"


class DerivedCache:
    """One folder of compressed files, those used longest ago deleted first.

    Args:
        folder: Made when the first file is written; a folder beside it whose name begins alike,
            up to the last hyphen, is of another version and goes with the first sweep.
        limit_bytes: What its files may take, give or take what is written between two sweeps.
    """

    def __init__(
        self, folder: Path, limit_bytes: int = LIMIT_BYTES, sweep_every_bytes: int | None = None
    ) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._sweep_every_bytes = sweep_every_bytes or SWEEP_EVERY_BYTES
        self._unswept_bytes = self._sweep_every_bytes  # an earlier run may have left too much
        self._lock = threading.Lock()

    def read(self, name: str) -> bytes | None:
        """Return what was kept under a name, or None if it is not there or is damaged."""
        path = self._folder / name
        try:
            data = zstandard.ZstdDecompressor().decompress(path.read_bytes())
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, zstandard.ZstdError):
            logger.warning("a damaged cache file is made again", extra={"file": name})
            return None
        return data

    def write(self, name: str, data: bytes) -> None:
        """Keep something; where the disk does not allow it, that is logged and nothing is kept."""
        packed = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(data)
        draft = self._folder / f"{name}.{secrets.token_hex(4)}{_DRAFT}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                draft.write_bytes(packed)
                draft.rename(self._folder / name)
            finally:
                draft.unlink(missing_ok=True)
            self._make_room(len(packed))
        except OSError as error:
            logger.warning("the cache cannot be written: %s", error.strerror)

    def clear(self) -> None:
        """Delete everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _make_room(self, written_bytes: int) -> None:
        with self._lock:
            self._unswept_bytes += written_bytes
            if self._unswept_bytes < self._sweep_every_bytes:
                return
            self._unswept_bytes = 0
        self._delete_other_versions()
        self._delete_oldest()

    def _delete_other_versions(self) -> None:
        family = self._folder.name.rpartition("-")[0] + "-"
        for folder in self._folder.parent.iterdir():
            if folder.name.startswith(family) and folder != self._folder:
                shutil.rmtree(folder, ignore_errors=True)

    def _delete_oldest(self) -> None:
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process deleted it just now
                    facts = entry.stat()
                    found.append((facts.st_mtime_ns, facts.st_size, entry.path))
        excess = sum(size for _, size, _ in found) - self._limit_bytes
        for _, size, path in sorted(found):
            if excess <= 0:
                return
            Path(path).unlink(missing_ok=True)
            excess -= size

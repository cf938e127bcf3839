"""Packs that are only read, of a release in a folder, a bucket or on a web server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

from lamella.archive.blocks import Block
from lamella.archive.packs.s3.cached_reader import CachedReader
from lamella.archive.packs.s3.chunk_cache import ChunkCache
from lamella.archive.packs.s3.ranges import Piece
from lamella.archive.packs.store import PackInfo, PackRange, PackStore
from lamella.archive.threads import run_in_thread
from lamella.clients.releases.objects import Objects, StoreUrl
from lamella.errors import IntegrityError, ReadOnlyRevision, ResourceNotFound

CACHE_BYTES = 1 << 30
Layout = Callable[[str], str]
"""Returns the key of the object that a pack is."""


class ReleasedPacks(PackStore):
    """Packs of a release; what comes from afar is read in large pieces and kept for a while.

    Args:
        place: Where the objects are.
        objects: Reads them.
        layouts: How packs may be laid out there, in the order in which they are tried.
        cache_folder: Where pieces are kept.
    """

    def __init__(
        self, place: StoreUrl, objects: Objects, layouts: Sequence[Layout], cache_folder: Path
    ) -> None:
        self._ranges = _Ranges(objects, tuple(layouts))
        self._reader: CachedReader | None = None
        if place.folder is None:
            self._reader = CachedReader(self._ranges, ChunkCache(cache_folder, CACHE_BYTES))

    async def read(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        return await run_in_thread(self.read_now, name, offset_bytes, length_bytes)

    def read_now(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        if self._reader is not None:
            return self._reader.read(self._ranges.shorten(name), offset_bytes, length_bytes)
        found = self._ranges.read(name, offset_bytes, offset_bytes + length_bytes).view
        if len(found) != length_bytes:
            raise IntegrityError(f"Pack {name} is shorter than its locations say.")
        return bytes(found)

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    async def adopt(self, name: str, spool: Path) -> None:
        _refuse()

    async def append(self, block: Block, length_bytes: int) -> PackRange:
        _refuse()

    async def release(self, found: PackRange) -> None:
        _refuse()

    async def delete(self, name: str) -> None:
        _refuse()

    async def put_beside(self, name: str, path: Path) -> None:
        _refuse()

    async def remove_beside(self, name: str) -> None:
        _refuse()

    async def check(self) -> None:
        _refuse()

    async def list(self) -> AsyncIterator[PackInfo]:
        nothing: tuple[PackInfo, ...] = ()
        for info in nothing:
            yield info


class _Ranges:
    """Reads ranges of packs, which are laid out in one of some ways.

    Args:
        objects: Reads them.
        layouts: The ways; the one by which a pack was found stays.
    """

    def __init__(self, objects: Objects, layouts: tuple[Layout, ...]) -> None:
        self._objects = objects
        self._layouts = layouts
        self._sizes: dict[str, int] = {}
        self._long_names: dict[str, str] = {}

    def shorten(self, name: str) -> str:
        """Return what a pack shall be called here that is cached: no path, whatever its name."""
        if "/" not in name:
            return name
        short = sha256(name.encode()).hexdigest()
        self._long_names[short] = name
        return short

    def read(self, name: str, start: int, stop: int) -> Piece:
        """Return the bytes of a pack from `start` up to `stop`, or up to its end.

        Raises:
            IntegrityError: The pack is missing, or ends before `start`.
            OutOfResources: The store does not answer.
        """
        name = self._long_names.get(name, name)
        size_bytes = self._sizes.get(name)
        if size_bytes is None:
            size_bytes = self._sizes[name] = self._measure(name)
        if start > size_bytes:
            raise IntegrityError(f"Pack {name} is shorter than its locations say.")
        length_bytes = min(stop, size_bytes) - start
        data = self._objects.read_at(self._layouts[0](name), start, length_bytes)
        return Piece(memoryview(data), size_bytes)

    def _measure(self, name: str) -> int:
        for layout in self._layouts:
            try:
                size_bytes = self._objects.measure(layout(name))
            except ResourceNotFound:
                continue
            self._layouts = (layout,)
            return size_bytes
        raise IntegrityError(f"Pack {name} is missing.")


def _refuse() -> NoReturn:
    raise ReadOnlyRevision("A release cannot be written to.")

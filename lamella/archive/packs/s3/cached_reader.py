"""Ranges of packs, from the chunks on disk or else from S3, in large pieces and each piece once.

S3 takes long to begin an answer and not long to go on with it: in 10 ms, which is a near one's
first byte, 3 MB come. So what is missing is fetched in whole chunks; chunks that lie close
together come with one request, with what lies between them; and who reads on where the last
fetch ended gets more with each fetch. Threads that want the same chunk wait for one fetch.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Protocol

from lamella.archive.packs.s3.chunk_cache import CHUNK_BYTES, ChunkCache
from lamella.archive.packs.s3.ranges import Piece
from lamella.errors import IntegrityError

FETCH_CHUNKS = 4
GAP_CHUNKS = 2
FETCH_BYTES = FETCH_CHUNKS * CHUNK_BYTES
FOLLOWED_PACKS = 1024


class Ranges(Protocol):
    """Reads ranges of packs from afar, from any number of threads."""

    def read(self, name: str, start: int, stop: int) -> Piece:
        """Return the bytes of a pack from `start` up to `stop`, or up to its end."""
        ...


class CachedReader:
    """Reads ranges; all calls work in the calling thread, from any number of threads.

    Args:
        ranges: Reads from S3.
        cache: Where chunks are kept.
    """

    def __init__(self, ranges: Ranges, cache: ChunkCache) -> None:
        self._ranges = ranges
        self._cache = cache
        self._fetching: dict[tuple[str, int], Future[memoryview]] = {}
        self._ahead: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._lock = threading.Lock()

    def read_open(self, name: str, offset_bytes: int, length_bytes: int) -> bytes | None:
        """Return a range of one chunk that lies open on the disk; None if that is not so."""
        index, start = divmod(offset_bytes, CHUNK_BYTES)
        if start + length_bytes > CHUNK_BYTES:
            return None
        found = self._cache.read_open(name, index, start, start + length_bytes)
        return found if found is not None and len(found) == length_bytes else None

    def read(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return exactly these bytes of a pack.

        Raises:
            IntegrityError: The pack is missing, too short, or not what it was.
            OutOfResources: S3 does not answer, or refuses.
        """
        pieces = self.read_pieces(name, offset_bytes, length_bytes)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_pieces(self, name: str, offset_bytes: int, length_bytes: int) -> list[bytes]:
        """Like `read`, in pieces of a chunk or less."""
        if not length_bytes:
            return []
        found: dict[int, bytes] = {}
        missing: dict[int, tuple[int, int]] = {}
        for index, start, stop in _list_chunks(offset_bytes, length_bytes):
            kept = self._cache.read(name, index, start, stop)
            if kept is None:
                missing[index] = (start, stop)
            else:
                found[index] = kept
        if missing:
            fetched = self._fetch_all(name, list(missing))
            found |= {n: bytes(fetched[n][start:stop]) for n, (start, stop) in missing.items()}
        if sum(map(len, found.values())) != length_bytes:
            raise IntegrityError(f"Pack {name} is shorter than its locations say.")
        return [found[index] for index in sorted(found)]

    def forget(self, name: str) -> None:
        """Forget what is known of a pack."""
        with self._lock:
            self._ahead.pop(name, None)
        self._cache.drop(name)

    def close(self) -> None:
        """Close the files of the cache."""
        self._cache.close()

    def _fetch_all(self, name: str, indexes: list[int]) -> dict[int, memoryview]:
        """Return chunks, some from other threads that fetch them already."""
        chunks: dict[int, memoryview] = {}
        for first, last in _join_close(indexes):
            for index in range(first, last + 1):
                if index not in chunks:
                    chunks |= self._fetch_or_wait(name, index, last)
        return chunks

    def _fetch_or_wait(self, name: str, index: int, last: int) -> dict[int, memoryview]:
        """Return a chunk, and those up to the last one wanted that come with it."""
        with self._lock:
            other = self._fetching.get((name, index))
            if other is None:
                stop = self._plan(name, index, last)
                free = [n for n in range(index, stop) if (name, n) not in self._fetching]
                mine: dict[int, Future[memoryview]] = {n: Future() for n in free}
                self._fetching.update({(name, n): future for n, future in mine.items()})
        if other is not None:
            return {index: other.result()}
        try:
            return self._fetch(name, index, stop, mine)
        except BaseException as error:
            for future in mine.values():
                if not future.done():
                    future.set_exception(error)
            raise
        finally:
            with self._lock:
                for n in mine:
                    del self._fetching[name, n]

    def _plan(self, name: str, index: int, last: int) -> int:
        """Return where the next fetch ends: further than asked if it goes on where one ended."""
        expected, width = self._ahead.get(name, (-1, 1))
        width = min(width * 2, FETCH_CHUNKS) if index == expected else 1
        stop = min(max(last + 1, index + width), index + FETCH_CHUNKS)
        self._ahead[name] = (stop, max(width, stop - index))
        self._ahead.move_to_end(name)
        if len(self._ahead) > FOLLOWED_PACKS:
            self._ahead.popitem(last=False)
        return stop

    def _fetch(
        self, name: str, first: int, stop: int, mine: dict[int, Future[memoryview]]
    ) -> dict[int, memoryview]:
        piece = self._ranges.read(name, first * CHUNK_BYTES, stop * CHUNK_BYTES)
        chunks = {}
        for index in range(first, stop):
            start = (index - first) * CHUNK_BYTES
            chunks[index] = piece.view[start : start + CHUNK_BYTES]
            if index in mine:
                mine[index].set_result(chunks[index])
        for index, chunk in chunks.items():
            if index in mine and chunk:
                self._cache.keep(name, index, chunk)
        return chunks


def _list_chunks(offset_bytes: int, length_bytes: int) -> Iterator[tuple[int, int, int]]:
    """Yield the chunks of a range: number, and where in it the range begins and ends."""
    end = offset_bytes + length_bytes
    for index in range(offset_bytes // CHUNK_BYTES, (end - 1) // CHUNK_BYTES + 1):
        base = index * CHUNK_BYTES
        yield index, max(offset_bytes - base, 0), min(end - base, CHUNK_BYTES)


def _join_close(indexes: list[int]) -> list[tuple[int, int]]:
    """Return first and last of runs of chunks; small gaps are fetched along."""
    runs: list[tuple[int, int]] = []
    for index in indexes:
        if runs and index - runs[-1][1] - 1 <= GAP_CHUNKS:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs

"""The pack store on S3."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar

from lamella.archive.blocks import Block
from lamella.archive.packs.s3.bucket import Bucket
from lamella.archive.packs.s3.cached_reader import FETCH_BYTES, CachedReader
from lamella.archive.packs.s3.chunk_cache import ChunkCache
from lamella.archive.packs.s3.credentials import Credentials
from lamella.archive.packs.s3.patience import Patience
from lamella.archive.packs.s3.place import BucketPlace
from lamella.archive.packs.s3.ranges import RangeReader
from lamella.archive.packs.s3.writer import PackWriter
from lamella.archive.packs.store import CHUNK_BYTES, PackInfo, PackRange, PackStore, name_pack
from lamella.archive.threads import run_in_thread
from lamella.errors import IntegrityError

P = ParamSpec("P")
T = TypeVar("T")

READS_AT_ONCE = 8
READS_AHEAD = 1
INLINE_READ_BYTES = 256 << 10  # below this a thread hop costs more than the read
UPLOAD_GIVEN_UP = timedelta(days=1)


class S3PackStore(PackStore):
    """Packs as objects, read through a cache on the local disk. For one event loop.

    Each append is a pack of its own: an object cannot grow. A store that is cut off or whose answer
    is lost may leave an object that no row names, which `fsck` notes.

    Args:
        place: Where the objects are.
        cache: Where chunks of them are kept; None keeps none.
        patience: How S3 is waited for.

    Raises:
        InvalidRequest: There are no credentials.
    """

    pack_bytes = 32 << 20
    adopts_at_once = 4

    def __init__(
        self, place: BucketPlace, cache: ChunkCache | None, patience: Patience | None = None
    ) -> None:
        patience = patience or Patience()
        credentials = Credentials()
        self.place = place
        self.bucket = Bucket(place, credentials.region, patience)
        self._writer = PackWriter(self.bucket)
        self._ranges = RangeReader(place, credentials, patience)
        self._reader = CachedReader(self._ranges, cache) if cache is not None else None
        self._threads = ThreadPoolExecutor(READS_AT_ONCE, "lamella-s3")

    async def adopt(self, name: str, spool: Path) -> None:
        await self._writer.put_file(name, spool)
        await run_in_thread(spool.unlink)

    async def append(self, block: Block, length_bytes: int) -> PackRange:
        name = name_pack()
        await self._writer.put_bytes(name, bytes(block.view[:length_bytes]))
        return PackRange(name, 0, length_bytes)

    async def release(self, found: PackRange) -> None:
        await self.discard(found.pack_name)

    async def read(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        if self._reader is not None and length_bytes <= INLINE_READ_BYTES:
            found = self._reader.read_open(name, offset_bytes, length_bytes)
            if found is not None:
                return found
        windows = _cut_windows(offset_bytes, length_bytes)
        reads = [self._run(self.read_now, name, *window) for window in windows]
        pieces = await asyncio.gather(*reads)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_now(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        if self._reader is None:
            return self.read_stored(name, offset_bytes, length_bytes)
        return self._reader.read(name, offset_bytes, length_bytes)

    def read_stored(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        if not length_bytes:
            return b""
        piece = self._ranges.read(name, offset_bytes, offset_bytes + length_bytes)
        if len(piece.view) != length_bytes:
            raise IntegrityError(f"Pack {name} is shorter than its locations say.")
        return bytes(piece.view)

    async def stream(self, name: str, offset_bytes: int, length_bytes: int) -> AsyncIterator[bytes]:
        coming: deque[asyncio.Future[list[bytes]]] = deque()
        try:
            for window in _cut_windows(offset_bytes, length_bytes):
                coming.append(self._run(self._read_pieces, name, *window))
                if len(coming) > READS_AHEAD:
                    for piece in await coming.popleft():
                        yield piece
            while coming:
                for piece in await coming.popleft():
                    yield piece
        finally:
            for read in coming:
                read.cancel()

    def _read_pieces(self, name: str, offset_bytes: int, length_bytes: int) -> list[bytes]:
        if self._reader is not None:
            return self._reader.read_pieces(name, offset_bytes, length_bytes)
        return _cut_chunks(self.read_stored(name, offset_bytes, length_bytes))

    async def delete(self, name: str) -> None:
        await self._writer.delete(name)
        if self._reader is not None:
            await run_in_thread(self._reader.forget, name)

    async def discard(self, name: str) -> None:
        await self._writer.discard(name)

    async def put_beside(self, name: str, path: Path) -> None:
        await self._writer.put_object(self.place.key_beside(name), path)

    async def remove_beside(self, name: str) -> None:
        await self.bucket.call("delete_object", Key=self.place.key_beside(name))

    async def list(self) -> AsyncIterator[PackInfo]:
        async for key, size_bytes, modified in self.bucket.list(self.place.pack_prefix):
            name = self.place.name_of(key)
            if name is not None:
                yield PackInfo(name, size_bytes, int(modified.timestamp() * 1e6))

    async def check(self) -> None:
        await self.bucket.check()

    async def remove_leftovers(self) -> int:
        bucket, prefix = self.bucket, self.place.pack_prefix
        found = await bucket.call_briefly("list_multipart_uploads", Prefix=prefix)
        oldest = datetime.now(UTC) - UPLOAD_GIVEN_UP
        left = [one for one in found.get("Uploads", []) if one["Initiated"] < oldest]
        for one in left:
            await bucket.call_briefly(
                "abort_multipart_upload", Key=one["Key"], UploadId=one["UploadId"]
            )
        return len(left)

    async def close(self) -> None:
        await self.bucket.close()
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        if self._reader is not None:
            self._reader.close()

    def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: work(*args, **kwargs)
        )


def _cut_windows(offset_bytes: int, length_bytes: int) -> list[tuple[int, int]]:
    """Return (offset, length) of the pieces of a range that are worth a request each."""
    if not length_bytes:
        return []
    end = offset_bytes + length_bytes
    borders = range(offset_bytes // FETCH_BYTES * FETCH_BYTES + FETCH_BYTES, end, FETCH_BYTES)
    starts = [offset_bytes, *borders]
    return [(start, stop - start) for start, stop in zip(starts, [*borders, end], strict=True)]


def _cut_chunks(data: bytes) -> list[bytes]:
    if len(data) <= CHUNK_BYTES:
        return [data]
    return [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]

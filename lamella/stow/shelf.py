"""A shelf: parts of a request that have to wait until the whole of it is there.

They lie one after the other in a file that nobody else sees and that a crash leaves nothing of,
so memory stays flat however large they are.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

from lamella.archive.source import FileSource
from lamella.archive.spool import Chunk, name_full_disk
from lamella.archive.threads import run_in_thread
from lamella.imaging.elements import Span

WRITE_BYTES = 1 << 18


class Shelf:
    """What waits of one request; not to be shared between tasks.

    Args:
        folder: Where its file is made, if there is anything to keep.
    """

    def __init__(self, folder: Path) -> None:
        self.size_bytes = 0
        self._folder = folder
        self._file: IO[bytes] | None = None

    async def put(self, chunks: AsyncIterator[Chunk]) -> Span:
        """Keep a part and return where it lies.

        Raises:
            OutOfResources: The disk is full.
        """
        start, waiting = self.size_bytes, bytearray()
        async for chunk in chunks:
            waiting += chunk
            if len(waiting) >= WRITE_BYTES:
                await run_in_thread(self._write, waiting)
                waiting = bytearray()
        await run_in_thread(self._write, waiting)
        return Span(start, self.size_bytes - start)

    def source(self) -> FileSource:
        """Return all that has been kept, to be read at any place."""
        return self.view(Span(0, self.size_bytes))

    def view(self, span: Span) -> FileSource:
        """Return one part, to be read at any place."""
        return FileSource(self._open().fileno(), span.offset_bytes, span.length_bytes)

    def close(self) -> None:
        """Let go of everything."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, data: bytearray) -> None:
        with name_full_disk():
            rest = memoryview(data)
            while rest:
                written = os.pwrite(self._open().fileno(), rest, self.size_bytes)
                self.size_bytes += written
                rest = rest[written:]

    def _open(self) -> IO[bytes]:
        if self._file is None:
            with name_full_disk():
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        return self._file


async def iterate(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield pieces, each made in a thread that is never left half-way."""
    while piece := await run_in_thread(next, pieces, b""):
        yield piece

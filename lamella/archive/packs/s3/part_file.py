"""A part of a file as a file: what an upload in parts sends, read as it goes."""

from __future__ import annotations

import io
import os
from pathlib import Path


class PartFile(io.RawIOBase):
    """Some bytes of a file, to be read from their begin to their end, any number of times.

    Raises:
        OSError: The file cannot be read.
    """

    def __init__(self, path: Path, start: int, length_bytes: int) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._start = start
        self._length = length_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(buffer)[: max(self._length - self._position, 0)]  # type: ignore[arg-type]
        count = os.preadv(self._fd, [view], self._start + self._position) if view else 0
        self._position += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()

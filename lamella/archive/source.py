"""Random-access reading of one instance's bytes, in memory or on disk.

The parsers of this room never ask for more than they need, so that a file of many GB costs
a few reads (never `mmap`: mapped pages count as resident memory).
"""

from __future__ import annotations

import os
from typing import Protocol


class ByteSource(Protocol):
    """The bytes of one Part 10 file."""

    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end of the source."""
        ...


class MemorySource:
    """A source over bytes in memory, which must stay as they are.

    Attributes:
        view: The bytes themselves, for who need not copy them.
    """

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self.view = memoryview(data)
        self.size = len(self.view)

    def read_at(self, offset: int, length: int) -> bytes:
        return bytes(self.view[offset : offset + length])


class FileSource:
    """A source over a range of an open file; positions are relative to `base`."""

    def __init__(self, fd: int, base: int, size: int) -> None:
        self._fd = fd
        self._base = base
        self.size = size

    def read_at(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        return os.pread(self._fd, length, self._base + offset)

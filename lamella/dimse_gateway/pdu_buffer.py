"""PDUs cut out of what a connection brings, with few system calls.

Each call lets another thread have Python, and a busy gateway has many that wait for it. So as much
is read as is there, and what belongs to the next PDU is kept for later.

Source:
    PS3.8 §9.3.1 (every PDU begins with its type, a reserved byte and the length of what follows).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

HEADER_BYTES: Final = 6
WINDOW_BYTES: Final = 256 << 10  # read at once within a data set
LITTLE_BYTES: Final = 4 << 10  # and otherwise: an idle association should hold little

_HEADER = struct.Struct(">BxL")


class Pdu(NamedTuple):
    """One PDU.

    Attributes:
        kind: Its type.
        data: All of it; valid until more is read.
    """

    kind: int
    data: memoryview

    @property
    def items(self) -> memoryview:
        """What follows the header."""
        return self.data[HEADER_BYTES:]


class PduBuffer:
    """What has been read and not been taken yet.

    Attributes:
        kind: The next PDU's type, if its header is there.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._start = 0
        self._end = 0

    @property
    def n_bytes(self) -> int:
        """How many bytes wait."""
        return self._end - self._start

    @property
    def kind(self) -> int | None:
        """The type of the next PDU; None before its header is there."""
        return self._data[self._start] if self.n_bytes >= HEADER_BYTES else None

    @property
    def next_bytes(self) -> int:
        """How long the next PDU is, its header included; of its header alone if that is not there.

        It is whole once so many bytes wait.
        """
        if self.n_bytes < HEADER_BYTES:
            return HEADER_BYTES
        length: int = _HEADER.unpack_from(self._data, self._start)[1]
        return HEADER_BYTES + length

    def make_room(self, window_bytes: int) -> memoryview:
        """Return where the next bytes go: room for the rest of the next PDU, or for a window."""
        needed = max(self.next_bytes, window_bytes)
        if len(self._data) - self._start < self.next_bytes or self._end == len(self._data):
            data = bytearray(needed)
            data[: self.n_bytes] = memoryview(self._data)[self._start : self._end]
            self._data, self._start, self._end = data, 0, self.n_bytes
        return memoryview(self._data)[self._end :]

    def add(self, count: int) -> None:
        """Note that so many bytes were read into the room."""
        self._end += count

    def take(self) -> Pdu:
        """Return the next PDU, which is whole."""
        end = self._start + self.next_bytes
        pdu = Pdu(self._data[self._start], memoryview(self._data)[self._start : end])
        self._start = end
        if self._start == self._end:  # what was taken keeps its bytes
            self._data, self._start, self._end = bytearray(), 0, 0
        return pdu

"""The body of an answer on its way from the event loop to the thread that asked."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterator

MOST_AHEAD_BYTES = 16 << 20


class AnswerBody:
    """Pieces of a body, written in an event loop and read in another thread.

    Args:
        loop: The event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pieces: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._size_bytes = 0
        self._most_bytes = MOST_AHEAD_BYTES
        self._room = asyncio.Event()
        self._error: BaseException | None = None
        self._has_ended = False
        self._is_unwanted = False

    async def write(self, piece: bytes) -> None:
        """Hand on a piece; waits while the reader is far behind.

        Raises:
            asyncio.CancelledError: Nobody reads any more.
        """
        with self._changed:
            self._pieces.append(piece)
            self._size_bytes += len(piece)
            self._changed.notify()
        while self._size_bytes > self._most_bytes and not self._is_unwanted:
            self._room.clear()
            await self._room.wait()
        if self._is_unwanted:
            raise asyncio.CancelledError

    def end(self, error: BaseException | None = None) -> None:
        """Say that no more comes, and why."""
        with self._changed:
            self._has_ended, self._error = True, error
            self._changed.notify()

    def lift_bound(self) -> None:
        """Let all of the body come, however slowly it is read; called in the event loop."""
        self._most_bytes = 1 << 62
        self._room.set()

    def stream(self, amt: int = 0, decode_content: bool = False) -> Iterator[bytes]:
        """Yield pieces as they were written; what `requests` reads a body by.

        Args:
            amt: Ignored: pieces are as long as they come.
            decode_content: Ignored: there is no coding within a process.
        """
        while piece := self._take():
            yield piece

    def close(self) -> None:
        """Read no more."""
        self._is_unwanted = True
        with self._changed:
            self._pieces.clear()
        self._make_room()

    release_conn = close

    def _take(self) -> bytes:
        """Return the next piece that is not empty; b'' at the end."""
        while True:
            with self._changed:
                while not self._pieces and not self._has_ended:
                    self._changed.wait()
                if not self._pieces:
                    if self._error is not None:
                        raise self._error
                    return b""
                piece = self._pieces.popleft()
                self._size_bytes -= len(piece)
            self._make_room()
            if piece:
                return piece

    def _make_room(self) -> None:
        if self._has_ended:
            return
        try:
            self._loop.call_soon_threadsafe(self._room.set)
        except RuntimeError:
            pass  # the loop ended with all that was written in it

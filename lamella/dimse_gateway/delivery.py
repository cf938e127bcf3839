"""The bytes of one instance, from an association's thread to the archive's intake.

Short instances wait in memory until they are whole; of longer ones, blocks go to the intake's
spool while the rest still arrives. The sender is slowed down when the disk is: at most two
blocks of an instance are in memory.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import cast

from lamella.archive.installation import Archive
from lamella.archive.instances import Received
from lamella.archive.intake import Intake

BLOCK_BYTES = 1 << 20
_PATIENCE_S = 0.2


class DeliveryAbandoned(Exception):
    """The association ended in the middle of an instance."""


class Delivery:
    """One instance on its way.

    `write` and `abandon` are called in the association's thread, `receive` on the event loop.

    Attributes:
        intake: What takes the bytes; whoever awaited `receive` closes it or stages it.
    """

    def __init__(self, archive: Archive, loop: asyncio.AbstractEventLoop, head: bytes) -> None:
        self.intake = Intake(archive)
        self._loop = loop
        self._buffer = bytearray(head)
        self._blocks: asyncio.Queue[bytearray | None] = asyncio.Queue()
        self._room = threading.Semaphore(1)
        self._task: Future[Received] | None = None

    def write(self, data: memoryview) -> None:
        """Take the next bytes; waits while the archive has not kept up."""
        self._buffer += data
        if len(self._buffer) < BLOCK_BYTES:
            return
        if self._task is None:
            self._task = asyncio.run_coroutine_threadsafe(
                self.intake.add(self._read_blocks(), is_last=True), self._loop
            )
        block, self._buffer = self._buffer, bytearray()
        while not self._task.done():
            if self._room.acquire(timeout=_PATIENCE_S):
                break
        else:
            return  # refused already: the rest of it is read and dropped
        self._loop.call_soon_threadsafe(self._blocks.put_nowait, block)

    @property
    def is_short(self) -> bool:
        """Whether all that came is in memory, so that any thread may receive it."""
        return self._task is None

    async def receive(self) -> Received:
        """Return the instance once it is parsed and hashed; all of it has been written.

        Raises:
            InvalidInstance: It is refused.
            OutOfResources: There is no room.
        """
        try:
            if self._task is None:
                return await self.intake.add(_yield_once(self._buffer), is_last=True)
            self._blocks.put_nowait(self._buffer)
            self._blocks.put_nowait(bytearray())
            return await asyncio.wrap_future(self._task)
        except BaseException:
            self.intake.close()
            raise

    async def abandon(self) -> None:
        """Drop what came, because the rest will not."""
        if self._task is not None:
            self._blocks.put_nowait(None)
            await asyncio.gather(asyncio.wrap_future(self._task), return_exceptions=True)
        self.intake.close()

    async def _read_blocks(self) -> AsyncIterator[bytes]:
        while block := await self._blocks.get():
            yield cast("bytes", block)  # the intake appends it, whichever it is
            self._room.release()
        if block is None:
            raise DeliveryAbandoned


async def _yield_once(data: bytearray) -> AsyncIterator[bytes]:
    yield cast("bytes", data)

"""Blocks of memory that incoming bytes wait in: few, used again and again, and shared out in turn.

A store takes one block for as long as it receives, so the number of blocks bounds what all of
them together hold in memory, and how many receive at once: the others wait and do not read from
their connections meanwhile. Blocks are page-aligned, so that they can be written past the page
cache.
"""

from __future__ import annotations

import asyncio
import mmap
from collections import deque

from lamella.errors import OutOfResources

PAGE_BYTES = 4096
BLOCK_BYTES = 1 << 20
MOST_BLOCKS = 32
MOST_WAITING = 1024


class Block:
    """One block.

    Attributes:
        view: Its bytes; their number is a multiple of `PAGE_BYTES`.
    """

    __slots__ = ("view",)

    def __init__(self, size_bytes: int = BLOCK_BYTES) -> None:
        self.view = memoryview(mmap.mmap(-1, size_bytes))


class BlockPool:
    """The blocks of one process; for one event loop.

    Args:
        most: How many there may be.
        most_waiting: How many may wait for one.
    """

    def __init__(self, most: int = MOST_BLOCKS, most_waiting: int = MOST_WAITING) -> None:
        self._most = most
        self._most_waiting = most_waiting
        self._free: list[Block] = []
        self._n_made = 0
        self._waiting: deque[asyncio.Future[Block]] = deque()

    async def take(self) -> Block:
        """Return a block, as soon as there is one; first come, first served.

        Raises:
            OutOfResources: Too many wait already.
        """
        if self._free:
            return self._free.pop()  # the last one used: its memory is warm
        if self._n_made < self._most:
            self._n_made += 1
            return Block()
        if len(self._waiting) >= self._most_waiting:
            raise OutOfResources("Too many stores are under way: send again later.")
        turn: asyncio.Future[Block] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(turn.result())
            raise

    def give_back(self, block: Block) -> None:
        """Let another store have a block that nobody reads or writes any more."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(block)
                return
        self._free.append(block)


def round_up(size_bytes: int) -> int:
    """Return the size in whole pages."""
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES

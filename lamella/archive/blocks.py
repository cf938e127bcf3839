"""Blocks of memory that incoming bytes wait in: few, used again and again, and shared out in turn.

A store takes one block for as long as it receives, so the number of blocks bounds what all of
them together hold in memory, and how many receive at once: the others wait and do not read from
their connections meanwhile. Whoever sends slowly while others wait has to go on without a block,
in a file. Blocks are page-aligned, so that they can be written past the page cache.
"""

from __future__ import annotations

import asyncio
import mmap
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from lamella.archive.threads import finish, runs_here, wait_for
from lamella.errors import OutOfResources

PAGE_BYTES = 4096
BLOCK_BYTES = 1 << 20
MOST_BLOCKS = 16
MOST_WAITING = 1024
PATIENCE_S = 1.0
SLOW_BYTES = 1 << 20  # who brings less than this in that time is slow


class Block:
    """One block.

    Attributes:
        view: Its bytes; their number is a multiple of `PAGE_BYTES`.
    """

    __slots__ = ("view",)

    def __init__(self, size_bytes: int = BLOCK_BYTES) -> None:
        self.view = memoryview(mmap.mmap(-1, size_bytes))


class BlockPool:
    """The blocks of one process.

    Args:
        most: How many there may be.
        most_waiting: How many may wait for one.
    """

    def __init__(self, most: int = MOST_BLOCKS, most_waiting: int = MOST_WAITING) -> None:
        self._most = most
        self._most_waiting = most_waiting
        self._free: list[Block] = []
        self._n_made = 0
        self._waiting: deque[Future[Block]] = deque()
        self._lock = threading.Lock()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for a block."""
        with self._lock:
            return any(not turn.done() for turn in self._waiting)

    async def take(self) -> Block:
        """Return a block, as soon as there is one; first come, first served.

        Raises:
            OutOfResources: Too many wait already.
        """
        with self._lock:
            if self._free:
                return self._free.pop()  # the last one used: its memory is warm
            if self._n_made < self._most:
                self._n_made += 1
                return Block()
            if len(self._waiting) >= self._most_waiting:
                raise OutOfResources("Too many stores are under way: send again later.")
            turn: Future[Block] = Future()
            self._waiting.append(turn)
        try:
            return await wait_for(turn)
        except asyncio.CancelledError:
            if not turn.cancel():
                self.give_back(turn.result())
            raise

    def give_back(self, block: Block) -> None:
        """Let another store have a block that nobody reads or writes any more."""
        with self._lock:
            while self._waiting:
                turn = self._waiting.popleft()
                if turn.set_running_or_notify_cancel():
                    break
            else:
                self._free.append(block)
                return
        turn.set_result(block)


class Lease:
    """One store's use of a block, from its first byte until all of them are durable.

    Args:
        pool: Where the block is from.
        block: The block.
        leave: Puts what is in the block elsewhere; runs in a thread while nothing arrives.
    """

    def __init__(self, pool: BlockPool, block: Block, leave: Callable[[], None]) -> None:
        self._pool = pool
        self._block: Block | None = block
        self._leave = leave
        self._leaving: asyncio.Future[None] | None = None
        self._is_idle = True
        self._received_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        if not runs_here():  # else all of it has come already
            self._watch()

    async def begin(self) -> None:
        """Keep the block from being taken away while it is worked with.

        Raises:
            OutOfResources: It was taken away, and there was no room for what was in it.
        """
        self._is_idle = False
        if self._leaving is not None:
            await finish(self._leaving)

    async def settle(self) -> None:
        """Wait until nothing works with the block, whatever became of that."""
        self._is_idle = False
        if self._leaving is not None:
            with suppress(OutOfResources):
                await finish(self._leaving)

    def pause(self, received_bytes: int = 0) -> None:
        """Wait for more; so much has come since the last time."""
        self._received_bytes += received_bytes
        self._is_idle = True

    def end(self, clean_up: Callable[[], None]) -> None:
        """Give the block back, and clean up as soon as nothing works with what was in it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._leaving is not None and not self._leaving.done():
            self._leaving.add_done_callback(lambda _: clean_up())
        else:
            self._return_block()
            clean_up()

    def _watch(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._look)

    def _look(self) -> None:
        is_slow = self._received_bytes < SLOW_BYTES
        self._received_bytes = 0
        if is_slow and self._is_idle and self._pool.is_wanted:
            self._leaving = asyncio.get_running_loop().run_in_executor(None, self._leave)
            self._leaving.add_done_callback(self._note_left)
        else:
            self._watch()

    def _note_left(self, leaving: asyncio.Future[None]) -> None:
        leaving.exception()  # for whom it is asked in `begin`, if the sender goes on
        self._return_block()

    def _return_block(self) -> None:
        if self._block is not None:
            self._pool.give_back(self._block)
            self._block = None


def round_up(size_bytes: int) -> int:
    """Return the size in whole pages."""
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES

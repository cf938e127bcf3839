"""Work that is asked for from time to time, once in that time whatever the number of nodes."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import sqlalchemy as sa

from lamella.archive.database import Database, read_clock_us
from lamella.archive.outbox import enqueue
from lamella.errors import LamellaError

logger = logging.getLogger("lamella.jobs")

LOOK_EVERY_S = 300.0


class Schedule:
    """Asks for one kind of work as often as its settings say.

    Args:
        database: With the outbox.
        kind: Of work.
        every_s: How often.
    """

    def __init__(self, database: Database, kind: str, every_s: int) -> None:
        self._database = database
        self._kind = kind
        self._every_us = every_s * 1_000_000
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look at the clock."""
        self._task = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _look(self) -> None:
        while True:
            try:
                await self._database.write(self._ask)
            except LamellaError as error:
                logger.error("a scheduled job waits: %s", error.detail, extra={"kind": self._kind})
            except Exception:  # the next look may succeed, so this must not end here
                logger.exception("a scheduled job waits", extra={"kind": self._kind})
            await asyncio.sleep(LOOK_EVERY_S)

    def _ask(self, connection: sa.Connection) -> None:
        turn = read_clock_us(connection) // self._every_us
        enqueue(connection, self._kind, {}, key=f"every {self._every_us // 1_000_000} s: {turn}")

"""The relay: tells the broker about work that is due, again and again until it is claimed."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import sqlalchemy as sa
from dramatiq import Broker

from lamella.archive.database import Database
from lamella.archive.outbox import list_unsent, note_sent
from lamella.errors import LamellaError
from lamella.jobs.broker import send

logger = logging.getLogger("lamella.jobs")

LOOK_EVERY_S = 0.5
AGAIN_AFTER_US = 20_000_000
PAGE = 100


class Relay:
    """Relays the outbox to a broker; any number of processes may.

    Args:
        database: With the outbox.
        broker: With the queue declared.
    """

    def __init__(self, database: Database, broker: Broker) -> None:
        self._database = database
        self._broker = broker
        self._is_troubled = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, twice a second."""
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
                await self._relay()
                self._is_troubled = False
            except LamellaError as error:
                if not self._is_troubled:  # once, not twice a second
                    logger.error("jobs wait: %s", error.detail)
                self._is_troubled = True
            except Exception:  # the next look may succeed, so this must not end here
                logger.exception("jobs wait")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _relay(self) -> None:
        if not await self._database.read(lambda c: list_unsent(c, AGAIN_AFTER_US, 1)):
            return
        taken = await self._database.write(_take_unsent)
        sent = 0
        try:
            for job_id in taken:
                await asyncio.to_thread(send, self._broker, job_id)
                sent += 1
        finally:
            if sent < len(taken):
                await self._database.write(lambda c: note_sent(c, taken[sent:], is_sent=False))


def _take_unsent(connection: sa.Connection) -> list[int]:
    found = list_unsent(connection, AGAIN_AFTER_US, PAGE, locks=True)
    note_sent(connection, found)
    return found

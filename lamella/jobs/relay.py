"""The relay: tells the broker about work that is due, again and again until it is claimed."""

from __future__ import annotations

import asyncio
import logging

import sqlalchemy as sa
from dramatiq import Broker

from lamella.archive.database import Database
from lamella.archive.outbox import list_unsent, note_sent
from lamella.archive.rounds import Rounds
from lamella.jobs.broker import send

logger = logging.getLogger("lamella.jobs")

LOOK_EVERY_S = 0.5
AGAIN_AFTER_US = 20_000_000
PAGE = 100


class Relay(Rounds):
    """Relays the outbox to a broker; any number of processes may.

    Args:
        database: With the outbox.
        broker: With the queue declared.
    """

    def __init__(self, database: Database, broker: Broker) -> None:
        self._database = database
        self._broker = broker
        super().__init__(self._relay, LOOK_EVERY_S, logger, "jobs wait")

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

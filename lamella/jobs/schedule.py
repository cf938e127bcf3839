"""Work that is asked for from time to time, once in that time whatever the number of nodes."""

from __future__ import annotations

import logging

import sqlalchemy as sa

from lamella.archive.database import Database, read_clock_us
from lamella.archive.outbox import enqueue
from lamella.archive.rounds import Rounds

logger = logging.getLogger("lamella.jobs")

LOOK_EVERY_S = 300.0


class Schedule(Rounds):
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
        complaint, details = "a scheduled job waits", {"kind": kind}
        super().__init__(self._look, LOOK_EVERY_S, logger, complaint, details=details)

    async def _look(self) -> None:
        await self._database.write(self._ask)

    def _ask(self, connection: sa.Connection) -> None:
        turn = read_clock_us(connection) // self._every_us
        enqueue(connection, self._kind, {}, key=f"every {self._every_us // 1_000_000} s: {turn}")

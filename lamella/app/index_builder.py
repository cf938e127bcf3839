"""Builds and removes indexes of attributes in the background, for as long as the server runs.

What the API declares, and what a command that was killed left unfinished.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from lamella.errors import LamellaError
from lamella.vcs.indexing import finish_index, list_unfinished
from lamella.vcs.repository import Repository

logger = logging.getLogger("lamella.indexes")

LOOK_EVERY_S = 1.0
LOOK_ANYWAY_EVERY = 15
"""Looks, of which one asks the database although nothing was committed: leases run out."""


class IndexBuilder:
    """Looks for indexes that nobody works on."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, every second."""
        self._task = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Stop; what is half done goes on at the next start."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _look(self) -> None:
        database, looks, last = self._repository.archive.database, 0, None
        while True:
            version = database.read_version()
            if version is None or version != last or looks % LOOK_ANYWAY_EVERY == 0:
                last = version
                await self._finish_all(leased=looks == 0)  # a crash leaves its leases behind
            looks += 1
            await asyncio.sleep(LOOK_EVERY_S)

    async def _finish_all(self, *, leased: bool) -> None:
        database = self._repository.archive.database
        try:
            unfinished = await database.read(lambda c: list_unfinished(c, leased=leased))
            for dataset_id, index_id in unfinished:
                await finish_index(self._repository, dataset_id, index_id)
                logger.info("finished an index", extra={"index": index_id})
        except LamellaError as error:
            logger.error("an index waits: %s", error.detail)
        except Exception:  # the next look may succeed, so the builder must not end here
            logger.exception("an index waits")

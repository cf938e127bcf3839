"""Builds and removes indexes of attributes in the background, for as long as the server runs.

What the API declares, and what a command that was killed left unfinished.
"""

from __future__ import annotations

import logging

from lamella.archive.rounds import Rounds
from lamella.vcs.indexing import finish_index, list_unfinished
from lamella.vcs.repository import Repository

logger = logging.getLogger("lamella.indexes")

LOOK_EVERY_S = 1.0
LOOK_ANYWAY_EVERY = 15
"""Looks, of which one asks the database although nothing was committed: leases run out."""


class IndexBuilder(Rounds):
    """Looks for indexes that nobody works on; what is half done goes on at the next start."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._looks = 0
        self._seen: object = None
        super().__init__(self._look, LOOK_EVERY_S, logger, "an index waits")

    async def _look(self) -> None:
        version, looks = self._repository.archive.database.read_version(), self._looks
        self._looks += 1
        if version is None or version != self._seen or looks % LOOK_ANYWAY_EVERY == 0:
            self._seen = version
            await self._finish_all(leased=looks == 0)  # a crash leaves its leases behind

    async def _finish_all(self, *, leased: bool) -> None:
        database = self._repository.archive.database
        unfinished = await database.read(lambda c: list_unfinished(c, leased=leased))
        for dataset_id, index_id in unfinished:
            await finish_index(self._repository, dataset_id, index_id)
            logger.info("finished an index", extra={"index": index_id})

"""Commits what a crash, or a sender that vanished, left staged; removes what it left half-done."""

from __future__ import annotations

import logging

from lamella.archive.packs.store import PackStore
from lamella.archive.rounds import Rounds
from lamella.errors import OutOfResources
from lamella.vcs.commits import commit_abandoned, list_abandoned
from lamella.vcs.repository import Repository

logger = logging.getLogger("lamella.recovery")

SWEEP_EVERY_S = 15.0


async def commit_left_over(repository: Repository) -> int:
    """Commit the sessions that this node's last run left, and all whose lease ran out."""
    return await _commit(repository, repository.archive.node_id)


async def commit_left_by(repository: Repository, place: str) -> int:
    """Commit the sessions that a process of this node left when it died."""
    return await _commit(repository, f"{repository.archive.node_id}/{place}")


async def remove_left_packs(packs: PackStore) -> None:
    """Remove what writers left half-done; a store that does not answer now is only logged."""
    try:
        count = await packs.remove_leftovers()
    except OutOfResources as error:
        logger.error("the pack store is out of reach: %s", error.detail)
    else:
        if count:
            logger.warning("removed what writers left half-done", extra={"count": count})


class Sweeper(Rounds):
    """Commits sessions whose lease ran out, for as long as the server runs."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        super().__init__(self._sweep, SWEEP_EVERY_S, logger, "sweep failed", pauses_first=True)

    async def _sweep(self) -> None:
        await _commit(self._repository, None)


async def _commit(repository: Repository, node_id: str | None) -> int:
    database = repository.archive.database
    sessions = await database.read(lambda c: list_abandoned(c, node_id))
    for session_id in sessions:
        await database.write(lambda c, s=session_id: commit_abandoned(c, repository, s))  # type: ignore[misc]
        logger.warning("committed what a session left behind", extra={"session": session_id})
    return len(sessions)

"""Commits what a crash, or a sender that vanished, left staged; removes what it left half-done."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from lamella.archive.packs.store import PackStore
from lamella.errors import LamellaError, OutOfResources
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


class Sweeper:
    """Looks for sessions whose lease ran out, for as long as the server runs."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, every 15 s."""
        self._task = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            try:
                await _commit(self._repository, None)
            except LamellaError as error:
                logger.error("sweep failed: %s", error.detail)
            except Exception:  # the next sweep may succeed, so the sweeper must not end here
                logger.exception("sweep failed")


async def _commit(repository: Repository, node_id: str | None) -> int:
    database = repository.archive.database
    sessions = await database.read(lambda c: list_abandoned(c, node_id))
    for session_id in sessions:
        await database.write(lambda c, s=session_id: commit_abandoned(c, repository, s))  # type: ignore[misc]
        logger.warning("committed what a session left behind", extra={"session": session_id})
    return len(sessions)

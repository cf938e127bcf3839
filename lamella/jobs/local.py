"""Runs work in the process that it belongs to, a few pieces at a time."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from lamella.archive.outbox import Job, release_left
from lamella.errors import LamellaError
from lamella.jobs.runner import JobRunner

logger = logging.getLogger("lamella.jobs")

LOOK_EVERY_S = 0.5
LOOK_ANYWAY_EVERY = 10
"""Looks, of which one asks the database although nothing was committed: work falls due."""


class LocalJobs:
    """Looks for work and does it, for as long as its process runs.

    Args:
        runner: Does it.
        at_once: How many pieces at a time.
    """

    def __init__(self, runner: JobRunner, at_once: int = 2) -> None:
        self._runner = runner
        self._at_once = at_once
        self._running: dict[asyncio.Task[None], str] = {}  # and the kind of each
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take back what this runner's last life left, and begin to look."""
        runner = self._runner
        write = runner.repository.archive.database.write
        await write(lambda c: release_left(c, runner.name))
        self._task = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Stop; what is half done is begun again at the next start, or by another."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _look(self) -> None:
        database, looks, last = self._runner.repository.archive.database, 0, None
        while True:
            version = database.read_version()
            if version is None or version != last or looks % LOOK_ANYWAY_EVERY == 0:
                last = version
                await self._begin_due()
            looks += 1
            await asyncio.sleep(LOOK_EVERY_S)

    async def _begin_due(self) -> None:
        try:
            while len(self._running) < self._at_once and await self._runner.has_due(
                but=self._list_busy()
            ):
                job = await self._runner.claim(but=self._list_busy())
                if job is None:
                    return  # another was first
                task = asyncio.create_task(self._run(job))
                self._running[task] = job.kind
                task.add_done_callback(self._running.pop)
        except LamellaError as error:
            logger.error("jobs wait: %s", error.detail)
        except Exception:  # the next look may succeed, so this must not end here
            logger.exception("jobs wait")

    def _list_busy(self) -> set[str]:
        """Return the kinds of which one runs that may take long."""
        return {kind for kind in self._running.values() if self._runner.kinds[kind].is_long}

    async def _run(self, job: Job) -> None:
        try:
            await self._runner.run(job)
        except LamellaError as error:
            logger.error("a job waits: %s", error.detail, extra={"job": job.id})

"""One run of one piece of work: claimed, kept, and ended in the outbox."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Container, Mapping
from contextlib import suppress

from lamella.archive.outbox import (
    Job,
    Json,
    State,
    claim,
    finish,
    has_due,
    is_stopped,
    put_back,
    renew,
)
from lamella.errors import LamellaError
from lamella.imaging.pool import DecoderPool
from lamella.jobs.progress import Progress
from lamella.settings import Settings
from lamella.vcs.repository import Repository
from lamella.vcs.work import JobContext, JobKind

logger = logging.getLogger("lamella.jobs")

LOOK_EVERY_S = 1.0
RENEW_EVERY = 8  # looks, so that a lease of 30 s outlives two that come late
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 3600.0


class JobRunner:
    """Runs work of the outbox.

    Args:
        repository: The installation.
        settings: For the runs.
        decoders: For the runs.
        kinds: Of work that can be done here, by name.
        place: Of the process in its node; what a runner of this name left, its next start finds.
    """

    def __init__(
        self,
        repository: Repository,
        settings: Settings,
        decoders: DecoderPool,
        kinds: Mapping[str, JobKind],
        place: str = "",
    ) -> None:
        self.repository = repository
        self.settings = settings
        self.decoders = decoders
        self.kinds = kinds
        self.name = f"{repository.archive.node_id}/{place}jobs:"

    async def has_due(self, but: Container[str] = ()) -> bool:
        """Tell whether there is work to be claimed, but for some kinds."""
        kinds = [kind for kind in self.kinds if kind not in but]
        return await self.repository.archive.database.read(lambda c: has_due(c, kinds))

    async def claim(self, job_id: int | None = None, but: Container[str] = ()) -> Job | None:
        """Claim the work that is due longest, or one piece of it; None if there is none.

        Args:
            job_id: Only this one.
            but: None of these kinds.
        """
        kinds = [kind for kind in self.kinds if kind not in but]
        owner = f"{self.name}{secrets.token_hex(6)}"
        write = self.repository.archive.database.write
        return await write(lambda c: claim(c, kinds, owner, job_id))

    async def run(self, job: Job) -> None:
        """Do claimed work to its end, and note that; a caller that is cancelled puts it back.

        Raises:
            OutOfResources: The database does not answer; the lease will run out.
        """
        kind = self.kinds[job.kind]
        if job.attempts > kind.attempts:  # the process died each time
            await self._end(job, State.DEAD, error=job.error or "Every attempt was cut off.")
            return
        context = _Context(self, job)
        work = asyncio.ensure_future(kind.run(context, job.arguments))
        keeper = asyncio.create_task(context.keep(work))
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            await _stop(work)
            await asyncio.shield(self._put_back(job, 0, None))
            raise
        finally:
            await _stop(keeper)
        await self._conclude(job, kind, context, work)

    async def _conclude(
        self, job: Job, kind: JobKind, context: _Context, work: asyncio.Future[Json]
    ) -> None:
        # Taken first: what a flush may raise must not leave it unseen.
        error = None if work.cancelled() else work.exception()
        await context.flush()
        if work.cancelled():
            await self._end(job, State.CANCELLED)
            return
        if error is None:
            await self._end(job, State.DONE, result=work.result())
            return
        sentence = _describe(job, error)
        is_final = isinstance(error, LamellaError) and error.http_status < 500
        if is_final or job.attempts >= kind.attempts:
            await self._end(job, State.DEAD, error=sentence)
        else:
            await self._put_back(job, _choose_pause_us(job.attempts), sentence)

    async def _end(self, job: Job, state: State, *, result: Json = None, error: str = "") -> None:
        write = self.repository.archive.database.write
        if await write(lambda c: finish(c, job.id, job.owner, state, result=result, error=error)):
            logger.info("a job ended", extra={"job": job.id, "kind": job.kind, "state": state})

    async def _put_back(self, job: Job, delay_us: int, error: str | None) -> None:
        await self.repository.archive.database.write(
            lambda c: put_back(c, job.id, job.owner, delay_us=delay_us, error=error)
        )


class _Context(JobContext):
    """A run's context, which keeps its lease."""

    def __init__(self, runner: JobRunner, job: Job) -> None:
        self.repository = runner.repository
        self.settings = runner.settings
        self.decoders = runner.decoders
        self.job = job
        self._progress = Progress()
        self._is_stopped = False

    @property
    def is_stopped(self) -> bool:
        return self._is_stopped

    def report(self, done: int, total: int | None = None, note: str = "") -> None:
        self._progress.report(done, total, note)

    async def save(self, position: Json) -> None:
        self._progress.save(position)
        await self._renew()
        if self._is_stopped:
            raise asyncio.CancelledError

    async def keep(self, work: asyncio.Future[Json]) -> None:
        """Renew the lease until the work ends; end it if somebody wants that."""
        looks = 0
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            looks += 1
            try:
                if self._progress.is_new or looks % RENEW_EVERY == 0:
                    await self._renew()
                else:
                    await self._look()
            except LamellaError as error:  # it may answer before the lease ends
                logger.error("a lease waits: %s", error.detail, extra={"job": self.job.id})
            if self._is_stopped:
                work.cancel()

    async def flush(self) -> None:
        """Note what was reported last."""
        if self._progress.is_new:
            await self._renew()

    async def _look(self) -> None:
        read, job = self.repository.archive.database.read, self.job
        self._is_stopped |= await read(lambda c: is_stopped(c, job.id, job.owner))

    async def _renew(self) -> None:
        write, job = self.repository.archive.database.write, self.job
        values = self._progress.take()
        found = await write(lambda c: renew(c, job.id, job.owner, values))
        self._is_stopped |= found is None or found


async def _stop(task: asyncio.Future[Json] | asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task


def _describe(job: Job, error: BaseException) -> str:
    """Return why work failed, and log it."""
    extra = {"job": job.id, "kind": job.kind}
    if isinstance(error, LamellaError):
        logger.warning("a job failed: %s", error.detail, extra=extra)
        return error.detail
    logger.error("a job failed", exc_info=error, extra=extra)
    return f"An unexpected error ({type(error).__name__}); the log has more."


def _choose_pause_us(attempts: int) -> int:
    """Return how long to wait after so many attempts: twice as long each time, never quite so."""
    pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempts - 1))
    return int(pause_s * random.uniform(0.75, 1.25) * 1e6)

"""What a process does about work in the background, as its settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import InvalidRequest
from lamella.imaging.pool import DecoderPool
from lamella.jobs.kinds import list_kinds
from lamella.jobs.local import LocalJobs
from lamella.jobs.runner import JobRunner
from lamella.jobs.schedule import Schedule
from lamella.settings import Settings
from lamella.vcs.repository import Repository

if TYPE_CHECKING:
    from lamella.jobs.broker import QueueProbe
    from lamella.jobs.relay import Relay
    from lamella.jobs.remote import RemoteJobs

AT_ONCE = 2
EXTRA = "Jobs on Redis need an extra: install lamella[redis]."


class Background:
    """Runs jobs here, or sees to it that workers hear of them.

    Without Redis whoever has one of these looks into the outbox and works. With Redis everybody
    relays the outbox to it, and only workers work.

    Args:
        repository: The installation.
        settings: They name Redis.
        decoders: For the jobs.
        is_worker: Whether this process is there for jobs alone.
        at_once: How many jobs at a time.

    Raises:
        InvalidRequest: The extra for Redis is missing, or its URL is wrong.
    """

    def __init__(
        self,
        repository: Repository,
        settings: Settings,
        decoders: DecoderPool,
        *,
        is_worker: bool = False,
        at_once: int = AT_ONCE,
    ) -> None:
        runner = JobRunner(repository, settings, decoders, list_kinds())
        self._local: LocalJobs | None = None
        self._relay: Relay | None = None
        self._remote: RemoteJobs | None = None
        self._schedule: Schedule | None = None
        if settings.gc_every_s is not None:
            self._schedule = Schedule(repository.archive.database, "gc", settings.gc_every_s)
        if not settings.redis_url:
            self._local = LocalJobs(runner, at_once)
            return
        try:
            from lamella.jobs.broker import open_broker
            from lamella.jobs.relay import Relay
            from lamella.jobs.remote import RemoteJobs
        except ImportError as error:
            raise InvalidRequest(EXTRA) from error
        broker = open_broker(settings.redis_url)
        self._relay = Relay(repository.archive.database, broker)
        if is_worker:
            self._remote = RemoteJobs(runner, broker, at_once)

    async def start(self) -> None:
        """Begin."""
        if self._schedule is not None:
            self._schedule.start()
        if self._local is not None:
            await self._local.start()
        if self._remote is not None:
            self._remote.start()
        if self._relay is not None:
            self._relay.start()

    async def stop(self) -> None:
        """Stop; what is half done goes on elsewhere, or at the next start."""
        for part in (self._schedule, self._relay, self._local, self._remote):
            if part is not None:
                await part.stop()


def open_probe(settings: Settings) -> QueueProbe | None:
    """Return what asks Redis whether it is there; None if the settings name none.

    Raises:
        InvalidRequest: The extra for Redis is missing, or its URL is wrong.
    """
    if not settings.redis_url:
        return None
    try:
        from lamella.jobs.broker import QueueProbe
    except ImportError as error:
        raise InvalidRequest(EXTRA) from error
    return QueueProbe(settings.redis_url)

"""Work for later, as those see it who can do it: a kind of job, and what its runs are given.

    async def run(context: JobContext, arguments: Arguments) -> Json: ...

    KIND = JobKind("copy", run)          # entered in `lamella.jobs.kinds`

and whoever wants it done writes `enqueue(connection, "copy", {...})` in the transaction that makes
it necessary. A run may be cut off anywhere and begun again elsewhere, and two may overlap for a
moment: what it does twice must be as if it had been done once. It is cancelled as tasks are; work
in threads asks `context.is_stopped`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from lamella.archive.outbox import Arguments, Job, Json, State
from lamella.imaging.pool import DecoderPool
from lamella.settings import Settings
from lamella.vcs.commit_object import format_time
from lamella.vcs.repository import Repository

ATTEMPTS = 8  # with pauses that double from 5 s: over 10 minutes


class JobContext(ABC):
    """What a run is given besides its arguments.

    Attributes:
        repository: The installation.
        settings: As the runner was told.
        decoders: Processes that decode and encode.
        job: The row as it was when this attempt began.
    """

    repository: Repository
    settings: Settings
    decoders: DecoderPool
    job: Job

    @property
    @abstractmethod
    def is_stopped(self) -> bool:
        """Whether the run should end: it was cancelled, or is somebody else's now."""

    @abstractmethod
    def report(self, done: int, total: int | None = None, note: str = "") -> None:
        """Say how far the work is; it costs nothing, and people see it within a second or two.

        Args:
            done: Steps that are done.
            total: Of how many, if that is known.
            note: What it is at; no values of patients.
        """

    @abstractmethod
    async def save(self, position: Json) -> None:
        """Note durably where a next attempt may go on: it finds that in `job.position`."""


Run = Callable[[JobContext, Arguments], Awaitable[Json]]


@dataclass(frozen=True, slots=True)
class JobKind:
    """A kind of work.

    Attributes:
        name: As rows of the outbox have it.
        run: Does it; returns what it came to. A `LamellaError` below 500 ends it for good; after
            any other error it is tried again.
        attempts: How often it is begun before it is given up.
        is_long: Whether it may take hours: a process that does several pieces of work at a time
            does one of such a kind, lest all others wait.
    """

    name: str
    run: Run
    attempts: int = ATTEMPTS
    is_long: bool = False


def describe_job(job: Job) -> dict[str, Json]:
    """Return work in the JSON shape of API and `--json`; `due`: when it begins, if it waits."""
    return {
        "id": job.id,
        "kind": job.kind,
        "key": job.key,
        "arguments": job.arguments,
        "state": "stopping" if job.state is State.RUNNING and job.is_stopped else job.state.value,
        "attempts": job.attempts,
        "done": job.done,
        "total": job.total,
        "note": job.note,
        "result": job.result,
        "error": job.error,
        "created": format_time(job.created_us),
        "due": format_time(job.due_us) if job.state is State.WAITING else None,
        "ended": None if job.ended_us is None else format_time(job.ended_us),
    }

"""A line of work for one thread, which does together what waits at the same time.

A sync costs the same for one as for many, so what makes things durable takes all that is in
line at once. Work that fails together is tried again piece by piece, so that none fails for
another; and whoever waits for a piece may go away without harm to the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

MOST_TOGETHER = 32

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")


@dataclass(slots=True)
class Job(Generic[I, R]):
    """One piece of work.

    Attributes:
        item: What is to be done.
        future: Has the result once that is durable.
        result: What came of it.
        error: Why nothing did, if so.
    """

    item: I
    future: Future[R] = field(default_factory=Future)
    result: R | None = None
    error: BaseException | None = None

    def settle(self) -> None:
        """Tell whoever waits."""
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]  # of a job that was done


class BatchQueue(Generic[I, R]):
    """The line, and its thread, which starts with the first piece of work.

    Args:
        name: The thread's.
        do_together: Does several jobs at once and notes `result` or `error` of each. If it
            raises, nothing of what it did counts, and each is done alone.
        do_alone: Does one.
        prepare: Called before each batch: what comes while it takes its time joins the batch.
        follow: Called after each batch, while nothing else is under way.
    """

    def __init__(
        self,
        name: str,
        do_together: Callable[[Sequence[Job[I, R]]], None],
        do_alone: Callable[[I], R],
        prepare: Callable[[], None] | None = None,
        follow: Callable[[], None] | None = None,
    ) -> None:
        self._name = name
        self._do_together = do_together
        self._do_alone = do_alone
        self._prepare = prepare
        self._follow = follow
        self._jobs: SimpleQueue[Job[I, R] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def n_waiting(self) -> int:
        """About how many pieces of work are in line."""
        return self._jobs.qsize()

    def submit(self, item: I) -> Future[R]:
        """Put a piece of work in line; what it raises, its future raises."""
        job: Job[I, R] = Job(item)
        self._jobs.put(job)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        return job.future

    def close(self) -> None:
        """Do what is in line, and stop."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            self._jobs.put(None)
            thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            jobs, is_open = self._take()
            ready = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if ready:
                self._do(ready)
            if jobs and self._follow is not None:
                self._follow()

    def _take(self) -> tuple[list[Job[I, R]], bool]:
        """Return the next jobs, and whether more may come."""
        job = self._jobs.get()
        if job is not None and self._prepare is not None:
            self._prepare()
        jobs: list[Job[I, R]] = []
        while job is not None:
            jobs.append(job)
            if len(jobs) == MOST_TOGETHER:
                return jobs, True
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return jobs, True
        return jobs, False

    def _do(self, jobs: list[Job[I, R]]) -> None:
        if len(jobs) == 1 or not self._try_together(jobs):
            for job in jobs:
                self._try_alone(job)
        for job in jobs:
            job.settle()

    def _try_together(self, jobs: list[Job[I, R]]) -> bool:
        try:
            self._do_together(jobs)
        except BaseException:  # noqa: BLE001 - each is tried alone, so that none fails for another
            return False
        return True

    def _try_alone(self, job: Job[I, R]) -> None:
        job.result, job.error = None, None
        try:
            job.result = self._do_alone(job.item)
        except BaseException as error:  # noqa: BLE001 - it belongs to who waits for the future
            job.error = error

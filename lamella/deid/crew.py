"""Processes that run the pipeline: engines hold the interpreter's lock, and may crash.

An instance whose process dies is tried once more, alone in a new one; if that dies too, the
instance goes into quarantine and the run goes on.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import TypeVar

from lamella.deid.keys import ProjectKey
from lamella.deid.pipeline import Made, Pipeline
from lamella.deid.profiles import Profile
from lamella.deid.results import Verdict
from lamella.errors import LamellaError, OutOfResources

T = TypeVar("T")

# of a worker process
_pipeline: Pipeline | None = None
_failure: LamellaError | None = None

# spawned: a fork would take threads' locks and database connections along
_CONTEXT = multiprocessing.get_context("spawn")


def _begin(lifeline: Connection, niceness: int) -> None:
    """Become a process that ends with its crew."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    os.nice(niceness)
    Thread(target=_end_with_crew, args=(lifeline,), daemon=True).start()


def _load(lifeline: Connection, niceness: int, profile: Profile, key: ProjectKey) -> None:
    global _pipeline, _failure
    _begin(lifeline, niceness)
    try:
        _pipeline = Pipeline(profile, key)
    except LamellaError as error:  # raised here, it would count as a process that died
        _failure = error


def _end_with_crew(lifeline: Connection) -> None:
    """End this process when its crew is dismissed, or its parent gone: it would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([lifeline, parent.sentinel])
    os._exit(1)


def _run(data: bytes, n_slices: int) -> Made:
    if _failure is not None:
        raise _failure
    assert _pipeline is not None
    return _pipeline.run(data, n_slices)


class Crew:
    """A few processes with the same profile and key.

    Args:
        size: Processes at most; 0 for one a core.
        niceness: How far they let other processes go first, 0 to 19.
    """

    def __init__(self, profile: Profile, key: ProjectKey, size: int = 0, niceness: int = 0) -> None:
        self.size = size or max(1, os.cpu_count() or 1)
        self._profile = profile
        self._key = key
        self._niceness = niceness
        self._lifeline, self._held = _CONTEXT.Pipe(duplex=False)
        self._pool = self._hire(self.size)
        self._turn = asyncio.Lock()

    async def run(self, data: bytes, n_slices: int) -> Made:
        """De-identify one instance in a process.

        Args:
            data: Its Part 10 file.
            n_slices: How many instances its series has.

        Raises:
            InvalidRequest: An engine that the profile needs cannot be loaded.
        """
        loop, pool = asyncio.get_running_loop(), self._pool
        try:
            return await loop.run_in_executor(pool, _run, data, n_slices)
        except BrokenProcessPool:
            return await self._run_alone(pool, data, n_slices)

    def dismiss(self) -> None:
        """End the processes at once; what they work on is lost."""
        self._held.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._lifeline.close()

    async def _run_alone(self, broken: ProcessPoolExecutor, data: bytes, n_slices: int) -> Made:
        async with self._turn:
            if self._pool is broken:
                self._pool = self._hire(self.size)
            alone = self._hire(1)
            try:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(alone, _run, data, n_slices)
            except BrokenProcessPool:
                return Made(b"", Verdict.QUARANTINE, ("process-died",), {})
            finally:
                alone.shutdown(wait=False, cancel_futures=True)

    def _hire(self, size: int) -> ProcessPoolExecutor:
        needs = (self._lifeline, self._niceness, self._profile, self._key)
        return ProcessPoolExecutor(size, mp_context=_CONTEXT, initializer=_load, initargs=needs)


async def run_apart(work: Callable[..., T], *needs: object) -> T:
    """Run a function once in a process of its own, which decodes what may be broken.

    Args:
        work: Of a module; its arguments and its result cross over pickled.
        needs: Its arguments.

    Raises:
        OutOfResources: The process died.
    """
    lifeline, held = _CONTEXT.Pipe(duplex=False)
    pool = ProcessPoolExecutor(1, mp_context=_CONTEXT, initializer=_begin, initargs=(lifeline, 0))
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, work, *needs)
    except BrokenProcessPool as error:
        raise OutOfResources("The process that decoded these pixels died.") from error
    finally:
        held.close()
        pool.shutdown(wait=False, cancel_futures=True)
        lifeline.close()

"""Processes that run the pipeline: engines hold the interpreter's lock, and may crash.

An instance whose process dies is tried once more, alone in a new one; if that dies too, the
instance goes into quarantine and the run goes on.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from threading import Thread

from lamella.deid.keys import ProjectKey
from lamella.deid.pipeline import Made, Pipeline
from lamella.deid.profiles import Profile
from lamella.deid.results import Verdict

_pipeline: Pipeline | None = None  # of a worker process


def _load(profile: Profile, key: ProjectKey) -> None:
    global _pipeline
    Thread(target=_end_with_parent, daemon=True).start()
    _pipeline = Pipeline(profile, key)


def _end_with_parent() -> None:
    """End this process when its parent is gone: a pool's workers would wait for ever for more."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run(data: bytes, n_slices: int) -> Made:
    assert _pipeline is not None
    return _pipeline.run(data, n_slices)


class Crew:
    """A few processes with the same profile and key.

    Args:
        size: Processes at most; 0 for one a core.
    """

    def __init__(self, profile: Profile, key: ProjectKey, size: int = 0) -> None:
        self.size = size or max(1, os.cpu_count() or 1)
        self._profile = profile
        self._key = key
        self._pool = self._hire(self.size)
        self._turn = asyncio.Lock()

    async def run(self, data: bytes, n_slices: int) -> Made:
        """De-identify one instance in a process.

        Args:
            data: Its Part 10 file.
            n_slices: How many instances its series has.
        """
        loop, pool = asyncio.get_running_loop(), self._pool
        try:
            return await loop.run_in_executor(pool, _run, data, n_slices)
        except BrokenProcessPool:
            return await self._run_alone(pool, data, n_slices)

    def dismiss(self) -> None:
        """End the processes; what they work on is lost."""
        self._pool.shutdown(wait=True, cancel_futures=True)

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
        # spawned: a fork would take threads' locks and database connections along
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(
            size, mp_context=context, initializer=_load, initargs=(self._profile, self._key)
        )

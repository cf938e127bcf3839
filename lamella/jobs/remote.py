"""Runs work that dramatiq brings, in the event loop of the process that it belongs to."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import CancelledError

import dramatiq
from dramatiq import Broker, Worker

from lamella.errors import LamellaError
from lamella.jobs.broker import ACTOR, QUEUE
from lamella.jobs.runner import JobRunner

logger = logging.getLogger("lamella.jobs")

IDLE_MS = 500
STOP_MS = 20_000


class RemoteJobs:
    """A dramatiq worker whose actor claims rows of the outbox and runs them.

    Args:
        runner: Does the work.
        broker: Brings it.
        at_once: How many pieces at a time.
    """

    def __init__(self, runner: JobRunner, broker: Broker, at_once: int) -> None:
        self._runner = runner
        self._loop = asyncio.get_running_loop()
        self._running: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        declare = dramatiq.actor(actor_name=ACTOR, queue_name=QUEUE, broker=broker)
        declare(self._run_message)
        self._worker = Worker(
            broker, queues={QUEUE}, worker_timeout=IDLE_MS, worker_threads=at_once
        )

    def start(self) -> None:
        """Begin to listen; Redis need not be there yet."""
        self._worker.start()

    async def stop(self) -> None:
        """Put back what runs, and stop listening."""
        self._is_stopping = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await asyncio.to_thread(self._worker.stop, STOP_MS)

    def _run_message(self, job_id: int) -> None:
        """Run one piece of work, in a thread of dramatiq's, which waits for it."""
        if self._is_stopping:
            return  # the row will be sent again
        try:
            asyncio.run_coroutine_threadsafe(self._run(job_id), self._loop).result()
        except CancelledError:
            logger.info("a job was put back", extra={"job": job_id})

    async def _run(self, job_id: int) -> None:
        task = asyncio.create_task(self._claim_and_run(job_id))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await task

    async def _claim_and_run(self, job_id: int) -> None:
        try:
            job = await self._runner.claim(job_id)
            if job is not None:
                await self._runner.run(job)
        except LamellaError as error:  # the lease ends, and the row is sent again
            logger.error("a job waits: %s", error.detail, extra={"job": job_id})

"""`lamella worker`: a process that does work in the background and opens no door."""

from __future__ import annotations

import asyncio
import logging
import signal

import uvloop

from lamella.app.collector import relax_collector
from lamella.app.limits import raise_open_files, share_heaps
from lamella.app.logs import set_up_logs
from lamella.archive.installation import open_archive
from lamella.imaging.pool import DecoderPool
from lamella.jobs.background import Background
from lamella.settings import Settings
from lamella.vcs.datasets import ensure_default
from lamella.vcs.repository import Repository

logger = logging.getLogger("lamella.worker")


def run_worker(settings: Settings, at_once: int) -> int:
    """Work until SIGTERM or SIGINT; return the exit status.

    Args:
        settings: Of the installation.
        at_once: How many jobs at a time.

    Raises:
        InvalidRequest: The settings cannot be used.
        OutOfResources: The folder or database cannot be used.
    """
    set_up_logs(settings.log_level)
    raise_open_files()
    share_heaps()
    uvloop.run(_work(settings, at_once))
    return 0


async def _work(settings: Settings, at_once: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    archive = await open_archive(settings)
    decoders = DecoderPool()
    try:
        await archive.database.write(ensure_default)
        jobs = Background(Repository(archive), settings, decoders, is_worker=True, at_once=at_once)
        await jobs.start()
        relax_collector()
        print("lamella worker ready", flush=True)
        await stop.wait()
        logger.info("stopping")
        await jobs.stop()
    finally:
        await decoders.close()
        await archive.close()

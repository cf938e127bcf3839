"""An opened installation, for the time of one command."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from lamella.settings import Settings
    from lamella.vcs.repository import Repository

T = TypeVar("T")


def run_on_repository(settings: Settings, work: Callable[[Repository], Awaitable[T]]) -> T:
    """Open the installation, run `work` on it, close it; return what `work` returned.

    A data folder that does not exist yet is made. A running server is no hindrance. SIGTERM
    stops the work as Ctrl-C does.

    Raises:
        LamellaError: What opening or `work` raised.
        KeyboardInterrupt: The command was stopped.
    """

    async def run() -> T:
        _stop_on_sigterm()
        async with open_repository(settings) as repository:
            return await work(repository)

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@asynccontextmanager
async def open_repository(settings: Settings) -> AsyncIterator[Repository]:
    """Open the installation that settings name, with its dataset `default`.

    Raises:
        InvalidRequest: The data folder is not Lamella's.
        OutOfResources: It cannot be used.
    """
    from lamella.archive.installation import open_archive
    from lamella.errors import RevisionNotFound
    from lamella.vcs.datasets import ensure_default
    from lamella.vcs.refs import DEFAULT_DATASET, find_dataset
    from lamella.vcs.repository import Repository

    archive = await open_archive(settings)
    try:
        try:
            await archive.database.read(lambda c: find_dataset(c, DEFAULT_DATASET))
        except RevisionNotFound:
            await archive.database.write(ensure_default)
        yield Repository(archive)
    finally:
        await archive.close()


def _stop_on_sigterm() -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)

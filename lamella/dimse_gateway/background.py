"""Work in a thread of its own that asks the event loop for what it needs, and can be stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Stopped(Exception):
    """The work was cancelled; what it has done so far holds."""


class Background:
    """Runs blocking work beside the event loop that makes this."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_stopped = False

    async def run(self, work: Callable[[], None]) -> None:
        """Run it in a thread; when cancelled, wait until it has stopped in good order."""
        task = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self._is_stopped = True
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # it is known why
            raise

    def ask(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run work on the event loop and wait for it; called in the thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def check(self) -> None:
        """Return if the work shall go on; called in the thread.

        Raises:
            Stopped: It shall not.
        """
        if self._is_stopped:
            raise Stopped

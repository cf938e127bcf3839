"""Work in threads that is never abandoned half-way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread; a cancelled caller waits until it has ended.

    Work on open files must not outlive what owns them: a descriptor that is closed while a
    thread still writes to its number may by then belong to another file.
    """
    loop = asyncio.get_running_loop()
    return await finish(loop.run_in_executor(None, partial(work, *args, **kwargs)))


async def finish(future: asyncio.Future[T]) -> T:
    """Wait for work in a thread; a cancelled caller waits until it has ended."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):  # asked again: it is on its way
                await asyncio.wait([future])
        raise

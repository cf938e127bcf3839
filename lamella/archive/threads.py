"""Work in threads that is never abandoned half-way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from traceback import clear_frames
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread; a cancelled caller waits until it has ended.

    Work on open files must not outlive what owns them: a descriptor that is closed while a
    thread still writes to its number may by then belong to another file.
    """
    loop = asyncio.get_running_loop()
    return await finish(loop.run_in_executor(None, _run, partial(work, *args, **kwargs)))


def release_locals(error: BaseException) -> None:
    """Let go of what the functions that an error has left behind were working on.

    An error knows its traceback, and that all local variables on its way. Somebody who handles it
    mostly knows the error, so all of them go round in a circle until the collector comes by,
    which may be many requests later: for a file of 100,000 elements that is 20 MB.
    """
    known: set[int] = set()
    left: BaseException | None = error
    while left is not None and id(left) not in known:
        known.add(id(left))
        clear_frames(left.__traceback__)
        left = left.__cause__ or left.__context__


def _run(work: Callable[[], T]) -> T:
    try:
        return work()
    except BaseException as error:
        release_locals(error)
        raise


async def finish(future: asyncio.Future[T]) -> T:
    """Wait for work in a thread; a cancelled caller waits until it has ended."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):  # asked again: it is on its way
                await asyncio.wait([future])
        raise

"""Work in threads: never abandoned half-way, and no thread woken where one waits already.

Code of the archive is written once, in coroutines. Most of them run on the event loop; a thread
that has nothing to do but wait for one may run it itself (`run_here`): what the coroutine waits
for then blocks that thread. That spares four wake-ups an instance, which over eight associations
are an eighth of what C-STORE takes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from traceback import walk_tb
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LOOK_AGAIN_S = 0.002
_SUSPENDED = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR

_of_thread = threading.local()


def run_here(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in this thread, which has no event loop.

    It may wait by means of this module only, and of what is built on them: `Database.read` and
    `write` where the database works in threads, packs in a folder, and intakes.

    Raises:
        RuntimeError: It waited for something else, and has not ended.
    """
    _of_thread.is_blocking = True
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        _of_thread.is_blocking = False
        work.close()
    raise RuntimeError("A coroutine waited for an event loop in a thread that has none.")


def runs_here() -> bool:
    """Tell whether the calling coroutine runs in a thread without an event loop."""
    return getattr(_of_thread, "is_blocking", False)


async def wait_for(future: Future[T]) -> T:
    """Return what another thread makes; a cancelled caller cancels that if it has not begun."""
    if runs_here():
        return future.result()
    return await asyncio.wrap_future(future)


async def outwait(future: Future[Any]) -> None:
    """Wait until another thread is done with something, whatever comes of it."""
    if runs_here():
        wait([future])
    else:
        await asyncio.wait([asyncio.wrap_future(future)])


def find_caller() -> Callable[..., object]:
    """Return what calls something from any thread, in the calling coroutine's event loop if any."""
    if runs_here():
        return _call
    return asyncio.get_running_loop().call_soon_threadsafe


async def run_in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread; a cancelled caller waits until it has ended.

    Work on open files must not outlive what owns them: a descriptor that is closed while a
    thread still writes to its number may by then belong to another file.
    """
    if runs_here():
        return _run(partial(work, *args, **kwargs))
    loop = asyncio.get_running_loop()
    return await finish(loop.run_in_executor(None, _run, partial(work, *args, **kwargs)))


def release_locals(error: BaseException) -> None:
    """Let go of what the functions that an error has left behind were working on.

    An error knows its traceback, and that all local variables on its way. Somebody who handles it
    mostly knows the error, so all of them go round in a circle until the collector comes by,
    which may be many requests later: for a file of 100,000 elements that is 20 MB.

    Generators and coroutines keep theirs: an error that several wait for has been through some that
    handle it and wait for something else now; letting go would end them.
    """
    known: set[int] = set()
    left: BaseException | None = error
    while left is not None and id(left) not in known:
        known.add(id(left))
        for frame, _ in walk_tb(left.__traceback__):
            if not frame.f_code.co_flags & _SUSPENDED:
                with suppress(RuntimeError):  # it is at work
                    frame.clear()
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


def _call(work: Callable[..., object], *args: object) -> None:
    work(*args)


class SharedLock:
    """A lock for coroutines of an event loop and of threads alike; it is seldom held for long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    async def __aenter__(self) -> None:
        if runs_here():
            self._lock.acquire()
            return
        while not self._lock.acquire(blocking=False):  # noqa: ASYNC110  (of threads, too)
            await asyncio.sleep(LOOK_AGAIN_S)

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()

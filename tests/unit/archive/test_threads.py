"""Coroutines on an event loop and in threads without one, and what is left of work that fails."""

from __future__ import annotations

import asyncio
import threading
import weakref
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from lamella.archive.blocks import Block, BlockPool
from lamella.archive.threads import (
    SharedLock,
    outwait,
    release_locals,
    run_here,
    run_in_thread,
    wait_for,
)


async def _ask_for_thread() -> int:
    return await run_in_thread(threading.get_ident)


def test_work_for_a_thread_is_done_by_the_one_that_waits() -> None:
    assert run_here(_ask_for_thread()) == threading.get_ident()


async def test_work_for_a_thread_leaves_the_event_loop() -> None:
    assert await _ask_for_thread() != threading.get_ident()


def test_a_thread_waits_for_what_another_makes() -> None:
    future: Future[str] = Future()
    threading.Timer(0.05, future.set_result, ["made"]).start()
    assert run_here(wait_for(future)) == "made"


def test_what_a_coroutine_raises_comes_out() -> None:
    future: Future[None] = Future()
    future.set_exception(OSError("no room"))
    run_here(outwait(future))
    with pytest.raises(OSError, match="no room"):
        run_here(wait_for(future))


def test_a_thread_has_no_event_loop_to_wait_for() -> None:
    has_ended = False

    async def yield_to_loop() -> None:
        nonlocal has_ended
        try:
            await asyncio.sleep(0)
        finally:
            has_ended = True

    with pytest.raises(RuntimeError, match="event loop"):
        run_here(yield_to_loop())
    assert has_ended
    assert run_here(_ask_for_thread()) == threading.get_ident()


async def test_one_at_a_time_has_a_shared_lock() -> None:
    lock, inside, most = SharedLock(), 0, 0

    async def enter(*, waits: bool) -> None:
        nonlocal inside, most
        async with lock:
            inside += 1
            most = max(most, inside)
            if waits:
                await asyncio.sleep(0.001)
            inside -= 1

    def enter_often() -> None:
        for _ in range(200):
            run_here(enter(waits=False))

    with ThreadPoolExecutor(3) as threads:
        loop = asyncio.get_running_loop()
        others = [loop.run_in_executor(threads, enter_often) for _ in range(3)]
        for _ in range(20):
            await enter(waits=True)
        await asyncio.gather(*others)
    assert (most, inside) == (1, 0)


async def test_threads_and_an_event_loop_share_blocks() -> None:
    pool, users = BlockPool(most=2), dict[Block, int]()
    n_used, n_clashes = 0, 0
    counting = threading.Lock()

    async def use() -> None:
        nonlocal n_used, n_clashes
        block = await pool.take()
        with counting:
            users[block] = users.get(block, 0) + 1
            n_clashes += users[block] > 1
            n_used += 1
        await run_in_thread(int)
        with counting:
            users[block] -= 1
        pool.give_back(block)

    def use_often() -> None:
        for _ in range(200):
            run_here(use())

    with ThreadPoolExecutor(4) as threads:
        loop = asyncio.get_running_loop()
        others = [loop.run_in_executor(threads, use_often) for _ in range(4)]
        await asyncio.gather(*(use() for _ in range(100)))
        await asyncio.gather(*others)
    assert (n_used, n_clashes) == (900, 0)
    assert len(users) <= 2
    assert not pool.is_wanted


class Elements:
    """Something large that a parser was about to return."""


def read(seen: list[weakref.ref[Elements]]) -> Elements:
    elements = Elements()
    seen.append(weakref.ref(elements))
    check(elements)
    return elements


def check(elements: Elements) -> None:
    try:
        raise ValueError(id(elements))
    except ValueError as error:
        raise LookupError("refused") from error


async def test_an_error_from_a_thread_does_not_hold_what_was_worked_on() -> None:
    seen: list[weakref.ref[Elements]] = []

    with pytest.raises(LookupError) as caught:
        await run_in_thread(read, seen)

    assert caught.value.__traceback__ is not None
    assert isinstance(caught.value.__cause__, ValueError)
    assert [one() for one in seen] == [None]


async def test_who_handles_an_error_that_others_get_as_well_goes_on() -> None:
    shared = LookupError()

    async def fail() -> None:
        raise shared

    async def try_again(others: asyncio.Event) -> str:
        try:
            await fail()
        except LookupError:
            await others.wait()
        return "done"

    others = asyncio.Event()
    task = asyncio.create_task(try_again(others))
    await asyncio.sleep(0)
    assert shared.__traceback__ is not None
    with pytest.raises(LookupError):
        await run_in_thread(raise_error, shared)
    others.set()
    assert await asyncio.wait_for(task, 30) == "done"


def raise_error(error: Exception) -> None:
    raise error


def test_errors_that_are_each_others_cause_are_released() -> None:
    first, second = ValueError(), LookupError()
    first.__cause__, second.__cause__ = second, first
    seen: list[weakref.ref[Elements]] = []
    try:
        read(seen)
    except LookupError as error:
        error.__cause__ = first
        release_locals(error)
    assert [one() for one in seen] == [None]

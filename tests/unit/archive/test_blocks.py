"""Blocks: few, shared out in turn, never lost."""

from __future__ import annotations

import asyncio

import pytest

from lamella.archive.blocks import PAGE_BYTES, BlockPool, round_up
from lamella.errors import OutOfResources


async def test_blocks_are_used_again() -> None:
    pool = BlockPool(most=3)
    blocks = [await pool.take() for _ in range(3)]
    for block in blocks:
        pool.give_back(block)
    assert await pool.take() is blocks[-1]


async def test_who_finds_none_waits_for_a_turn() -> None:
    pool = BlockPool(most=1)
    block = await pool.take()
    order: list[int] = []

    async def use(number: int) -> None:
        mine = await pool.take()
        assert mine is block
        order.append(number)
        await asyncio.sleep(0)
        pool.give_back(mine)

    tasks = [asyncio.create_task(use(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert order == []
    pool.give_back(block)
    await asyncio.gather(*tasks)
    assert order == list(range(5))


async def test_too_many_do_not_wait() -> None:
    pool = BlockPool(most=1, most_waiting=2)
    block = await pool.take()
    waiting = [asyncio.create_task(pool.take()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OutOfResources):
        await pool.take()
    pool.give_back(block)
    assert await waiting[0] is block
    pool.give_back(block)
    assert await waiting[1] is block


@pytest.mark.parametrize("is_granted", [False, True], ids=["waiting", "just granted"])
async def test_who_gives_up_takes_no_block_along(is_granted: bool) -> None:
    pool = BlockPool(most=1)
    block = await pool.take()
    waiting = asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    if is_granted:
        pool.give_back(block)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    if not is_granted:
        pool.give_back(block)
    assert await asyncio.wait_for(pool.take(), 5) is block


def test_sizes_are_whole_pages() -> None:
    sizes = (0, 1, PAGE_BYTES, PAGE_BYTES + 1)
    assert [round_up(size) // PAGE_BYTES for size in sizes] == [0, 1, 1, 2]

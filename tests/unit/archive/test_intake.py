"""Intakes that share few blocks: nobody waits for a slow sender, and nothing is mixed up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from lamella.archive import blocks
from lamella.archive.blobs import Blobs
from lamella.archive.blocks import BlockPool
from lamella.archive.installation import Archive, open_archive
from lamella.archive.instances import Received
from lamella.archive.intake import Intake
from lamella.errors import InvalidInstance
from lamella.settings import Settings
from lamella.vcs.datasets import ensure_default
from lamella.vcs.refs import find_dataset
from tests.harness.samples import make_instance


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    """An archive that has one block."""
    opened = await open_archive(Settings(data_dir=tmp_path / "data"))
    await opened.database.write(ensure_default)
    yield replace(opened, blocks=BlockPool(most=1))
    await opened.close()


class SlowSender:
    """Sends half of a file, and the rest when it is told to."""

    def __init__(self, data: bytes) -> None:
        self.may_go_on = asyncio.Event()
        self._data = data

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the file in four pieces."""
        size = len(self._data) // 4 + 1
        for start in range(0, len(self._data), size):
            if start == 2 * size:
                await self.may_go_on.wait()
            yield self._data[start : start + size]


async def keep(archive: Archive, intake: Intake) -> None:
    """Make an intake durable and write its rows."""
    owner = await archive.database.read(lambda c: find_dataset(c, "default"))
    await intake.write_packs()
    await archive.database.write(lambda c: intake.record(c, owner.id, 1), intake.record_places)
    intake.close()


async def read(archive: Archive, received: Received) -> bytes:
    """Return an instance's bytes as they are stored."""
    segments = [(segment.digest, segment.length) for segment in received.facts.segments]
    chunks = Blobs(archive.database, archive.packs).stream(segments)
    return b"".join([chunk async for chunk in chunks])


async def yield_once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def make_file(number: int, side: int = 64) -> bytes:
    return make_instance(sop=f"1.2.3.1.{number}", rows=side, columns=side, fill=number)


@pytest.mark.parametrize("side", [64, 1024], ids=["short", "longer than the block"])
async def test_a_slow_sender_loses_its_block_to_who_waits(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    monkeypatch.setattr(blocks, "PATIENCE_S", 0.01)
    monkeypatch.setattr(blocks, "SLOW_BYTES", 1 << 40)
    slow = SlowSender(make_file(1, side))
    first = Intake(archive)
    before = await first.add(yield_once(make_file(2)))
    receiving = asyncio.create_task(first.add(slow.chunks()))

    second = Intake(archive)
    other = await second.add(yield_once(make_file(3)))  # waits until the slow one has left
    await keep(archive, second)
    slow.may_go_on.set()
    late = await receiving
    after = await first.add(yield_once(make_file(4)))
    await keep(archive, first)

    for number, received, length in (
        (1, late, side),
        (2, before, 64),
        (3, other, 64),
        (4, after, 64),
    ):
        assert await read(archive, received) == make_file(number, length)


async def test_who_is_slow_keeps_its_block_while_nobody_waits(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "PATIENCE_S", 0.001)
    slow = SlowSender(make_file(1))
    intake = Intake(archive)
    receiving = asyncio.create_task(intake.add(slow.chunks()))
    await asyncio.sleep(0.05)
    slow.may_go_on.set()
    received = await receiving
    assert list(archive.spool_folder.glob("*.spool")) == []
    await keep(archive, intake)
    assert await read(archive, received) == make_file(1)


async def test_a_refused_instance_leaves_its_neighbours_alone(archive: Archive) -> None:
    intake = Intake(archive)
    kept: list[tuple[int, int, Received]] = []
    for number, side in ((1, 64), (2, 600), (3, 1024), (4, 700), (5, 64)):
        kept.append((number, side, await intake.add(yield_once(make_file(number, side)))))
        for junk in (b"junk" * 100, b"junk" * 600_000):
            with pytest.raises(InvalidInstance):
                await intake.add(yield_once(junk))
    await keep(archive, intake)
    for number, side, received in kept:
        assert await read(archive, received) == make_file(number, side)


@pytest.mark.parametrize("sides", [(64, 100, 64), (300, 700, 64), (64, 64, 1024)])
async def test_nothing_stays_of_what_is_refused_between_others(
    archive: Archive, sides: tuple[int, int, int]
) -> None:
    intake = Intake(archive)
    kept, junk = [], []
    for number, side in enumerate(sides):
        kept.append(await intake.take(yield_once(make_file(number, side))))
        junk.append(await intake.take(yield_once(b"secret" * 1000)))
    await intake.read_taken()
    for taken in junk:
        with pytest.raises(InvalidInstance):
            taken.result()
    await keep(archive, intake)
    for number, (side, taken) in enumerate(zip(sides, kept, strict=True)):
        assert await read(archive, taken.result()) == make_file(number, side)
    await archive.packs.close()
    packs = [path for path in archive.spool_folder.parent.rglob("*") if path.is_file()]
    assert packs
    assert all(b"secret" not in path.read_bytes() for path in packs)


async def test_many_small_instances_are_read_together(archive: Archive) -> None:
    intake = Intake(archive)
    taken = [await intake.take(yield_once(make_file(number, 8))) for number in range(200)]
    await intake.read_taken()
    await keep(archive, intake)
    for number, one in enumerate(taken):
        assert await read(archive, one.result()) == make_file(number, 8)


async def test_what_is_known_is_not_kept_twice(archive: Archive) -> None:
    first, second = Intake(archive), Intake(archive)
    await first.add(yield_once(make_file(1, 256)))
    await keep(archive, first)
    changed = make_instance(
        sop="1.2.3.1.1", rows=256, columns=256, fill=1, StudyDescription="another header"
    )
    received = await second.add(yield_once(changed))
    await keep(archive, second)
    assert await read(archive, received) == changed
    (held,) = [info.size_bytes async for info in archive.packs.list()]
    assert held < len(make_file(1, 256)) + 3 * blocks.PAGE_BYTES


async def test_all_blocks_come_back(archive: Archive) -> None:
    for _ in range(3):
        stored, dropped, refused = Intake(archive), Intake(archive), Intake(archive)
        await stored.add(yield_once(make_file(1)))
        await keep(archive, stored)
        await dropped.add(yield_once(make_file(2)))
        dropped.close()
        with pytest.raises(InvalidInstance):
            await refused.add(yield_once(b"junk"))
        refused.close()
    block = await asyncio.wait_for(archive.blocks.take(), 10)
    archive.blocks.give_back(block)

"""Things that are made once, kept, and made again when they were forgotten."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lamella.archive.derived_cache import DerivedCache
from lamella.dicomweb.renditions import Renditions, name_rendition
from lamella.errors import IntegrityError


class Maker:
    """Counts how often it is asked."""

    def __init__(self, data: bytes = b"picture", error: Exception | None = None) -> None:
        self.calls = 0
        self._data, self._error = data, error

    async def __call__(self) -> bytes:
        self.calls += 1
        await asyncio.sleep(0.01)
        if self._error is not None:
            raise self._error
        return self._data


async def settle(folder: Path, count: int) -> None:
    """Wait until so many files were written."""
    async with asyncio.timeout(20):
        while len(list(folder.glob("[0-9a-z]"))) < count:
            await asyncio.sleep(0.01)


async def test_what_many_ask_for_at_once_is_made_once():
    renditions, make = Renditions(), Maker()
    answers = await asyncio.gather(*(renditions.get("a", make) for _ in range(20)))
    assert set(answers) == {b"picture"}
    assert make.calls == 1
    assert renditions.recall("a") == b"picture"
    assert renditions.recall("b") is None


async def test_a_client_that_leaves_does_not_take_it_from_the_others():
    renditions, make = Renditions(), Maker()
    first = asyncio.create_task(renditions.get("a", make))
    second = asyncio.create_task(renditions.get("a", make))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == b"picture"
    assert make.calls == 1


async def test_a_failure_reaches_all_that_wait_and_is_not_kept():
    renditions = Renditions()
    broken = Maker(error=IntegrityError("The frame is broken."))
    answers = await asyncio.gather(
        *(renditions.get("a", broken) for _ in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [IntegrityError] * 3
    assert broken.calls == 1
    assert await renditions.get("a", Maker()) == b"picture"


async def test_what_is_on_the_shelf_outlives_the_process(tmp_path: Path):
    folder, make = tmp_path / "renditions-1", Maker()
    assert await Renditions(DerivedCache(folder)).get("a", make) == b"picture"
    await settle(folder, 1)
    assert await Renditions(DerivedCache(folder)).get("a", make) == b"picture"
    assert make.calls == 1
    (folder / "a").write_bytes(b"damaged")
    assert await Renditions(DerivedCache(folder)).get("a", make) == b"picture"
    assert make.calls == 2


async def test_memory_is_bounded(tmp_path: Path):
    renditions = Renditions(memory_bytes=1000)
    makers = {str(n): Maker(bytes(300)) for n in range(6)}
    for name, make in makers.items():
        await renditions.get(name, make)
    assert [name for name in makers if renditions.recall(name)] == ["3", "4", "5"]


def test_names_tell_everything_apart_that_decides_how_a_thing_looks():
    names = {
        name_rendition(key, kind, *details)
        for key in (b"a", b"b")
        for kind in ("picture", "encoded")
        for details in ((0, {"quality": 90}), (1, {"quality": 90}), (0, {"quality": 91}), (0,))
    }
    assert len(names) == 16

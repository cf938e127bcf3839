"""Rounds go on whatever a round does, and say what is wrong once."""

from __future__ import annotations

import asyncio
import logging

import pytest

from lamella.archive.rounds import Rounds
from lamella.errors import OutOfResources

LOGGER = logging.getLogger("lamella.test_rounds")


async def run(work: list[Exception | None], **options: bool) -> int:
    """Let rounds end as they are told; return how many there were."""
    over = asyncio.Event()
    n_rounds = 0

    async def take() -> None:
        nonlocal n_rounds
        n_rounds += 1
        outcome = work.pop(0)
        if not work:
            over.set()
        if outcome is not None:
            raise outcome

    rounds = Rounds(take, 0.001, LOGGER, "it waits", details={"kind": "x"}, **options)
    rounds.start()
    await over.wait()
    await rounds.stop()
    return n_rounds


async def test_it_goes_on_after_errors_of_any_kind(caplog: pytest.LogCaptureFixture) -> None:
    assert await run([OutOfResources("Gone."), KeyError("x"), None, None]) == 4
    assert [record.getMessage() for record in caplog.records] == ["it waits: Gone.", "it waits"]
    assert {record.__dict__["kind"] for record in caplog.records} == {"x"}


async def test_the_same_trouble_is_told_once_while_it_lasts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trouble = [OutOfResources("Gone."), OutOfResources("Gone."), OutOfResources("Full.")]
    await run([*trouble, None, OutOfResources("Full."), None])
    told = [record.getMessage() for record in caplog.records]
    assert told == ["it waits: Gone.", "it waits: Full.", "it waits: Full."]


async def test_what_was_never_started_can_be_stopped() -> None:
    await Rounds(asyncio.Event().wait, 1, LOGGER, "it waits").stop()


async def test_it_stops_in_the_midst_of_a_round() -> None:
    begun = asyncio.Event()

    async def take() -> None:
        begun.set()
        await asyncio.Event().wait()

    rounds = Rounds(take, 1, LOGGER, "it waits")
    rounds.start()
    await begun.wait()
    await rounds.stop()


async def test_the_pause_may_come_first() -> None:
    began = asyncio.Event()

    async def take() -> None:
        began.set()

    rounds = Rounds(take, 3600, LOGGER, "it waits", pauses_first=True)
    rounds.start()
    await asyncio.sleep(0.01)
    await rounds.stop()
    assert not began.is_set()

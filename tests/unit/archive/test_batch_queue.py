"""A line of work: done together where it waits, and never stopped by who waits for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from lamella.archive.batch_queue import MOST_TOGETHER, BatchQueue, Job
from lamella.archive.blocks import Block
from lamella.archive.packs.growing import GrowingPack, PackGrower

WAIT_S = 20


class Doubler:
    """Doubles numbers, and refuses odd ones; waits at 0 until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.prepared, self.followed = 0, 0
        self.may_prepare = threading.Event()
        self.may_prepare.set()
        self.started, self.gate = threading.Event(), threading.Event()
        self.queue: BatchQueue[int, int] = BatchQueue(
            "doubler", self._double_all, self._double, self._prepare, self._follow
        )

    def hold(self) -> None:
        """Have the thread stand still at a first piece of work."""
        self.queue.submit(0)
        assert self.started.wait(WAIT_S)

    def _double_all(self, jobs: Sequence[Job[int, int]]) -> None:
        for job in jobs:
            job.result = self._double(job.item)
        self.batches.append([job.item for job in jobs])

    def _double(self, number: int) -> int:
        if number == 0:
            self.started.set()
            self.gate.wait(WAIT_S)
        if number % 2:
            raise ValueError(f"{number} is odd")
        return 2 * number

    def _prepare(self) -> None:
        self.prepared += 1
        self.may_prepare.wait(WAIT_S)

    def _follow(self) -> None:
        self.followed += 1


@pytest.fixture
def doubler() -> Iterator[Doubler]:
    made = Doubler()
    yield made
    made.gate.set()
    made.queue.close()


def test_what_waits_is_done_together(doubler: Doubler) -> None:
    doubler.hold()
    waiting = [doubler.queue.submit(number) for number in range(2, 100, 2)]
    doubler.gate.set()
    assert [future.result(WAIT_S) for future in waiting] == list(range(4, 200, 4))
    doubler.queue.close()
    assert [len(batch) for batch in doubler.batches] == [MOST_TOGETHER, 49 - MOST_TOGETHER]
    assert doubler.followed == 3, "once for each batch, that of one too"


def test_what_comes_during_preparations_joins(doubler: Doubler) -> None:
    doubler.may_prepare.clear()
    futures = [doubler.queue.submit(number) for number in (2, 4, 6)]
    doubler.may_prepare.set()
    assert [future.result(WAIT_S) for future in futures] == [4, 8, 12]
    doubler.queue.close()
    assert doubler.batches == [[2, 4, 6]]
    assert (doubler.prepared, doubler.followed) == (1, 1)


def test_a_failure_stays_with_its_own_piece(doubler: Doubler) -> None:
    doubler.hold()
    waiting = [doubler.queue.submit(number) for number in (2, 3, 4)]
    doubler.gate.set()
    assert (waiting[0].result(WAIT_S), waiting[2].result(WAIT_S)) == (4, 8)
    with pytest.raises(ValueError, match="3 is odd"):
        waiting[1].result(WAIT_S)


def test_who_goes_away_stops_nobody(doubler: Doubler) -> None:
    doubler.hold()
    waiting = [doubler.queue.submit(number) for number in (2, 4, 6)]
    assert waiting[1].cancel()
    doubler.gate.set()
    assert (waiting[0].result(WAIT_S), waiting[2].result(WAIT_S)) == (4, 12)
    with pytest.raises(CancelledError):
        waiting[1].result(WAIT_S)
    doubler.queue.close()
    assert doubler.batches == [[2, 6]], "nobody wants what was cancelled"


def test_work_in_line_is_done_before_a_close(doubler: Doubler) -> None:
    doubler.hold()
    waiting = [doubler.queue.submit(number) for number in range(2, 80, 2)]
    doubler.gate.set()
    doubler.queue.close()
    assert all(future.done() for future in waiting)


def test_a_growing_pack_outlives_a_store_that_is_cancelled(tmp_path: Path) -> None:
    started, gate = threading.Event(), threading.Event()

    def open_slowly(name: str) -> GrowingPack:
        started.set()
        gate.wait(WAIT_S)
        return GrowingPack(name, tmp_path / name)

    grower = PackGrower(open_slowly)
    block = Block()
    first = grower.submit(block, 10)
    assert started.wait(WAIT_S)
    cancelled, last = grower.submit(block, 20), grower.submit(block, 30)
    cancelled.cancel()
    gate.set()
    places = [future.result(WAIT_S) for future in (first, last, grower.submit(block, 40))]
    grower.close()
    assert [place.offset_bytes for place in places] == [0, 4096, 8192]

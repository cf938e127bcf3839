"""`cut.v1` is frozen: the golden vectors say what it gave on the day it was written."""

import json
from pathlib import Path

import pytest

from lamella.archive.cut import cut
from lamella.archive.source import MemorySource

GOLDEN = json.loads((Path(__file__).parent / "golden" / "cuts.json").read_text())


class CountingSource(MemorySource):
    """A source that counts how often and how much it is read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads = 0
        self.bytes_read = 0

    def read_at(self, offset: int, length: int) -> bytes:
        taken = super().read_at(offset, length)
        self.reads += 1
        self.bytes_read += len(taken)
        return taken


def build(runs: list[list]) -> bytes:
    return b"".join(bytes.fromhex(piece) * count for piece, count in runs)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_golden_vector(case):
    data = build(case["file"])
    segments = cut(MemorySource(data))
    assert [list(segment) for segment in segments] == case["segments"]
    assert b"".join(data[offset : offset + length] for offset, length in segments) == data


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_every_truncation_is_still_the_whole_file(case):
    data = build(case["file"])
    for size in {len(data) * step // 7 for step in range(7)} | {max(len(data) - 1, 0)}:
        part = data[:size]
        segments = cut(MemorySource(part))
        assert b"".join(part[offset : offset + length] for offset, length in segments) == part


def test_large_values_are_not_read():
    case = next(case for case in GOLDEN if case["name"] == "explicit native with tail")
    data = build(case["file"])
    grown = data.replace(
        b"\x00\x00\x01\x00" + b"\x07" * 65536, b"\x00\x00\x00\x01" + b"\x07" * 2**24
    )
    assert len(grown) > 2**24
    source = CountingSource(grown)
    assert [length for _, length in cut(source)][2] == 2**24
    assert source.reads < 6
    assert source.bytes_read < 300_000

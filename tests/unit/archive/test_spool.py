"""Spools against a model: whatever comes, is kept or dropped, the file holds what was kept."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamella.archive.blocks import PAGE_BYTES, Block
from lamella.archive.spool import Spool, remove_leftovers
from lamella.errors import OutOfResources
from tests.crash.faults import short_files

BLOCK_BYTES = 4 * PAGE_BYTES
LENGTHS = st.one_of(
    st.integers(0, 100),
    st.integers(0, 3 * BLOCK_BYTES),
    st.sampled_from([PAGE_BYTES, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES]),
)
FATES = st.sampled_from(["kept", "dropped on the way", "dropped once it was there"])
INSTANCES = st.lists(st.tuples(st.lists(LENGTHS, max_size=3), FATES), max_size=8)


@given(instances=INSTANCES)
@settings(deadline=None)
def test_a_sealed_file_is_what_was_kept(instances: list[tuple[list[int], str]]) -> None:
    with TemporaryDirectory() as folder:
        spool = Spool(Path(folder), Block(BLOCK_BYTES))
        kept = bytearray()
        for number, (lengths, fate) in enumerate(instances):
            if spool.is_short_of_room:
                spool.make_room()
            expected = b"".join(
                bytes([16 * number + index]) * length for index, length in enumerate(lengths)
            )
            for index, length in enumerate(lengths):
                spool.write(bytes([16 * number + index]) * length)
            if fate == "dropped on the way":
                spool.drop()
                continue
            assert spool.keep() == len(kept)
            source = spool.source(len(kept), spool.size_bytes)
            assert source.read_at(0, source.size) == expected
            assert source.read_at(1, 10) == expected[1:11]
            if fate == "kept":
                kept += expected
            else:
                assert spool.drop_last(len(kept), spool.size_bytes)
        assert spool.size_bytes == len(kept)
        if spool.is_in_memory:
            assert len(kept) <= BLOCK_BYTES
            assert bytes(spool.block.view[: len(kept)]) == kept
            assert list(Path(folder).iterdir()) == []
        spool.seal()
        spool.block.view[:] = bytes(BLOCK_BYTES)
        assert spool.path.read_bytes() == kept
        spool.close()
        assert list(Path(folder).iterdir()) == []


def test_a_copy_holds_the_ranges_that_are_wanted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Block(BLOCK_BYTES))
    data = bytes(range(256)) * (BLOCK_BYTES // 100)
    spool.write(data)
    spool.keep()
    spool.seal()
    copy = spool.copy_ranges([(5, 100), (3000, 0), (4000, 20_000)])
    spool.close()
    assert copy.read_bytes() == data[5:105] + data[4000:24_000]


def test_a_spool_in_memory_is_compacted_in_place(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Block(BLOCK_BYTES))
    data = bytes(range(250)) * 40
    spool.write(data)
    spool.keep()
    spool.compact([(10, 5000), (6000, 3), (7000, 3000)])
    expected = data[10:5010] + data[6000:6003] + data[7000:10_000]
    assert spool.size_bytes == len(expected)
    assert bytes(spool.block.view[: len(expected)]) == expected


def test_a_full_disk_is_named_and_what_was_kept_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Block(BLOCK_BYTES))
    spool.write(b"kept" * 1000)
    spool.keep()
    with short_files(2 * BLOCK_BYTES), pytest.raises(OutOfResources):
        spool.write(bytes(10 * BLOCK_BYTES))
    spool.drop()
    spool.seal()
    assert spool.path.read_bytes() == b"kept" * 1000
    spool.close()


def test_only_leftovers_are_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Block(BLOCK_BYTES))
    spool.write(bytes(2 * BLOCK_BYTES))
    (tmp_path / "left.spool").write_bytes(b"cut off")
    assert remove_leftovers(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [spool.path]
    spool.close()

"""The cache of packs' chunks: whole or absent, within its bound, shared by processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lamella.archive.packs.s3.chunk_cache import ChunkCache
from lamella.archive.packs.store import name_pack

LIMIT_BYTES = 1 << 20
CHUNK = 10_000


def keep(cache: ChunkCache, name: str, index: int, fill: int) -> None:
    cache.keep(name, index, memoryview(bytes([fill]) * CHUNK))


def list_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def measure(folder: Path) -> int:
    return sum(path.stat().st_size for path in list_files(folder))


@pytest.fixture
def cache(tmp_path: Path) -> ChunkCache:
    return ChunkCache(tmp_path / "cache", LIMIT_BYTES)


def test_what_is_kept_is_read_by_every_process(cache: ChunkCache, tmp_path: Path) -> None:
    name = name_pack()
    keep(cache, name, 3, 7)
    assert cache.read(name, 2, 0, 5) is None
    for reader in (cache, ChunkCache(tmp_path / "cache", LIMIT_BYTES)):
        assert reader.read_open(name, 3, 0, 5) is None
        assert reader.read(name, 3, 100, 105) == b"\x07" * 5
        assert reader.read_open(name, 3, 0, 5) == b"\x07" * 5
        assert reader.read_open(name, 3, CHUNK - 2, CHUNK + 9) == b"\x07" * 2
        assert reader.read(name, 3, 0, CHUNK + 9) == b"\x07" * CHUNK
        reader.close()


@pytest.mark.parametrize("damage", ["empty", "cut", "zeros", "flipped", "another", "longer"])
def test_a_damaged_file_counts_as_absent_and_goes(
    cache: ChunkCache, tmp_path: Path, damage: str
) -> None:
    name = name_pack()
    keep(cache, name, 0, 1)
    (path,) = list_files(tmp_path)
    keep(cache, name, 1, 1)
    other = next(one for one in list_files(tmp_path) if one != path)
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[:-1],
            "zeros": bytes(len(content)),
            "flipped": content[:50] + bytes([content[50] ^ 1]) + content[51:],
            "another": other.read_bytes(),
            "longer": content + b"x",
        }[damage]
    )
    assert cache.read(name, 0, 0, 10) is None
    assert not path.exists()
    assert cache.read(name, 1, 0, 1) == b"\x01"
    cache.close()


def test_the_bound_holds_and_what_was_used_last_stays(cache: ChunkCache, tmp_path: Path) -> None:
    first = name_pack()
    keep(cache, first, 0, 0)
    for number in range(400):
        keep(cache, name_pack(), number, number % 251)
        (path,) = (tmp_path / "cache" / first[:2]).glob(f"{first[2:]}-*")
        os.utime(path)  # as a reader does once a minute
        assert measure(tmp_path) <= LIMIT_BYTES
    assert measure(tmp_path) > LIMIT_BYTES // 2
    assert cache.read(first, 0, 0, 1) == b"\x00"
    cache.close()


def test_several_processes_stay_within_the_bound(tmp_path: Path) -> None:
    caches = [ChunkCache(tmp_path / "cache", LIMIT_BYTES) for _ in range(6)]
    for number in range(600):
        keep(caches[number % 6], name_pack(), 0, 1)
        assert measure(tmp_path) <= LIMIT_BYTES


def test_a_reader_notes_what_it_uses(cache: ChunkCache, tmp_path: Path) -> None:
    name = name_pack()
    keep(cache, name, 0, 1)
    (path,) = list_files(tmp_path)
    os.utime(path, (1_000_000, 1_000_000))
    assert cache.read(name, 0, 0, 1) == b"\x01"
    assert path.stat().st_mtime > 1_000_000
    cache.close()


def test_a_dropped_pack_is_gone_and_the_others_stay(cache: ChunkCache) -> None:
    gone, stays = name_pack(), name_pack()
    for index in range(3):
        keep(cache, gone, index, 1)
        keep(cache, stays, index, 2)
        assert cache.read(gone, index, 0, 1) == b"\x01"
    cache.drop(gone)
    assert [cache.read(gone, index, 0, 1) for index in range(3)] == [None] * 3
    assert [cache.read(stays, index, 0, 1) for index in range(3)] == [b"\x02"] * 3
    cache.close()


def test_old_drafts_go_and_young_ones_stay(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "ab"
    folder.mkdir(parents=True)
    old, young = folder / "x.draft", folder / "y.draft"
    for path in (old, young):
        path.write_bytes(b"x")
    os.utime(old, (1_000_000, 1_000_000))
    cache = ChunkCache(tmp_path / "cache", LIMIT_BYTES)
    keep(cache, name_pack(), 0, 1)
    assert (old.exists(), young.exists()) == (False, True)
    cache.close()


def test_a_folder_that_cannot_be_written_keeps_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file")
    cache = ChunkCache(tmp_path / "cache", LIMIT_BYTES)
    name = name_pack()
    keep(cache, name, 0, 1)
    assert cache.read(name, 0, 0, 1) is None
    assert "cannot be written" in caplog.text
    cache.close()

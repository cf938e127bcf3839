"""The derived cache: right or absent, and never larger than it may be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lamella.archive.derived_cache import DerivedCache


def count_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_what_is_written_is_read_by_any_process(tmp_path: Path) -> None:
    DerivedCache(tmp_path / "things-1").write("name", b"some data")
    assert DerivedCache(tmp_path / "things-1").read("name") == b"some data"
    assert DerivedCache(tmp_path / "things-1").read("other") is None


@pytest.mark.parametrize("cut", ["empty", "short", "flipped", "foreign"])
def test_a_damaged_file_counts_as_absent_and_is_written_again(tmp_path: Path, cut: str) -> None:
    cache = DerivedCache(tmp_path / "things-1")
    data = os.urandom(5000)
    cache.write("name", data)
    path = tmp_path / "things-1" / "name"
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    path.write_bytes({"empty": b"", "short": whole[:-7], "flipped": flipped, "foreign": b"{}"}[cut])
    assert cache.read("name") is None
    cache.write("name", data)
    assert cache.read("name") == data


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    folder = tmp_path / "things-1"
    cache = DerivedCache(folder, limit_bytes=10_000, sweep_every_bytes=1)
    for number in range(8):
        cache.write(f"{number}", os.urandom(1000))
        os.utime(folder / f"{number}", (number, number))
    assert cache.read("0") is not None  # which makes it the newest
    for number in range(8, 11):
        cache.write(f"{number}", os.urandom(1000))
    assert count_bytes(folder) <= 10_000
    assert cache.read("0") is not None
    assert cache.read("1") is None
    assert cache.read("10") is not None


def test_leftovers_of_an_earlier_run_and_of_other_versions_go(tmp_path: Path) -> None:
    DerivedCache(tmp_path / "things-1").write("old", b"of another version")
    DerivedCache(tmp_path / "others-1").write("kept", b"of something else")
    for number in range(5):
        DerivedCache(tmp_path / "things-2").write(f"{number}", os.urandom(1000))
    DerivedCache(tmp_path / "things-2", limit_bytes=3000).write("new", b"data")
    assert not (tmp_path / "things-1").exists()
    assert (tmp_path / "others-1").exists()
    assert count_bytes(tmp_path / "things-2") <= 3000


def test_a_folder_that_cannot_be_written_is_said_and_does_no_harm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = DerivedCache(tmp_path / "file" / "things-1")
    cache.write("name", b"data")
    assert cache.read("name") is None
    assert "cache cannot be written" in caplog.text


def test_clearing_forgets_everything(tmp_path: Path) -> None:
    cache = DerivedCache(tmp_path / "things-1")
    cache.write("name", b"data")
    cache.clear()
    assert cache.read("name") is None
    cache.clear()

"""Finding files: order, links, archives, what is passed over."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from lamella.archive import zips
from lamella.files.discovery import FoundFile, SkippedFile, find_files, measure_files


def names(root: Path, *paths: Path) -> list[str]:
    return [os.path.relpath(found.path, root) for found in find_files(paths or (root,))]


def test_files_come_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a", "c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert names(tmp_path) == ["a", "b/1", "b/2", "c"]
    assert names(tmp_path, tmp_path / "c", tmp_path / "a") == ["c", "a"]


def test_loops_of_links_end_and_dead_links_are_ignored(tmp_path: Path) -> None:
    folder = tmp_path / "sub"
    folder.mkdir()
    (folder / "f").write_bytes(b"x")
    (folder / "up").symlink_to(tmp_path)
    (folder / "dead").symlink_to(tmp_path / "nowhere")
    (folder / "self").symlink_to(folder / "self")
    found = {os.path.basename(item.path): item for item in find_files([tmp_path])}
    assert set(found) == {"f", "dead", "self"}
    for name in ("dead", "self"):
        item = found[name]
        assert isinstance(item, SkippedFile)
        assert item.outcome == "ignored"


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (item,) = find_files([tmp_path / "nowhere"])
    assert isinstance(item, SkippedFile)
    assert item.outcome == "refused"
    assert "No such file" in item.reason


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (item,) = find_files([tmp_path])
    assert isinstance(item, SkippedFile)
    assert item.outcome == "ignored"


def test_lamellas_own_data_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "format").write_text("lamella-data 1\n")
    (tmp_path / "data" / "pack").write_bytes(bytes(128) + b"DICM")
    (item,) = find_files([tmp_path])
    assert isinstance(item, SkippedFile)
    assert item.path.endswith("data")


def test_members_of_a_zip_are_read_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("folder")
        archive.writestr("folder/b", b"B" * 1000)
        archive.writestr("a", b"A")
    found = list(find_files([tmp_path]))
    assert [os.path.relpath(item.path, path) for item in found] == ["a", "folder/b"]
    contents = []
    for item in found:
        assert isinstance(item, FoundFile)
        with item.open() as file:
            contents.append(file.read())
    assert contents == [b"A", b"B" * 1000]
    assert measure_files([tmp_path]) == (2, 1001)


def test_an_archive_may_not_unpack_to_much_more_than_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zips, "FREE_BYTES", 0)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"small")
        archive.writestr("b", bytes(5_000_000))
    kept, dropped = find_files([path])
    assert isinstance(kept, FoundFile)
    assert isinstance(dropped, SkippedFile)
    assert dropped.outcome == "refused"


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.zip"
    path.write_bytes(b"PK\x03\x04" + bytes(50))
    (item,) = find_files([path])
    assert isinstance(item, SkippedFile)
    assert item.outcome == "refused"


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"x")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # general purpose flag, bit 0
    path.write_bytes(data)
    (item,) = find_files([path])
    assert isinstance(item, SkippedFile)
    assert item.reason == "It is encrypted."

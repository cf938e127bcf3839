"""Finding files: folders in sorted order, zip archives member by member, nothing twice.

A folder that two symbolic links name is walked once, so loops end. Folders that Lamella keeps
its own data in are passed over: a pack looks like a DICOM file. DICOMDIR needs no word here:
the files it refers to lie beside it and are found by the walk.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lamella.archive.zips import is_zip, list_members, open_archive_file

DATA_FORMAT_PREFIX = b"lamella-data "


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that may be DICOM.

    Attributes:
        path: How reports name it; members of a zip follow the zip's own path.
        size_bytes: Its length, uncompressed.
        open: Opens it for reading; may raise OSError and what `zips.READ_ERRORS` lists.
    """

    path: str
    size_bytes: int
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A path that is not read any further.

    Attributes:
        path: As reports name it.
        outcome: `ignored`, or `refused` where something may be missing.
        reason: One sentence.
    """

    path: str
    outcome: str
    reason: str


Found = FoundFile | SkippedFile


def find_files(paths: Iterable[Path]) -> Iterator[Found]:
    """Yield every file of these paths, each path in turn, the names in a folder sorted."""
    given = list(paths)
    seen: set[tuple[int, int]] = set()
    stack: list[Iterator[Path]] = [iter(given)]
    while stack:
        path = next(stack[-1], None)
        if path is None:
            stack.pop()
            continue
        try:
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                folder = _list_folder(path, status, seen)
                if isinstance(folder, SkippedFile):
                    yield folder
                else:
                    stack.append(iter(folder))
                continue
        except OSError as error:
            yield _skip_unreadable(path, error, is_given=len(stack) == 1)
            continue
        yield from _find_in_file(path, status)


def measure_files(paths: Iterable[Path]) -> tuple[int, int]:
    """Return how many files there are, and their bytes (zip members uncompressed)."""
    count = size_bytes = 0
    for found in find_files(paths):
        count += 1
        size_bytes += found.size_bytes if isinstance(found, FoundFile) else 0
    return count, size_bytes


def _list_folder(
    path: Path, status: os.stat_result, seen: set[tuple[int, int]]
) -> list[Path] | SkippedFile:
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        return []
    seen.add(identity)
    if _is_data_folder(path):
        return SkippedFile(str(path), "ignored", "It is a data folder of Lamella.")
    return sorted(path.iterdir())


def _is_data_folder(path: Path) -> bool:
    marker = path / "format"
    if not marker.is_file():
        return False
    with marker.open("rb") as file:
        return file.read(len(DATA_FORMAT_PREFIX)) == DATA_FORMAT_PREFIX


def _skip_unreadable(path: Path, error: OSError, *, is_given: bool) -> SkippedFile:
    reason = f"It cannot be read: {error.strerror}."
    if path.is_symlink() and not is_given:
        return SkippedFile(str(path), "ignored", "It is a symbolic link that leads nowhere.")
    return SkippedFile(str(path), "refused", reason)


def _find_in_file(path: Path, status: os.stat_result) -> Iterator[Found]:
    if not stat.S_ISREG(status.st_mode):
        yield SkippedFile(str(path), "ignored", "It is not a regular file.")
        return
    try:
        has_members = is_zip(path)
    except OSError as error:
        yield SkippedFile(str(path), "refused", f"It cannot be read: {error.strerror}.")
        return
    if has_members:
        yield from _find_members(path, status.st_size)
    else:
        yield FoundFile(str(path), status.st_size, lambda: path.open("rb"))


def _find_members(path: Path, size_bytes: int) -> Iterator[Found]:
    archive = open_archive_file(path)
    if isinstance(archive, str):
        yield SkippedFile(str(path), "refused", archive)
        return
    for member, trouble in list_members(archive, size_bytes):
        name = f"{path}/{member.filename}"
        if trouble:
            yield SkippedFile(name, "refused", trouble)
        else:
            yield FoundFile(name, member.file_size, _make_opener(archive, member))


def _make_opener(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    # The opener holds the archive, which closes when the last of its members is let go.
    return lambda: archive.open(member)

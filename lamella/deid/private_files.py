"""Files that only their owner may read, which appear whole or not at all."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from lamella.errors import NotAuthorized, OutOfResources

OWNER_ONLY = 0o600


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner may enter.

    Raises:
        OutOfResources: It cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutOfResources(f"{folder} cannot be made: {error.strerror}.") from error


def write_private(path: Path, content: bytes) -> None:
    """Replace a file's content in one step that survives a power cut.

    Raises:
        OutOfResources: It cannot be written; the old content stays.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with _open_new(new) as file:
            os.write(file, content)
            os.fsync(file)
        os.replace(new, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(FileNotFoundError):
            new.unlink()
        raise OutOfResources(f"{path} cannot be written: {error.strerror}.") from error


def read_private(path: Path) -> bytes | None:
    """Return what a file holds; None where there is none.

    Raises:
        NotAuthorized: Others than its owner may read it, so it is no secret; or we may not.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise NotAuthorized(
                    f"{path} may be read by others (mode {mode:04o}): chmod 600 it, and rotate "
                    "what it protects if somebody did."
                )
            return file.read()
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise NotAuthorized(f"{path} may not be read by this user.") from error


@contextmanager
def open_private(path: Path) -> Iterator[TextIO]:
    """Open a text file to write, in the place of any other of that name.

    Raises:
        OutOfResources: It cannot be made.
    """
    try:
        with _open_new(path) as file, open(file, "w", encoding="utf-8", closefd=False) as stream:
            yield stream
    except OSError as error:
        raise OutOfResources(f"{path} cannot be written: {error.strerror}.") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one at work in a folder, among all processes of the machine."""
    make_private_folder(folder)
    file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


@contextmanager
def _open_new(path: Path) -> Iterator[int]:
    with suppress(FileNotFoundError):
        path.unlink()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY)
    try:
        yield file
    finally:
        os.close(file)


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)

"""A zip archive as the body of a store request: each file in it is an instance.

Source:
    PS3.18 §8.7.3.6 and Supplement 211 (application/zip).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import IO

from lamella.archive.source import FileSource
from lamella.archive.threads import run_in_thread
from lamella.archive.zips import READ_ERRORS, list_members, measure_directory
from lamella.errors import InvalidInstance, InvalidRequest, TooLarge

ZIP = "application/zip"
CHUNK_BYTES = 1 << 20
LONGEST_DIRECTORY_BYTES = 8 << 20


class Archive:
    """An archive that lies on a shelf; all reading happens in threads."""

    def __init__(self, source: FileSource) -> None:
        self._source = source
        self._zip: zipfile.ZipFile | None = None
        self._members: Iterator[tuple[zipfile.ZipInfo, str]] = iter(())

    async def open(self) -> None:
        """Read the archive's directory.

        Raises:
            InvalidRequest: It is no archive.
            TooLarge: It has too many members.
        """
        await run_in_thread(self._open)

    async def next_member(self) -> Member | None:
        """Return the next file of the archive, or None behind the last."""
        return await run_in_thread(self._next)

    def close(self) -> None:
        """Let go of the directory."""
        if self._zip is not None:
            self._zip.close()

    def _open(self) -> None:
        file = io.BufferedReader(_File(self._source), CHUNK_BYTES)
        try:
            if measure_directory(file) > LONGEST_DIRECTORY_BYTES:
                raise TooLarge("The zip archive has too many members.")
            self._zip = zipfile.ZipFile(file)
        except READ_ERRORS as error:
            raise InvalidRequest("The body is not a readable zip archive.") from error
        self._members = list_members(self._zip, self._source.size)

    def _next(self) -> Member | None:
        for member, trouble in self._members:
            if not _is_beside(member.filename):
                assert self._zip is not None
                return Member(self._zip, member, trouble)
        return None


class Member:
    """One file of an archive.

    Attributes:
        trouble: Why it is not read; empty if it can be.
    """

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, trouble: str) -> None:
        self.trouble = trouble
        self._archive = archive
        self._member = member

    def chunks(self) -> Iterator[bytes]:
        """Yield the file.

        Raises:
            InvalidInstance: It cannot be unpacked.
        """
        try:
            with self._archive.open(self._member) as file:
                yield from iter(lambda: _read(file), b"")
        except READ_ERRORS as error:
            raise InvalidInstance("A file cannot be unpacked from the zip archive.") from error


def _is_beside(name: str) -> bool:
    """Tell what lies beside instances and is none: a media directory, macOS' own files."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].upper() == "DICOMDIR"


def _read(file: IO[bytes]) -> bytes:
    return file.read(CHUNK_BYTES)


class _File(io.RawIOBase):
    """A source as a file, for `zipfile`."""

    def __init__(self, source: FileSource) -> None:
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = (0, self._position, self._source.size)[whence]
        if start + offset < 0:
            raise ValueError("A position before the begin of the file.")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self._source.read_at(self._position, len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

"""Reading one found file: its first bytes to tell what it is, then the rest in chunks.

Source:
    PS3.10 §7.1 (preamble, prefix and file meta information), §8 (DICOMDIR).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import IO

from lamella.archive.facts import has_preamble
from lamella.archive.source import MemorySource
from lamella.archive.threads import run_in_thread
from lamella.archive.zips import READ_ERRORS
from lamella.errors import LamellaError
from lamella.files.discovery import FoundFile

CHUNK_BYTES = 1 << 20
MEDIA_STORAGE_DIRECTORY = b"1.2.840.10008.1.3.10"
_CLASS_TAG = b"\x02\x00\x02\x00UI"
_META_BYTES = 1024


class UnreadableFile(LamellaError):
    """A file that the system, or its zip archive, does not give out."""

    http_status, title = 409, "Unreadable file"


class FileReader:
    """One file while it is read; all reading happens in threads."""

    def __init__(self, found: FoundFile) -> None:
        self._found = found
        self._file: IO[bytes] | None = None

    async def begin(self) -> bytes:
        """Open the file and return its first chunk.

        Raises:
            UnreadableFile: It cannot be opened or read.
        """
        return await run_in_thread(self._begin)

    async def chunks(self, head: bytes) -> AsyncIterator[bytes]:
        """Yield the whole file; `head` is what `begin` returned.

        Raises:
            UnreadableFile: It cannot be read to its end.
        """
        chunk = head
        yield chunk
        while len(chunk) == CHUNK_BYTES:  # both kinds of file read short only at their end
            chunk = await run_in_thread(self._read)
            yield chunk

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> bytes:
        try:
            self._file = self._found.open()
        except READ_ERRORS as error:
            raise UnreadableFile(_explain(error)) from error
        return self._read()

    def _read(self) -> bytes:
        assert self._file is not None
        try:
            return self._file.read(CHUNK_BYTES)
        except READ_ERRORS as error:
            raise UnreadableFile(_explain(error)) from error


def find_reason_to_ignore(head: bytes) -> str:
    """Return why a file that begins like this is no instance; empty if it may be one.

    Args:
        head: Its first bytes, 1 KiB or the whole file.
    """
    if not has_preamble(MemorySource(head[:132])):
        return "It is not a DICOM file."
    if _read_media_class(head) == MEDIA_STORAGE_DIRECTORY:
        return "It is a DICOMDIR."
    return ""


def _read_media_class(head: bytes) -> bytes:
    """Return the Media Storage SOP Class UID, as far as plain file meta shows it."""
    at = head.find(_CLASS_TAG, 132, _META_BYTES)
    if at < 0:
        return b""
    start = at + len(_CLASS_TAG) + 2
    length = int.from_bytes(head[start - 2 : start], "little")
    return head[start : start + length].rstrip(b"\x00 ")


def _explain(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"It cannot be read: {error.strerror}."
    return "It cannot be unpacked from its archive."

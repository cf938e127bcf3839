"""Zip archives as a source of files, with a bound on what they may unpack to."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
MAX_RATIO = 200
"""Whole archives of real studies unpack to 2 to 10 times their size, one of blank images to
some hundred; nested bombs reach millions."""

FREE_BYTES = 1 << 30
"""What any archive may unpack to, however small it is."""

READ_ERRORS = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` raises on archives that are damaged, encrypted or beyond it."""

_ENCRYPTED = 0x1
_END = struct.Struct("<4s4H2LH")  # end of central directory record
_END64 = struct.Struct("<4sQ2H2L4Q")  # the same of ZIP64, with a locator between both
_LOCATOR64_BYTES = 20
_LONGEST_COMMENT = 0xFFFF


def is_zip(path: Path) -> bool:
    """Tell by its first bytes whether a file is a zip archive.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return file.read(4) in SIGNATURES


def open_archive_file(path: Path) -> zipfile.ZipFile | str:
    """Open a zip archive, or return the reason why that cannot be done."""
    try:
        return zipfile.ZipFile(path)
    except READ_ERRORS:
        return "It is not a readable zip archive."


def list_members(
    archive: zipfile.ZipFile, size_bytes: int
) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    """Yield files of an archive in order of their names, each with a reason not to read it.

    `zipfile` never reads more of a member than its directory entry declares, so the sum of
    these sizes bounds what reading can cost.

    Args:
        archive: The archive.
        size_bytes: Its own length.
    """
    left_bytes = FREE_BYTES + MAX_RATIO * size_bytes
    for member in sorted(archive.infolist(), key=lambda info: info.filename):
        if member.is_dir():
            continue
        left_bytes -= member.file_size
        if member.flag_bits & _ENCRYPTED:
            yield member, "It is encrypted."
        elif left_bytes < 0:
            yield member, f"The archive unpacks to more than {MAX_RATIO} times its size."
        else:
            yield member, ""


def measure_directory(file: IO[bytes]) -> int:
    """Return the length of an archive's directory in bytes, which opening it reads whole.

    Args:
        file: The archive; it is sought in.

    Raises:
        zipfile.BadZipFile: It has none.

    Source:
        APPNOTE.TXT (PKWARE) §4.3.14 to §4.3.16.
    """
    size_bytes = file.seek(0, 2)
    start = max(0, size_bytes - _END64.size - _LOCATOR64_BYTES - _END.size - _LONGEST_COMMENT)
    file.seek(start)
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or end + _END.size > len(tail):
        raise zipfile.BadZipFile
    length: int = _END.unpack_from(tail, end)[5]
    record = end - _LOCATOR64_BYTES - _END64.size
    if record >= 0 and tail.startswith(b"PK\x06\x06", record):
        length = _END64.unpack_from(tail, record)[8]
    return length

"""Reading the header of a Part 10 file: by the header path, else with pydicom.

Source:
    PS3.10 §7.1 (file meta); PS3.5 §A.5 (deflated data sets).
"""

from __future__ import annotations

import os
import tempfile
import zlib
from dataclasses import dataclass
from struct import Struct

from lamella.archive.canonical import Part, Span
from lamella.archive.fallback import read_with_pydicom
from lamella.archive.lexer import Lexer, Odd
from lamella.archive.recorder import MAX_INFLATED_ELEMENTS, Attributes, BulkValue
from lamella.archive.source import ByteSource, FileSource, MemorySource
from lamella.archive.values import LONG_HEADER_VRS, is_uid
from lamella.errors import InvalidInstance

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED_TRANSFER_SYNTAXES = frozenset(
    {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
)
MAX_INFLATED_BYTES = 512 * 1024 * 1024

_STANDARD_ROOT = "1.2.840.10008.1.2."
_META_CHUNK_BYTES = 64 * 1024
_INFLATE_CHUNK_BYTES = 256 * 1024
_IN_MEMORY_BYTES = 4 * 1024 * 1024
_SHORT = Struct("<H").unpack_from
_LONG = Struct("<I").unpack_from


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says before anyone looks at its pixels.

    Attributes:
        source: What offsets count in: the file, or the inflated data set of a deflated one.
        transfer_syntax_uid: From file meta; what the encoding shows if file meta name none.
        attributes: The DICOM JSON structure, keys ascending.
        parts: The canonical form.
        bulk_values: What the JSON points at, by bulk data path.
        cut_values: Values of the cut tags at the top level, by tag.
        deflated: Whether `source` is not the file.
        fallback_reason: Why pydicom read it; None on the header path.
    """

    source: ByteSource
    transfer_syntax_uid: str
    attributes: Attributes
    parts: list[Part]
    bulk_values: dict[str, BulkValue]
    cut_values: dict[int, Span]
    deflated: bool
    fallback_reason: str | None


def has_preamble(source: ByteSource) -> bool:
    """Return whether the source begins with a 128-byte preamble and `DICM` (PS3.10 §7.1)."""
    return source.read_at(128, 4) == b"DICM"


def read_header(source: ByteSource, *, fallback_charset: str | None = None) -> Header:
    """Read the header of a Part 10 file; memory is flat in the size of bulk values.

    Args:
        source: The whole file.
        fallback_charset: A defined term of (0008,0005) for files that declare none.

    Raises:
        InvalidInstance: It is no file that pydicom could read; with a reason in one sentence.
    """
    if not has_preamble(source):
        raise InvalidInstance("The file has no DICM prefix after a preamble.")
    try:
        position, transfer_syntax_uid = _read_file_meta(source)
    except Odd as odd:
        if b"1.2.840.10008.1.2.1.99" in source.read_at(0, _META_CHUNK_BYTES):
            raise InvalidInstance("The file meta information cannot be read.") from None
        return _fall_back(source, "", False, str(odd), fallback_charset)
    data_set, deflated = source, transfer_syntax_uid in DEFLATED_TRANSFER_SYNTAXES
    if deflated:
        data_set, position = _inflate(source, position), 0
    try:
        return _read_fast(data_set, position, transfer_syntax_uid, deflated, fallback_charset)
    except Odd as odd:
        return _fall_back(data_set, transfer_syntax_uid, deflated, str(odd), fallback_charset)


def _read_fast(
    source: ByteSource, position: int, uid: str, deflated: bool, fallback_charset: str | None
) -> Header:
    if uid != IMPLICIT_LITTLE_ENDIAN and not uid.startswith(_STANDARD_ROOT):
        raise Odd("the transfer syntax is not a standard one")
    lexer = Lexer(source, position, uid == EXPLICIT_BIG_ENDIAN, fallback_charset)
    if deflated:
        lexer.max_count = MAX_INFLATED_ELEMENTS
    scope = lexer.read(explicit=uid != IMPLICIT_LITTLE_ENDIAN)
    return Header(
        source,
        uid,
        scope.attributes,
        scope.parts,
        lexer.bulk_values,
        lexer.cut_values,
        deflated,
        None,
    )


def _fall_back(
    source: ByteSource, uid: str, inflated: bool, reason: str, fallback_charset: str | None
) -> Header:
    fallback, scope, found_uid = read_with_pydicom(
        source, inflated=inflated, fallback_charset=fallback_charset
    )
    return Header(
        source,
        uid or found_uid,
        scope.attributes,
        scope.parts,
        fallback.bulk_values,
        fallback.cut_values,
        inflated,
        reason,
    )


def _read_file_meta(source: ByteSource) -> tuple[int, str]:
    """Return where group 0002 ends and the transfer syntax it names ('' if none)."""
    position, uid = 132, ""
    buffer = source.read_at(0, _META_CHUNK_BYTES)
    base = 0
    while position < source.size:
        if position + 12 > base + len(buffer):
            buffer, base = source.read_at(position, _META_CHUNK_BYTES), position
        index = position - base
        if buffer[index : index + 2] != b"\x02\x00":
            break
        vr = buffer[index + 4 : index + 6]
        long_header = vr.decode("latin-1") in LONG_HEADER_VRS
        start = 12 if long_header else 8
        if index + start > len(buffer) or not (vr.isalpha() and vr.isupper()):
            raise Odd("the file meta information is damaged")
        length = _LONG(buffer, index + 8)[0] if long_header else _SHORT(buffer, index + 6)[0]
        if position + start + length > source.size:
            raise Odd("the file ends inside the file meta information")
        if buffer[index + 2 : index + 4] == b"\x10\x00":
            uid = source.read_at(position + start, min(length, 256)).decode("latin-1").strip(" \0")
        position += start + length
    if not is_uid(uid):
        raise Odd("the file meta information names no transfer syntax")
    return position, uid


def _inflate(source: ByteSource, position: int) -> ByteSource:
    """Inflate what follows file meta; beyond 4 MiB into a file that nobody else sees."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as spool:
        try:
            while not inflater.eof and (chunk := source.read_at(position, _INFLATE_CHUNK_BYTES)):
                position += len(chunk)
                while chunk and not inflater.eof and total <= MAX_INFLATED_BYTES:
                    piece = inflater.decompress(chunk, _INFLATE_CHUNK_BYTES)
                    total += len(piece)
                    spool.write(piece)
                    chunk = inflater.unconsumed_tail
                if total > MAX_INFLATED_BYTES:
                    raise InvalidInstance("The deflated data set inflates to more than 512 MiB.")
            while not inflater.eof and (piece := inflater.decompress(b"", _INFLATE_CHUNK_BYTES)):
                total += len(piece)
                spool.write(piece)
        except zlib.error:
            raise InvalidInstance("The deflated data set is damaged.") from None
        if not inflater.eof:
            raise InvalidInstance("The deflated data set is cut short.")
        spool.seek(0)
        if total <= _IN_MEMORY_BYTES:
            return MemorySource(spool.read())
        return _OwnedFile(spool.fileno(), total)


class _OwnedFile(FileSource):
    """An unlinked file that lives as long as this source does."""

    def __init__(self, fd: int, size: int) -> None:
        self._owned = os.dup(fd)
        super().__init__(self._owned, 0, size)

    def __del__(self) -> None:
        os.close(self._owned)

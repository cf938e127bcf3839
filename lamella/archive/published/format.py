"""What stands in a published index: msgpack arrays, whose fields are only ever added to at the end.

Source:
    PS3.18 Annex F (DICOM JSON); the layout is this project's own, see `archive.published`.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import Any, Final, TypeVar

import msgspec
import zstandard

from lamella.errors import IntegrityError, InvalidRequest

T = TypeVar("T")

MAGIC: Final = b"LMLPUB\x00\x01"
FORMAT: Final = 1
FOOTER: Final = Struct("<QQ8s")
FOLDER: Final = "published"
STUDIES_PER_CHUNK: Final = 64
LONGEST_SECTION_BYTES: Final = 1 << 30  # unpacked; more is no index of ours

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@:-]{0,199}")
_LEVEL = 9


class About(msgspec.Struct, array_like=True, frozen=True):
    """What was published.

    Attributes:
        revision: As it was typed.
        commit_id: 64 hex digits.
        tree: Digest of the tree, without what is hidden at every revision.
        time_us: When it was published: microseconds since 1970, UTC.
    """

    dataset: str
    revision: str
    commit_id: str
    tree: bytes
    time_us: int
    n_studies: int
    n_series: int
    n_instances: int


class PublishedSeries(msgspec.Struct, array_like=True, frozen=True):
    """A series, and where its section is.

    Attributes:
        attributes: DICOM JSON: all attributes of series and study level, with their counts.
        offset_bytes: Of the section in the index.
        length_bytes: Of the section; 0 if it is in a file of its own.
        content: What names the content of a section in a file of its own; else empty.
    """

    series_uid: str
    attributes: bytes
    n_instances: int
    offset_bytes: int
    length_bytes: int
    content: bytes = b""


class PublishedStudy(msgspec.Struct, array_like=True, frozen=True):
    """A study.

    Attributes:
        attributes: DICOM JSON: all attributes of study level, with the counts.
        series: By Series Number, then UID.
    """

    study_uid: str
    attributes: bytes
    series: tuple[PublishedSeries, ...]


class PublishedInstance(msgspec.Struct, array_like=True, frozen=True):
    """An instance.

    Attributes:
        segments: (SHA-256, index of the pack in the section, offset and length in bytes) of the
            pieces whose concatenation is the original file.
        frames: An encoded `FrameTable`, whose offsets count in the file (in the inflated data set
            of a deflated one); None if the frames are no byte ranges, or there are none.
        document: DICOM JSON of all attributes, with holes (`dicomweb.bulk_uris`).
    """

    sop_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    size_bytes: int
    segments: tuple[tuple[bytes, int, int, int], ...]
    frames: bytes | None
    document: bytes


class SeriesSection(msgspec.Struct, array_like=True, frozen=True):
    """All of a series.

    Attributes:
        packs: Names.
        instances: By Instance Number, then UID; those without a number last.
        content: What names all of it, in a file of its own; else empty.
    """

    packs: tuple[str, ...]
    instances: tuple[PublishedInstance, ...]
    content: bytes = b""


class ChunkPlace(msgspec.Struct, array_like=True, frozen=True):
    """Where a chunk of studies is, and the UIDs of its first and last study."""

    first_uid: str
    last_uid: str
    offset_bytes: int
    length_bytes: int


class Directory(msgspec.Struct, array_like=True, frozen=True):
    """The last section.

    Attributes:
        chunks: By study UID; each a tuple of `PublishedStudy`, by study UID (bytewise).
    """

    format: int
    about: About
    chunks: tuple[ChunkPlace, ...]


def name_object(dataset: str, name: str) -> str:
    """Return where an index lies, from the root of the storage on.

    Raises:
        InvalidRequest: The name has characters that not every store takes.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{name!r} cannot name a published index: choose another by --name.")
    return f"{FOLDER}/{dataset}/{name}.idx"


def pack_section(value: Any) -> bytes:
    """Return a section."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    return compressor.compress(msgspec.msgpack.encode(value))


def unpack_section(data: bytes, kind: type[T]) -> T:
    """Return what a section holds.

    Raises:
        IntegrityError: It is damaged, or no such section.
    """
    try:
        if zstandard.frame_content_size(data) > LONGEST_SECTION_BYTES:
            raise IntegrityError("A section of the published index is longer than any can be.")
        return msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(data), type=kind)
    except (zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise IntegrityError("A section of the published index cannot be read.") from error

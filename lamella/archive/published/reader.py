"""Reading a published index by ranges: no server, no database, no I/O of its own."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, Protocol

from lamella.archive.published.format import (
    FOOTER,
    FORMAT,
    MAGIC,
    About,
    ChunkPlace,
    Directory,
    PublishedSeries,
    PublishedStudy,
    SeriesSection,
    unpack_section,
)
from lamella.errors import IntegrityError

TAIL_BYTES: Final = 64 << 10
"""What is read at first: the directory of some 10,000 studies, and the footer."""


class RangeSource(Protocol):
    """An object that can be read by ranges."""

    def read_at(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Return a range of the object; fewer bytes only at its end."""
        ...


class PublishedIndex:
    """One published index. What it gives out is read anew each time: callers keep what they like.

    Attributes:
        about: What was published.
    """

    def __init__(self, source: RangeSource, directory: Directory) -> None:
        self.about: About = directory.about
        self._source = source
        self._chunks = directory.chunks
        self._first_uids = [chunk.first_uid for chunk in directory.chunks]

    @classmethod
    def open(cls, source: RangeSource, size_bytes: int) -> PublishedIndex:
        """Read the end of an index; costs one range, two if there are very many studies.

        Args:
            source: The object.
            size_bytes: Its length.

        Raises:
            IntegrityError: It is no index, damaged, or of a format that this version cannot read.
        """
        start = max(0, size_bytes - TAIL_BYTES)
        tail = source.read_at(start, size_bytes - start)
        if len(tail) < FOOTER.size:
            raise IntegrityError("The object is no published index.")
        offset, length, magic = FOOTER.unpack(tail[-FOOTER.size :])
        if magic != MAGIC or offset + length + FOOTER.size != size_bytes:
            raise IntegrityError("The object is no published index of a format known here.")
        at = offset - start
        data = tail[at : at + length] if at >= 0 else source.read_at(offset, length)
        directory = unpack_section(data, Directory)
        if directory.format != FORMAT:
            raise IntegrityError(f"The published index has the unknown format {directory.format}.")
        return cls(source, directory)

    def studies(self) -> Iterator[PublishedStudy]:
        """Yield all studies by UID; costs a range for every 64 of them."""
        for chunk in self._chunks:
            yield from self._read_chunk(chunk)

    def find_study(self, study_uid: str) -> PublishedStudy | None:
        """Return a study, or None if it was not published; costs one range."""
        place = bisect_right(self._first_uids, study_uid) - 1
        if place < 0 or study_uid > self._chunks[place].last_uid:
            return None
        found = self._read_chunk(self._chunks[place])
        return next((study for study in found if study.study_uid == study_uid), None)

    def read_series(self, series: PublishedSeries) -> SeriesSection:
        """Return the section of a series; costs one range.

        Raises:
            IntegrityError: It is damaged.
        """
        return unpack_section(
            self._source.read_at(series.offset_bytes, series.length_bytes), SeriesSection
        )

    def _read_chunk(self, chunk: ChunkPlace) -> tuple[PublishedStudy, ...]:
        data = self._source.read_at(chunk.offset_bytes, chunk.length_bytes)
        return unpack_section(data, tuple[PublishedStudy, ...])

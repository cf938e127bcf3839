"""Writing a published index, section by section: memory does not grow with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

from lamella.archive.published.format import (
    FOOTER,
    FORMAT,
    MAGIC,
    About,
    ChunkPlace,
    Directory,
    PublishedStudy,
    SeriesSection,
    pack_section,
)


class IndexWriter:
    """Writes one index.

    Args:
        file: Empty, opened for binary writing.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._chunks: list[ChunkPlace] = []
        file.write(MAGIC)
        self._end = len(MAGIC)

    def add_series(self, section: SeriesSection) -> tuple[int, int]:
        """Write the section of a series; return its offset and length in bytes."""
        return self._add(section)

    def add_studies(self, studies: Sequence[PublishedStudy]) -> None:
        """Write a chunk of studies.

        Args:
            studies: One at least, by UID (bytewise), all behind those of the chunk before.
        """
        place = self._add(tuple(studies))
        self._chunks.append(ChunkPlace(studies[0].study_uid, studies[-1].study_uid, *place))

    def finish(self, about: About) -> int:
        """Write the directory and the footer; return the length of the index in bytes."""
        place = self._add(Directory(FORMAT, about, tuple(self._chunks)))
        self._file.write(FOOTER.pack(*place, MAGIC))
        return self._end + FOOTER.size

    def _add(self, value: Any) -> tuple[int, int]:
        data = pack_section(value)
        offset = self._end
        self._file.write(data)
        self._end += len(data)
        return offset, len(data)

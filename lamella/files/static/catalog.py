"""What `S3Client` reads a static export by: an index of all series, and a section in each.

They are as in a published index ([archive.published]), but sections are files of their own, so
that a run writes those of the series that changed. What an index calls a pack is here the file of
an instance. A section and the index both say what the content of the series is called: a reader
who has an older index than section notices.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from tempfile import SpooledTemporaryFile
from typing import IO, cast

import sqlalchemy as sa

from lamella.archive.published.format import PublishedSeries, SeriesSection, pack_section
from lamella.archive.published.writer import IndexWriter
from lamella.archive.threads import run_in_thread
from lamella.errors import IntegrityError
from lamella.files.index_press import IndexPress, PublishedSegments, describe_instances
from lamella.files.static.destination import Destination
from lamella.files.static.doors import IN_MEMORY_BYTES
from lamella.files.static.layout import (
    CATALOG,
    OCTETS_TYPE,
    SECTION,
    begin_instance,
    name_file,
)
from lamella.vcs.history import load_commit
from lamella.vcs.repository import Repository
from lamella.vcs.selection import Selected
from lamella.vcs.view import View


class CatalogWriter:
    """Writes index and sections of one view.

    Args:
        repository: The installation.
        view: What is exported.
        destination: Where they go.
    """

    def __init__(self, repository: Repository, view: View, destination: Destination) -> None:
        self._repository = repository
        self._read = repository.archive.database.read
        self._view = view
        self._destination = destination

    async def write_section(self, path: str, content: str, selected: Sequence[Selected]) -> None:
        """Write the section of a series.

        Args:
            path: Its folder.
            content: Names its content: hex digits.
            selected: Its instances.
        """

        def describe(connection: sa.Connection) -> SeriesSection:
            numbers = {one.sop_uid: number for number, one in enumerate(selected)}

            def find_segments(one: Selected) -> PublishedSegments:
                return _find_segments(one, numbers[one.sop_uid])

            instances = describe_instances(
                connection, self._view.dataset.id, selected, find_segments
            )
            names = tuple(name_file(one.study_uid, one.series_uid, one.sop_uid) for one in selected)
            return SeriesSection(names, tuple(instances), bytes.fromhex(content))

        section = await self._read(describe)
        packed = await run_in_thread(pack_section, section)
        await self._destination.write(f"{path}/{SECTION}", io.BytesIO(packed), OCTETS_TYPE)

    async def write_index(self) -> None:
        """Write the index; all sections are there already."""
        owner_id, commit_id = self._view.dataset.id, self._view.revision.commit_id
        found = await self._read(lambda c: load_commit(c, owner_id, commit_id))
        press = IndexPress(self._repository, self._view, self)
        with SpooledTemporaryFile(IN_MEMORY_BYTES) as file:
            body = cast(IO[bytes], file)
            await press.run(body, found.commit.time_us)  # not now: the same commit, the same bytes
            await self._destination.write(CATALOG, body, OCTETS_TYPE)

    async def write(
        self, writer: IndexWriter, study_uid: str, series_uid: str, attributes: bytes
    ) -> PublishedSeries:
        """Return what the index says of a series, whose section is elsewhere."""

        def describe(connection: sa.Connection) -> PublishedSeries:
            tree = self._view.tree(connection, self._repository)
            series = tree.find_series(study_uid, series_uid)
            if series is None:
                raise IntegrityError(f"Series {series_uid} is in the catalog, not in the tree.")
            count = series.summary.n_instances
            return PublishedSeries(series_uid, attributes, count, 0, 0, series.root)

        return await self._read(describe)


def _find_segments(one: Selected, number: int) -> PublishedSegments:
    """Return where the bytes of an instance are in its file, which has that number."""
    entry, found = one.entry, []
    offset_bytes = len(begin_instance(entry.transfer_syntax_uid, entry.size_bytes))
    for digest, length_bytes in entry.segments:
        found.append((digest, number, offset_bytes, length_bytes))
        offset_bytes += length_bytes
    return tuple(found)

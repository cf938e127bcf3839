"""Writing the index of a view: studies and series with their attributes, and sections of series.

What is beside the packs has its sections in the index; a static export has them in its folders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import IO, Protocol

import msgspec
import sqlalchemy as sa

from lamella.archive.levels import Level
from lamella.archive.published.format import (
    STUDIES_PER_CHUNK,
    About,
    PublishedInstance,
    PublishedSeries,
    PublishedStudy,
)
from lamella.archive.published.writer import IndexWriter
from lamella.archive.query import Query
from lamella.archive.results import shape_result
from lamella.archive.search import Row
from lamella.archive.threads import run_in_thread
from lamella.archive.upsert import split_batches
from lamella.errors import IntegrityError
from lamella.vcs.finder import count_related, find_rows
from lamella.vcs.repository import Repository
from lamella.vcs.selection import Selected
from lamella.vcs.stored import load_documents
from lamella.vcs.tree import Tree
from lamella.vcs.view import View

PublishedSegments = tuple[tuple[bytes, int, int, int], ...]
"""Of an instance, as `PublishedInstance` has them."""


class SeriesPress(Protocol):
    """Puts sections of series where readers of the index will find them."""

    async def write(
        self, writer: IndexWriter, study_uid: str, series_uid: str, attributes: bytes
    ) -> PublishedSeries:
        """Write the section of a series; return what the index says of it.

        Raises:
            IntegrityError: Something of it is missing or damaged.
        """
        ...


class IndexPress:
    """Writes one index.

    Args:
        repository: The installation.
        view: What it is of.
        series: Writes the sections.
    """

    def __init__(self, repository: Repository, view: View, series: SeriesPress) -> None:
        self._repository = repository
        self._read = repository.archive.database.read
        self._view = view
        self._series = series

    async def run(self, file: IO[bytes], time_us: int) -> tuple[About, int]:
        """Write all of it.

        Args:
            file: Empty, opened for binary writing.
            time_us: What the index shall say of when it was written.

        Returns:
            What it is about, and its length in bytes.

        Raises:
            IntegrityError: Something of the view is missing or damaged.
        """
        writer = IndexWriter(file)
        study_uids = await self._read(lambda c: sorted(uid for uid, _ in self._tree(c).studies()))
        for batch in split_batches(study_uids, STUDIES_PER_CHUNK):
            studies = [await self._write_study(writer, uid) for uid in batch]
            await run_in_thread(writer.add_studies, studies)
        about = await self._read(lambda c: self._describe(c, time_us))
        return about, await run_in_thread(writer.finish, about)

    def _tree(self, connection: sa.Connection) -> Tree:
        return self._view.tree(connection, self._repository)

    def _describe(self, connection: sa.Connection, time_us: int) -> About:
        summary = self._tree(connection).summary()
        return About(
            self._view.dataset.name,
            self._view.revision.text,
            self._view.commit_id,
            self._view.root,
            time_us,
            self._tree(connection).count_studies(),
            summary.n_series,
            summary.n_instances,
        )

    async def _write_study(self, writer: IndexWriter, study_uid: str) -> PublishedStudy:
        rows = await self._read(lambda c: self._find_rows(c, Level.SERIES, study_uid))
        series = [
            await self._series.write(writer, study_uid, row.series_uid or "", attributes)
            for row, attributes in rows
        ]
        ((_, attributes),) = await self._read(lambda c: self._find_rows(c, Level.STUDY, study_uid))
        return PublishedStudy(study_uid, attributes, tuple(series))

    def _find_rows(
        self, connection: sa.Connection, level: Level, study_uid: str
    ) -> list[tuple[Row, bytes]]:
        """Return the rows of a study, or of its series, with their attributes and counts."""
        levels = frozenset({Level.STUDY, level})
        query = Query(level, study_uid, include_all=True, default_levels=levels)
        tree, found = self._tree(connection), []
        for row in find_rows(connection, self._repository, self._view, query).rows:
            counts = count_related(tree, row.study_uid, row.series_uid or "")
            shaped = shape_result(row.attributes, query, counts)
            found.append((row, msgspec.json.encode(shaped)))
        if not found:
            raise IntegrityError(f"Study {study_uid} has no rows in the catalog.")
        return found


def describe_instances(
    connection: sa.Connection,
    dataset_id: int,
    found: Sequence[Selected],
    find_segments: Callable[[Selected], PublishedSegments],
) -> Iterator[PublishedInstance]:
    """Yield what a section says of instances.

    Args:
        dataset_id: Of the dataset that they are in.
        find_segments: Returns where the bytes of one are.
    """
    documents = load_documents(connection, dataset_id, [one.key for one in found])
    for one in found:
        yield PublishedInstance(
            one.sop_uid,
            one.entry.sop_class_uid,
            one.entry.transfer_syntax_uid,
            one.entry.size_bytes,
            find_segments(one),
            documents[one.key].frames,
            documents[one.key].dicom_json,
        )

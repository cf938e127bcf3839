"""Publishing a view: one index beside the packs, for clients without server and database.

The index is written to a draft first; then a note is made of every pack that it names, which
keeps them from gc; only then is it put where readers look. Cut off in between, it leaves a note
too many, which goes with the next publication under that name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec
import sqlalchemy as sa

from lamella.archive.blobs import find_locations
from lamella.archive.database import read_clock_us
from lamella.archive.levels import Level
from lamella.archive.published.format import (
    STUDIES_PER_CHUNK,
    About,
    PublishedInstance,
    PublishedSeries,
    PublishedStudy,
    SeriesSection,
    name_object,
)
from lamella.archive.published.writer import IndexWriter
from lamella.archive.query import Query
from lamella.archive.results import shape_result
from lamella.archive.search import Row
from lamella.archive.threads import run_in_thread
from lamella.archive.upsert import split_batches
from lamella.errors import IntegrityError, OutOfResources, ResourceNotFound
from lamella.vcs.finder import count_related, find_rows
from lamella.vcs.publications import forget, is_noted, pin_packs
from lamella.vcs.refs import DatasetRow
from lamella.vcs.repository import Repository
from lamella.vcs.selection import Selected, select
from lamella.vcs.stored import load_documents
from lamella.vcs.tree import Tree
from lamella.vcs.view import View


@dataclass(frozen=True, slots=True)
class Publication:
    """The sum of a publication.

    Attributes:
        place: Of the index, from the root of the storage on.
    """

    place: str
    about: About
    size_bytes: int
    n_packs: int

    def describe(self) -> dict[str, object]:
        """Return it as `--json` shows it."""
        return {
            "index": self.place,
            "dataset": self.about.dataset,
            "commit": self.about.commit_id,
            "studies": self.about.n_studies,
            "series": self.about.n_series,
            "instances": self.about.n_instances,
            "packs": self.n_packs,
            "bytes": self.size_bytes,
        }

    def __str__(self) -> str:
        about = self.about
        return (
            f"index={self.place} studies={about.n_studies} series={about.n_series} "
            f"instances={about.n_instances} bytes={self.size_bytes} commit={about.commit_id}"
        )


async def publish(
    repository: Repository,
    view: View,
    name: str,
    on_instances: Callable[[int], None] = lambda count: None,
) -> Publication:
    """Write the index of a view, in place of one of the same name.

    Args:
        repository: The installation.
        view: What to publish.
        name: Of the index.
        on_instances: Called with how many instances were read, series by series.

    Raises:
        InvalidRequest: The name will not do.
        Conflict: Packs were rewritten meanwhile.
        OutOfResources: There is no room, or the storage does not answer.
        IntegrityError: Something of the view is missing or damaged.
    """
    place = name_object(view.dataset.name, name)
    archive, owner = repository.archive, view.dataset
    with tempfile.TemporaryDirectory(prefix="lamella-publish-") as folder:
        draft = Path(folder) / "draft.idx"
        try:
            with draft.open("wb") as file:
                press = _Press(repository, view, file, on_instances)
                about, size_bytes = await press.run()
        except OSError as error:
            raise OutOfResources(f"The index cannot be written: {error.strerror}.") from error
        commit_id = view.revision.commit_id

        def pin(connection: sa.Connection) -> int:
            return pin_packs(connection, owner, name, commit_id, size_bytes, press.packs)

        def settle(connection: sa.Connection) -> None:
            kept = note if is_noted(connection, note) else pin(connection)
            forget(connection, owner.id, name, kept)

        note = await archive.database.write(pin)
        await archive.packs.put_beside(place, draft)
        await archive.database.write(settle)
    return Publication(place, about, size_bytes, len(press.packs))


async def withdraw(repository: Repository, owner: DatasetRow, name: str) -> None:
    """Remove a published index; its packs are gc's again.

    Raises:
        ResourceNotFound: Nothing is published under that name.
        OutOfResources: The storage does not answer.
    """
    place = name_object(owner.name, name)
    await repository.archive.packs.remove_beside(place)
    if not await repository.archive.database.write(lambda c: forget(c, owner.id, name, None)):
        raise ResourceNotFound(f"Nothing of {owner.name!r} is published as {name!r}.")


class _Press:
    """Writes one index.

    Attributes:
        packs: Names of the packs that it names.
    """

    def __init__(
        self,
        repository: Repository,
        view: View,
        file: IO[bytes],
        on_instances: Callable[[int], None],
    ) -> None:
        self.packs: set[str] = set()
        self._repository = repository
        self._read = repository.archive.database.read
        self._view = view
        self._writer = IndexWriter(file)
        self._on_instances = on_instances

    async def run(self) -> tuple[About, int]:
        """Write all of it; return what it is about, and its length in bytes."""
        study_uids = await self._read(lambda c: sorted(uid for uid, _ in self._tree(c).studies()))
        for batch in split_batches(study_uids, STUDIES_PER_CHUNK):
            studies = [await self._write_study(uid) for uid in batch]
            await run_in_thread(self._writer.add_studies, studies)
        about = await self._read(self._describe)
        return about, await run_in_thread(self._writer.finish, about)

    def _tree(self, connection: sa.Connection) -> Tree:
        return self._view.tree(connection, self._repository)

    def _describe(self, connection: sa.Connection) -> About:
        summary = self._tree(connection).summary()
        return About(
            self._view.dataset.name,
            self._view.revision.text,
            self._view.commit_id,
            self._view.root,
            read_clock_us(connection),
            self._tree(connection).count_studies(),
            summary.n_series,
            summary.n_instances,
        )

    async def _write_study(self, study_uid: str) -> PublishedStudy:
        rows = await self._read(lambda c: self._find_rows(c, Level.SERIES, study_uid))
        series = [await self._write_series(row, attributes) for row, attributes in rows]
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
            counts = count_related(self._repository, tree, row.study_uid, row.series_uid or "")
            shaped = shape_result(row.attributes, query, counts)
            found.append((row, msgspec.json.encode(shaped)))
        if not found:
            raise IntegrityError(f"Study {study_uid} has no rows in the catalog.")
        return found

    async def _write_series(self, row: Row, attributes: bytes) -> PublishedSeries:
        series_uid = row.series_uid or ""
        section = await self._read(lambda c: self._read_series(c, row.study_uid, series_uid))
        place = await run_in_thread(self._writer.add_series, section)
        self.packs.update(section.packs)
        self._on_instances(len(section.instances))
        return PublishedSeries(series_uid, attributes, len(section.instances), *place)

    def _read_series(
        self, connection: sa.Connection, study_uid: str, series_uid: str
    ) -> SeriesSection:
        found = select(connection, self._repository, self._view, study_uid, series_uid)
        packs: dict[str, int] = {}
        instances = tuple(self._read_instances(connection, found, packs))
        return SeriesSection(tuple(packs), instances)

    def _read_instances(
        self, connection: sa.Connection, found: Sequence[Selected], packs: dict[str, int]
    ) -> Iterator[PublishedInstance]:
        digests = [digest for one in found for digest, _ in one.entry.segments]
        places = find_locations(connection, digests)
        keys = [one.key for one in found]
        documents = load_documents(connection, self._view.dataset.id, keys)
        for one in found:
            segments = []
            for digest, length_bytes in one.entry.segments:
                place = places.get(digest)
                if place is None or place.length_bytes != length_bytes:
                    raise IntegrityError(f"Stored bytes {digest.hex()[:16]} have no location.")
                number = packs.setdefault(place.pack_name, len(packs))
                segments.append((digest, number, place.offset_bytes, length_bytes))
            yield PublishedInstance(
                one.sop_uid,
                one.entry.sop_class_uid,
                one.entry.transfer_syntax_uid,
                one.entry.size_bytes,
                tuple(segments),
                documents[one.key].frames,
                documents[one.key].dicom_json,
            )

"""Publishing a view: one index beside the packs, for clients without server and database.

The index is written to a draft first; then a note is made of every pack that it names, which
keeps them from gc; only then is it put where readers look. Cut off in between, it leaves a note
too many, which goes with the next publication under that name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from lamella.archive.blobs import Location, find_locations
from lamella.archive.database import read_clock_us
from lamella.archive.published.format import About, PublishedSeries, SeriesSection, name_object
from lamella.archive.published.writer import IndexWriter
from lamella.archive.threads import run_in_thread
from lamella.errors import IntegrityError, OutOfResources, ResourceNotFound
from lamella.files.index_press import IndexPress, PublishedSegments, describe_instances
from lamella.vcs.publications import forget, is_noted, pin_packs
from lamella.vcs.refs import DatasetRow
from lamella.vcs.repository import Repository
from lamella.vcs.selection import Selected, select
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
    sections = _Sections(repository, view, on_instances)
    press = IndexPress(repository, view, sections)
    with tempfile.TemporaryDirectory(prefix="lamella-publish-") as folder:
        draft = Path(folder) / "draft.idx"
        try:
            with draft.open("wb") as file:
                time_us = await archive.database.read(read_clock_us)
                about, size_bytes = await press.run(file, time_us)
        except OSError as error:
            raise OutOfResources(f"The index cannot be written: {error.strerror}.") from error
        commit_id = view.revision.commit_id

        def pin(connection: sa.Connection) -> int:
            return pin_packs(connection, owner, name, commit_id, size_bytes, sections.packs)

        def settle(connection: sa.Connection) -> None:
            kept = note if is_noted(connection, note) else pin(connection)
            forget(connection, owner.id, name, kept)

        note = await archive.database.write(pin)
        await archive.packs.put_beside(place, draft)
        await archive.database.write(settle)
    return Publication(place, about, size_bytes, len(sections.packs))


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


class _Sections:
    """Writes the sections of series into the index itself.

    Attributes:
        packs: Names of the packs that they name.
    """

    def __init__(
        self, repository: Repository, view: View, on_instances: Callable[[int], None]
    ) -> None:
        self.packs: set[str] = set()
        self._repository = repository
        self._view = view
        self._on_instances = on_instances

    async def write(
        self, writer: IndexWriter, study_uid: str, series_uid: str, attributes: bytes
    ) -> PublishedSeries:
        """Write the section of a series."""
        read = self._repository.archive.database.read
        section = await read(lambda c: self._read_section(c, study_uid, series_uid))
        place = await run_in_thread(writer.add_series, section)
        self.packs.update(section.packs)
        self._on_instances(len(section.instances))
        return PublishedSeries(series_uid, attributes, len(section.instances), *place)

    def _read_section(
        self, connection: sa.Connection, study_uid: str, series_uid: str
    ) -> SeriesSection:
        found = select(connection, self._repository, self._view, study_uid, series_uid)
        places = find_locations(
            connection, [digest for one in found for digest, _ in one.entry.segments]
        )
        packs: dict[str, int] = {}

        def find_segments(one: Selected) -> PublishedSegments:
            return tuple(
                _find_segment(places.get(digest), digest, length_bytes, packs)
                for digest, length_bytes in one.entry.segments
            )

        instances = tuple(
            describe_instances(connection, self._view.dataset.id, found, find_segments)
        )
        return SeriesSection(tuple(packs), instances)


def _find_segment(
    place: Location | None, digest: bytes, length_bytes: int, packs: dict[str, int]
) -> tuple[bytes, int, int, int]:
    """Return where a segment is; its pack is numbered if it has no number yet."""
    if place is None or place.length_bytes != length_bytes:
        raise IntegrityError(f"Stored bytes {digest.hex()[:16]} have no location.")
    number = packs.setdefault(place.pack_name, len(packs))
    return digest, number, place.offset_bytes, length_bytes

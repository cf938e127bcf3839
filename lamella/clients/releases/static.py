"""A release that is a static export, as `lamella export --static` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from lamella.archive.packs.store import PackStore
from lamella.archive.published.format import (
    PublishedSeries,
    PublishedStudy,
    SeriesSection,
    unpack_section,
)
from lamella.archive.published.reader import PublishedIndex
from lamella.clients.releases.objects import Objects, OneObject, StoreUrl, open_objects
from lamella.clients.releases.packs import ReleasedPacks
from lamella.clients.releases.release import ReleaseName
from lamella.errors import IntegrityError, OutOfResources, ResourceNotFound
from lamella.files.static.layout import CATALOG, FORMAT, MANIFEST, name_section

MOST_MANIFEST_BYTES = 1 << 16


class StaticRelease:
    """What an export holds. It is opened once; where it turns out that it has been written to
    since, that is an `OutOfResources`.

    Args:
        place: Where the export is.
        dataset: Name of the dataset.
        name: The revision as it was typed, or the id of its commit.
        cache_folder: Where pieces of instances are kept.

    Raises:
        ResourceNotFound: There is no export, or of something else.
        InvalidRequest: The URL will not do.
        IntegrityError: What is there cannot be read.
        OutOfResources: The store does not answer, or the export is not complete.
    """

    def __init__(self, place: StoreUrl, dataset: str, name: str, cache_folder: Path) -> None:
        self._objects = open_objects(place)
        manifest = _read_manifest(self._objects)
        _check(manifest, dataset, name)
        source = OneObject(self._objects, CATALOG)
        self._index = PublishedIndex.open(source, self._objects.measure(CATALOG))
        if self._index.about.commit_id != manifest["commit"]:
            raise _explain_change()
        self.name = ReleaseName(dataset, self._index.about.commit_id)
        self.packs: PackStore = ReleasedPacks(place, self._objects, [_keep_name], cache_folder)

    def list_studies(self) -> Iterator[PublishedStudy]:
        """Yield all studies; costs a range for every 64."""
        with self._noticing_change():
            yield from self._index.studies()

    def find_study(self, study_uid: str) -> PublishedStudy | None:
        """Return a study, or None if there is none; costs one range."""
        with self._noticing_change():
            return self._index.find_study(study_uid)

    def read_series(self, study: PublishedStudy, series_uid: str) -> SeriesSection | None:
        """Return the section of a series, or None if the study has none; costs two ranges."""
        for series in study.series:
            if series.series_uid == series_uid:
                with self._noticing_change():
                    return self._read_section(study.study_uid, series)
        return None

    def _read_section(self, study_uid: str, series: PublishedSeries) -> SeriesSection:
        key = name_section(study_uid, series.series_uid)
        try:
            data = self._objects.read_at(key, 0, self._objects.measure(key))
        except ResourceNotFound as error:
            raise IntegrityError(f"{key} is missing.") from error
        section = unpack_section(data, SeriesSection)
        if section.content != series.content:
            raise IntegrityError(f"{key} is of another commit.")
        return section

    @contextmanager
    def _noticing_change(self) -> Iterator[None]:
        """Say why what is read within the block is not right, if it is for a later export."""
        try:
            yield
        except IntegrityError as error:
            manifest = _read_manifest(self._objects)
            if manifest["commit"] != self.name.commit_id or not manifest["complete"]:
                raise _explain_change() from error
            raise


def _read_manifest(objects: Objects) -> dict[str, Any]:
    """Return what an export says of itself.

    Raises:
        ResourceNotFound: There is none, or one of another program.
    """
    data = objects.read_at(MANIFEST, 0, MOST_MANIFEST_BYTES)
    try:
        manifest = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise ResourceNotFound(f"{MANIFEST} is not a static export's.") from error
    if manifest.get("format") != FORMAT:
        raise ResourceNotFound(f"{MANIFEST} is not of a format known here.")
    return manifest


def _check(manifest: dict[str, Any], dataset: str, name: str) -> None:
    """Check that an export can be read, and is what is asked for.

    Raises:
        ResourceNotFound: It is of something else.
        OutOfResources: It is not complete.
        IntegrityError: It has no index.
    """
    found = manifest["dataset"], manifest["revision"]
    if found[0] != dataset or name not in (found[1], manifest["commit"]):
        raise ResourceNotFound(f"The static export is of {found[0]}@{found[1]}.")
    if not manifest["complete"]:
        raise OutOfResources("The static export is not complete: run it again.")
    if manifest.get("index") != CATALOG:
        raise IntegrityError("The static export has no index yet: run it again.")


def _explain_change() -> OutOfResources:
    return OutOfResources("The static export has been written to: open it again.")


def _keep_name(name: str) -> str:
    """Return the path of a pack, which is the file of an instance, named by its path."""
    return name

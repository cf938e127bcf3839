"""A release by the index that `lamella publish` wrote beside the packs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lamella.archive.packs.store import PackStore
from lamella.archive.published.format import PublishedStudy, SeriesSection, name_object
from lamella.archive.published.reader import PublishedIndex
from lamella.clients.releases.objects import OneObject, StoreUrl, open_objects
from lamella.clients.releases.packs import Layout, ReleasedPacks
from lamella.clients.releases.release import ReleaseName


class PublishedRelease:
    """What an index tells; it is opened once, so a later one of its name is not seen.

    Args:
        place: Where the packs are.
        dataset: Name of the dataset.
        name: Of the index: the revision as it was typed, unless another one was chosen.
        cache_folder: Where pieces of packs are kept.

    Raises:
        ResourceNotFound: Nothing is published under that name.
        InvalidRequest: The URL or the name will not do.
        IntegrityError: It is no index, or damaged.
        OutOfResources: The store does not answer.
    """

    def __init__(self, place: StoreUrl, dataset: str, name: str, cache_folder: Path) -> None:
        objects, key = open_objects(place), name_object(dataset, name)
        source = OneObject(objects, key)
        self._index = PublishedIndex.open(source, objects.measure(key))
        self.name = ReleaseName(dataset, self._index.about.commit_id)
        self.packs: PackStore = ReleasedPacks(place, objects, _list_layouts(place), cache_folder)

    def list_studies(self) -> Iterator[PublishedStudy]:
        """Yield all studies; costs a range for every 64."""
        return self._index.studies()

    def find_study(self, study_uid: str) -> PublishedStudy | None:
        """Return a study, or None if there is none; costs one range."""
        return self._index.find_study(study_uid)

    def read_series(self, study: PublishedStudy, series_uid: str) -> SeriesSection | None:
        """Return the section of a series, or None if the study has none; costs one range."""
        for series in study.series:
            if series.series_uid == series_uid:
                return self._index.read_series(series)
        return None


def _list_layouts(place: StoreUrl) -> tuple[Layout, ...]:
    """Return where packs may lie: a web server may give out a folder of packs, or a bucket."""
    if place.folder is not None:
        return (_name_pack,)
    if place.url.startswith("s3:"):
        return (_name_pack_of_bucket,)
    return (_name_pack_of_bucket, _name_pack)


def _name_pack(name: str) -> str:
    return f"{name[:2]}/{name[2:]}.pack"


def _name_pack_of_bucket(name: str) -> str:
    return f"packs/{_name_pack(name)}"

"""What a release is: studies, and sections of their series, from wherever they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from lamella.archive.packs.store import PackStore
from lamella.archive.published.format import PublishedStudy, SeriesSection


@dataclass(frozen=True, slots=True)
class ReleaseName:
    """What is released.

    Attributes:
        dataset: Name of the dataset.
        commit_id: 64 hex digits.
    """

    dataset: str
    commit_id: str


class Release(Protocol):
    """A commit, as storage gives it out. All calls work in the calling thread.

    Attributes:
        name: What it is of.
        packs: Where the bytes are that its sections name.
    """

    name: ReleaseName
    packs: PackStore

    def list_studies(self) -> Iterator[PublishedStudy]:
        """Yield all studies."""
        ...

    def find_study(self, study_uid: str) -> PublishedStudy | None:
        """Return a study, or None if there is none."""
        ...

    def read_series(self, study: PublishedStudy, series_uid: str) -> SeriesSection | None:
        """Return what there is of a series, or None if the study has none."""
        ...

"""The instances that a target names, as one view has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from lamella.archive.levels import Level
from lamella.archive.query import Query
from lamella.archive.search import search_series
from lamella.errors import ResourceNotFound
from lamella.vcs.repository import SELECTED_INSTANCES, Repository
from lamella.vcs.series_instances import order_instances
from lamella.vcs.stored import key_of_entry
from lamella.vcs.tree import Entry, Subtree, Tree
from lamella.vcs.view import View


@dataclass(frozen=True, slots=True)
class Selected:
    """One instance of a view.

    Attributes:
        key: Under which its rows are kept.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    entry: Entry
    key: bytes

    @property
    def path(self) -> tuple[str, ...]:
        """Return the path segments of the instance under a DICOMweb root."""
        return ("studies", self.study_uid, "series", self.series_uid, "instances", self.sop_uid)


def pick_instance(tree: Tree, study_uid: str, series_uid: str, sop_uid: str) -> Selected:
    """Return one instance of a tree.

    Raises:
        ResourceNotFound: The tree has no such instance.
    """
    entry = tree.entry(study_uid, series_uid, sop_uid)
    if entry is None:
        raise ResourceNotFound(f"There is no instance {sop_uid} in that series here.")
    return Selected(study_uid, series_uid, sop_uid, entry, key_of_entry(entry))


@dataclass(frozen=True, slots=True)
class SelectedSeries:
    """One series of a view."""

    study_uid: str
    series_uid: str
    subtree: Subtree

    @property
    def path(self) -> tuple[str, ...]:
        """Return the path segments of the series under a DICOMweb root."""
        return ("studies", self.study_uid, "series", self.series_uid)


def select_series(
    connection: sa.Connection,
    repository: Repository,
    view: View,
    study_uid: str,
    series_uid: str | None = None,
) -> list[SelectedSeries]:
    """Return the series of a study by number, or the one series, without a look inside.

    Raises:
        ResourceNotFound: The view has none of these.
        Rejected: What there was is hidden.
    """
    try:
        return _select_series_of(connection, repository, view, study_uid, series_uid)
    except ResourceNotFound as error:
        raise view.explain_absence(connection, error, study_uid, series_uid) from None


def _select_series_of(
    connection: sa.Connection,
    repository: Repository,
    view: View,
    study_uid: str,
    series_uid: str | None,
) -> list[SelectedSeries]:
    tree = view.tree(connection, repository)
    if series_uid is not None:
        return [pick_series(tree, study_uid, series_uid)]
    ordered = _order_series(connection, repository, view, study_uid)
    if not ordered:
        raise ResourceNotFound(f"There is no study {study_uid} at this revision.")
    return [pick_series(tree, study_uid, uid) for uid in ordered]


def pick_series(tree: Tree, study_uid: str, series_uid: str) -> SelectedSeries:
    """Return one series of a tree.

    Raises:
        ResourceNotFound: The tree has no such series.
    """
    subtree = tree.find_series(study_uid, series_uid)
    if subtree is None:
        raise ResourceNotFound(f"There is no series {series_uid} at this revision.")
    return SelectedSeries(study_uid, series_uid, subtree)


def select(
    connection: sa.Connection,
    repository: Repository,
    view: View,
    study_uid: str,
    series_uid: str | None = None,
    sop_uid: str | None = None,
) -> list[Selected]:
    """Return the instances of a study, of a series, or the one instance.

    Series come by number, instances by number within them, as in a search.

    Raises:
        ResourceNotFound: The view has none of these.
        Rejected: What there was is hidden.
    """
    try:
        return _select_instances(connection, repository, view, study_uid, series_uid, sop_uid)
    except ResourceNotFound as error:
        raise view.explain_absence(connection, error, study_uid, series_uid, sop_uid) from None


def _select_instances(
    connection: sa.Connection,
    repository: Repository,
    view: View,
    study_uid: str,
    series_uid: str | None,
    sop_uid: str | None,
) -> list[Selected]:
    tree = view.tree(connection, repository)
    if series_uid is not None and sop_uid is not None:
        return [pick_instance(tree, study_uid, series_uid, sop_uid)]
    series = [series_uid] if series_uid else _order_series(connection, repository, view, study_uid)
    found = [
        one
        for uid in series
        for one in _select_series(connection, repository, view, study_uid, uid)
    ]
    if not found:
        what = f"series {series_uid}" if series_uid else f"study {study_uid}"
        raise ResourceNotFound(f"There is no {what} at this revision.")
    return found


def _order_series(
    connection: sa.Connection, repository: Repository, view: View, study_uid: str
) -> Sequence[str]:
    query = Query(level=Level.SERIES, study_uid=study_uid)
    visible = view.visible(connection, repository)
    rows = search_series(connection, view.dataset.id, query, visible, repository.rows).rows
    return [row.series_uid for row in rows if row.series_uid is not None]


def _select_series(
    connection: sa.Connection, repository: Repository, view: View, study_uid: str, series_uid: str
) -> Sequence[Selected]:
    tree = view.tree(connection, repository)
    series = tree.find_series(study_uid, series_uid)
    if series is None:
        return ()
    name = (view.dataset.id, study_uid, series_uid, series.root)
    known = repository.selections.get(name)
    if known is not None:
        return known
    entries = dict(tree.instances(study_uid, series_uid))
    keys = {sop_uid: key_of_entry(entry) for sop_uid, entry in entries.items()}
    selected = [
        Selected(study_uid, series_uid, sop_uid, entries[sop_uid], keys[sop_uid])
        for sop_uid in order_instances(connection, view.dataset.id, keys)
    ]
    if len(selected) <= SELECTED_INSTANCES:
        repository.selections.put(name, selected, len(selected))
    return selected

"""Searching a view: catalog rows and instances that match, with their counts.

QIDO-RS, C-FIND and the clients all search here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lamella.archive.attribute_index import NAMES, READY, AttributeIndex, load_indexes
from lamella.archive.levels import (
    SERIES_RELATED_INSTANCES,
    STUDY_RELATED_INSTANCES,
    STUDY_RELATED_SERIES,
    Level,
)
from lamella.archive.matching import match_query
from lamella.archive.query import Query
from lamella.archive.search import (
    Candidate,
    Page,
    find_candidates,
    search_patients,
    search_series,
    search_studies,
    take_page,
    walk_series,
)
from lamella.vcs.judgement import find_places
from lamella.vcs.nodes import Summary
from lamella.vcs.repository import Repository
from lamella.vcs.series_instances import Candidates, InstanceReader, list_sop_uids
from lamella.vcs.study_sizes import StudySize
from lamella.vcs.tree import Tree
from lamella.vcs.view import View

DOCUMENTS_AT_A_TIME = 100
COUNTS_AT_A_TIME = 100
"""Nodes that are decoded at once, at most: 3 MB where studies are many."""


@dataclass(frozen=True, slots=True)
class Match:
    """One match.

    Attributes:
        series_uid: '' for a study or patient.
        sop_uid: '' for anything but an instance.
        attributes: DICOM JSON, with the attributes of the levels above.
        counts: Tag of a count → its value at this commit.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    attributes: Mapping[str, Any]
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Found:
    """A page of matches, and whether there are more behind it."""

    matches: tuple[Match, ...]
    has_more: bool


def find(connection: sa.Connection, repository: Repository, view: View, query: Query) -> Found:
    """Return the page of matches that a query asks for."""
    tree = view.tree(connection, repository)
    if query.level is Level.INSTANCE:
        page, has_more = take_page(_match_instances(connection, repository, view, query), query)
        return Found(tuple(page), has_more)
    found = find_rows(connection, repository, view, query)
    counts = count_rows(repository, tree, [row.key for row in found.rows])
    matches = tuple(
        Match(*row.key, "", row.attributes, counted)
        for row, counted in zip(found.rows, counts, strict=True)
    )
    return Found(matches, found.has_more)


def find_rows(connection: sa.Connection, repository: Repository, view: View, query: Query) -> Page:
    """Return the page of catalog rows that a query for anything but instances asks for."""
    search = {
        Level.PATIENT: search_patients,
        Level.STUDY: search_studies,
        Level.SERIES: search_series,
    }[query.level]
    visible = view.visible(connection, repository)
    indexes = list_ready(connection, view)
    return search(connection, view.dataset.id, query, visible, repository.rows, indexes)


def list_ready(connection: sa.Connection, view: View) -> Sequence[AttributeIndex]:
    """Return the indexes that a search may ask, as they stand in this transaction.

    The view may be older than one that was removed since; one that was declared since has no part
    in the search, whose results are the same without.
    """
    if not view.dataset.n_indexes:
        return (NAMES,)
    declared = load_indexes(connection, view.dataset.id)
    return (NAMES, *(index for index in declared if index.state == READY))


def count_rows(
    repository: Repository, tree: Tree, keys: Sequence[tuple[str, str]]
) -> list[Mapping[str, int]]:
    """Return the counts of each of a page's rows, by tag.

    Args:
        repository: Keeps what was read.
        tree: Of the view.
        keys: Study and series UID of each row; series UID '' for a study or patient.
    """
    sizes = repository.study_sizes.find_many(tree, [study for study, series in keys if not series])
    of_series = [key for key in keys if key[1]]
    for start in range(0, len(of_series), COUNTS_AT_A_TIME):
        tree.find_many(of_series[start : start + COUNTS_AT_A_TIME])
    return [
        count_related(tree, study, series) if series else _name_size(sizes.get(study))
        for study, series in keys
    ]


def count_related(tree: Tree, study_uid: str, series_uid: str) -> Mapping[str, int]:
    """Return the counts of a study, and of a series if one is named, by tag."""
    counts = _name_size(tree.study_summary(study_uid))
    series = tree.series_summary(study_uid, series_uid) if series_uid else None
    if series is not None:
        counts[SERIES_RELATED_INSTANCES] = series.n_instances
    return counts


def _name_size(size: StudySize | Summary | None) -> dict[str, int]:
    if size is None:
        return {}
    return {STUDY_RELATED_SERIES: size.n_series, STUDY_RELATED_INSTANCES: size.n_instances}


def _match_instances(
    connection: sa.Connection, repository: Repository, view: View, query: Query
) -> Iterator[Match]:
    tree = view.tree(connection, repository)
    match = match_query(query)
    indexes = list_ready(connection, view)
    candidates = _find_candidates(connection, view, query, indexes)
    reader = InstanceReader(connection, repository, view, query, candidates)
    among = None if candidates is None else candidates.keys()
    visible = view.visible(connection, repository)
    wanted = query.narrow_to(Level.SERIES)
    cache = repository.rows
    for row in walk_series(connection, view.dataset.id, wanted, visible, cache, indexes, among):
        counts = count_related(tree, row.study_uid, row.series_uid or "")
        inherited = reader.pick(row.attributes)
        for sop_uid, document in reader.read(row.study_uid, row.series_uid or ""):
            attributes = {**inherited, **document}
            if match(attributes):
                yield Match(row.study_uid, row.series_uid or "", sop_uid, attributes, counts)


def _find_candidates(
    connection: sa.Connection, view: View, query: Query, indexes: Sequence[AttributeIndex]
) -> Candidates | None:
    """Return the instances that can match, by series: those that the query names, or by an index.

    Returns:
        None where all instances of the series have to be looked at. Below a study that is so: they
        are few, and an index would tell of all studies.
    """
    named = list_sop_uids(query)
    if named is not None and query.study_uid and query.series_uid:
        return {(query.study_uid, query.series_uid): dict.fromkeys(named)}
    if named is not None:
        places = ((uid, find_places(connection, view.dataset.id, uid)) for uid in named)
        found: Iterable[Candidate] | None = [(*there, uid) for uid, at in places for there in at]
    elif query.study_uid is None and query.series_uid is None:
        found = find_candidates(connection, view.dataset.id, query, indexes)
    else:
        return None
    if found is None:
        return None
    candidates: Candidates = {}
    for study_uid, series_uid, sop_uid in found:
        candidates.setdefault((study_uid, series_uid), {})[sop_uid] = None
    return candidates

"""Searching a view: catalog rows and instances that match, with their counts.

QIDO-RS, C-FIND and the clients all search here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from lamella.archive.levels import (
    SERIES_RELATED_INSTANCES,
    STUDY_RELATED_INSTANCES,
    STUDY_RELATED_SERIES,
    Level,
)
from lamella.archive.matching import match_query
from lamella.archive.query import Query
from lamella.archive.search import (
    Page,
    Row,
    search_patients,
    search_series,
    search_studies,
    take_page,
    walk_series,
)
from lamella.vcs.judgement import find_places
from lamella.vcs.repository import Repository
from lamella.vcs.series_instances import InstanceReader, list_sop_uids
from lamella.vcs.tree import Tree
from lamella.vcs.view import View

DOCUMENTS_AT_A_TIME = 100


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
    matches = tuple(_make_match(repository, tree, row) for row in found.rows)
    return Found(matches, found.has_more)


def find_rows(connection: sa.Connection, repository: Repository, view: View, query: Query) -> Page:
    """Return the page of catalog rows that a query for anything but instances asks for."""
    search = {
        Level.PATIENT: search_patients,
        Level.STUDY: search_studies,
        Level.SERIES: search_series,
    }[query.level]
    visible = view.visible(connection, repository)
    return search(connection, view.dataset.id, query, visible, repository.rows)


def _make_match(repository: Repository, tree: Tree, row: Row) -> Match:
    counts = count_related(repository, tree, row.study_uid, row.series_uid or "")
    return Match(row.study_uid, row.series_uid or "", "", row.attributes, counts)


def count_related(
    repository: Repository, tree: Tree, study_uid: str, series_uid: str
) -> Mapping[str, int]:
    """Return the counts of a study, and of a series if one is named, by tag."""
    key = (tree.root, study_uid, series_uid)  # equal roots hold the same, in whatever dataset
    counts = repository.counts.get(key)
    if counts is None:
        counts = _count(tree, study_uid, series_uid)
        repository.counts.put(key, counts)
    return counts


def _count(tree: Tree, study_uid: str, series_uid: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    study = tree.study_summary(study_uid)
    if study is not None:
        counts[STUDY_RELATED_SERIES] = study.n_series
        counts[STUDY_RELATED_INSTANCES] = study.n_instances
    series = tree.series_summary(study_uid, series_uid) if series_uid else None
    if series is not None:
        counts[SERIES_RELATED_INSTANCES] = series.n_instances
    return counts


def _match_instances(
    connection: sa.Connection, repository: Repository, view: View, query: Query
) -> Iterator[Match]:
    tree = view.tree(connection, repository)
    match = match_query(query)
    reader = InstanceReader(connection, repository, view, query)
    for row in _narrow(connection, repository, view, query):
        counts = count_related(repository, tree, row.study_uid, row.series_uid or "")
        inherited = reader.pick(row.attributes)
        for sop_uid, document in reader.read(row.study_uid, row.series_uid or ""):
            attributes = {**inherited, **document}
            if match(attributes):
                yield Match(row.study_uid, row.series_uid or "", sop_uid, attributes, counts)


def _narrow(
    connection: sa.Connection, repository: Repository, view: View, query: Query
) -> Iterator[Row]:
    """Yield the series that can hold matches; those of named instances by the place index."""
    visible = view.visible(connection, repository)
    wanted = query.narrow_to(Level.SERIES)
    uids = list_sop_uids(query)
    if uids is None or query.series_uid:
        yield from walk_series(connection, view.dataset.id, wanted, visible, repository.rows)
        return
    places = {place for uid in uids for place in find_places(connection, view.dataset.id, uid)}
    for study_uid, series_uid in sorted(places):
        if query.study_uid not in (None, study_uid):
            continue
        there = replace(wanted, study_uid=study_uid, series_uid=series_uid)
        yield from walk_series(connection, view.dataset.id, there, visible, repository.rows)

"""Searches of the catalog as one view sees it.

    narrow (SQL over indexes) → visible (bitmap, in Python) → match exactly (DICOM JSON) → page

Row ids are read in the order of results in keyset batches that grow; the bitmap drops those the
view does not show; only for the rest are attributes read. Where most of what a scan reads is
invisible (an old commit of a dataset that has grown since), the rows of the view are read by
their ids instead, so a search costs at most a few times the smaller of the two. Nothing is
counted: `has_more` says that a match exists beyond the page.

Source:
    PS3.18 §8.3.4.4 (paging), §10.6; PS3.4 §C.4.1.2.2.1 (hierarchical search).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

import sqlalchemy as sa
from pyroaring import BitMap

from lamella.archive.attribute_index import NAMES, AttributeIndex
from lamella.archive.catalog import read_text
from lamella.archive.catalog_rows import IDS_PER_STATEMENT, CatalogRows, Row, RowCache
from lamella.archive.clauses import Clause, compare, is_one_of, join_all
from lamella.archive.levels import (
    EVERY_LEVEL,
    ISSUER_OF_PATIENT_ID,
    PATIENT_ID,
    STUDY_INSTANCE_UID,
    Level,
    level_of,
)
from lamella.archive.matching import list_tags, match_query
from lamella.archive.narrowing import (
    ask_indexes,
    narrow_series,
    narrow_studies,
    pick_series,
    pick_studies,
)
from lamella.archive.query import Key, Query, UidList
from lamella.archive.statements import fetch_text

__all__ = ["Page", "Row", "Visible", "search_instances", "search_patients", "search_series",
           "search_studies", "take_page", "walk_series"]  # fmt: skip

T = TypeVar("T")

SeriesKey = tuple[str, str]
Candidate = tuple[str, str, str]
"""(Study, Series, SOP) Instance UID."""

Place = tuple[Any, ...]
"""Where a row stands in an order: the values of its columns."""

FIRST_BATCH: Final = 110
"""Rows of an order that are read at first: a viewer's page of 101 and a few. Each batch after it
reads as much again as all before, so a view that shows half of the rows costs about twice that."""

LARGEST_BATCH: Final = 2400
MOST_PICKED: Final = 2000
"""Rows that are read out of order, and sorted here, where a key has an index of its own: given an
order and a limit, SQLite scans in that order and tests 1e6 rows for the one patient."""

MOST_ENTRIES: Final = 20_000
"""Entries of an index that narrow a search. Where there are more, the first page of results is
found in the order of results, too, and a list of them all would cost more."""

STUDIES_AT_ONCE: Final = 100
"""Studies whose series are looked for at once, where an index has named them."""

SCAN_ALLOWANCE: Final = 1000
"""Rows that a scan may read in vain before it counts as a scan of what the view does not show."""


@dataclass(frozen=True, slots=True)
class Visible:
    """The catalog rows that a commit shows, by row id."""

    studies: BitMap
    series: BitMap


@dataclass(frozen=True, slots=True)
class Page:
    """Matches from `query.offset` on, at most `query.limit`, and whether there are more."""

    rows: tuple[Row, ...]
    has_more: bool


def search_studies(
    conn: sa.Connection,
    dataset_id: int,
    query: Query,
    visible: Visible,
    cache: RowCache | None = None,
    indexes: Sequence[AttributeIndex] = (NAMES,),
) -> Page:
    """Return the studies that match, the newest first, then by UID."""
    catalog = _Catalog(conn, dataset_id, visible, cache, indexes)
    if not query.keys:
        wanted, has_more = take_page(_walk_studies(catalog, query), query)
        return Page(tuple(catalog.rows.read_studies(wanted)), has_more)
    rows, has_more = take_page(_match_studies(catalog, query), query)
    return Page(tuple(rows), has_more)


def search_patients(
    conn: sa.Connection,
    dataset_id: int,
    query: Query,
    visible: Visible,
    cache: RowCache | None = None,
    indexes: Sequence[AttributeIndex] = (NAMES,),
) -> Page:
    """Return one row for each patient (Patient ID with issuer) that has a matching study.

    The row is that of the patient's newest study.
    """
    catalog = _Catalog(conn, dataset_id, visible, cache, indexes)
    rows, has_more = take_page(_first_of_patients(_match_studies(catalog, query)), query)
    return Page(tuple(rows), has_more)


def search_series(
    conn: sa.Connection,
    dataset_id: int,
    query: Query,
    visible: Visible,
    cache: RowCache | None = None,
    indexes: Sequence[AttributeIndex] = (NAMES,),
) -> Page:
    """Return the series that match, by study UID, then series number, then series UID.

    Attributes of the study can be matched and are part of the result.
    """
    catalog = _Catalog(conn, dataset_id, visible, cache, indexes)
    rows, has_more = take_page(_match_series(catalog, query), query)
    return Page(tuple(rows), has_more)


def walk_series(
    conn: sa.Connection,
    dataset_id: int,
    query: Query,
    visible: Visible,
    cache: RowCache | None = None,
    indexes: Sequence[AttributeIndex] = (NAMES,),
    among: Set[SeriesKey] | None = None,
) -> Iterator[Row]:
    """Yield the series that match, in the order of `search_series`, as they are found.

    Args:
        conn: In a transaction.
        dataset_id: Of the dataset.
        query: What is searched for.
        visible: Rows that the view shows.
        cache: Of rows.
        indexes: Those that are ready.
        among: (Study, Series Instance UID) of the only series to look at; None for all.
    """
    catalog = _Catalog(conn, dataset_id, visible, cache, indexes)
    return _match_series(catalog, query, among)


def find_candidates(
    conn: sa.Connection, dataset_id: int, query: Query, indexes: Sequence[AttributeIndex]
) -> list[Candidate] | None:
    """Return what instances can match a query, at whatever commit.

    Returns:
        None if no index knows, or if there are so many that a page is full before long anyway.
    """
    asked = ask_indexes(query, Level.INSTANCE, indexes)
    if not asked:
        return None
    keys: set[bytes] | None = None
    for index, clauses in asked:
        found = _read_entries(conn, dataset_id, "key", index, clauses)
        if found is not None:
            keys = found if keys is None else keys & found
    return None if keys is None else _name_instances(conn, dataset_id, sorted(keys))


def _name_instances(conn: sa.Connection, dataset_id: int, keys: Sequence[bytes]) -> list[Candidate]:
    found: list[Candidate] = []
    for start in range(0, len(keys), IDS_PER_STATEMENT):
        chunk = keys[start : start + IDS_PER_STATEMENT]
        where = join_all([compare("dataset_id", "=", dataset_id), is_one_of("key", chunk)])
        text = f"SELECT study_uid, series_uid, sop_uid FROM instance WHERE {where.text}"
        found += [(row[0], row[1], row[2]) for row in fetch_text(conn, text, where.values)]
    return found


def search_instances(
    documents: Iterable[Mapping[str, Any]], query: Query
) -> tuple[list[Mapping[str, Any]], bool]:
    """Return the instances that match, in the order given, and whether there are more.

    Args:
        documents: DICOM JSON of the instances in question, with the attributes of their studies
            that no instance has (Modalities in Study) where the query asks for them.
    """
    match = match_query(query)
    return take_page((document for document in documents if match(document)), query)


def take_page(found: Iterator[T] | Iterable[T], query: Query) -> tuple[list[T], bool]:
    """Return what `query.offset` and `query.limit` leave of the matches, and if there are more.

    Source:
        PS3.18 §8.3.4.4.1.
    """
    rest = islice(found, query.offset, None)
    if query.limit is None:
        return list(rest), False
    page = list(islice(rest, query.limit + 1))
    return page[: query.limit], len(page) > query.limit


def _first_of_patients(rows: Iterable[Row]) -> Iterator[Row]:
    seen = set()
    for row in rows:
        patient = tuple(
            read_text(row.attributes, tag) for tag in (PATIENT_ID, ISSUER_OF_PATIENT_ID)
        )
        if patient not in seen:
            seen.add(patient)
            yield row


class _Order(NamedTuple):
    """A table, and the columns that its rows are read in the order of, the row id last."""

    table: str
    columns: str
    n_columns: int
    row_id: str


_STUDIES: Final = _Order("study_row", "study_row.sort_key, study_row.row_id", 2, "study_row.row_id")
_SERIES: Final = _Order(
    "series_row",
    "series_row.study_uid, series_row.sort_key, series_row.row_id",
    3,
    "series_row.row_id",
)


class _Catalog:
    """The catalog of one dataset as one view sees it, within a transaction."""

    def __init__(
        self,
        conn: sa.Connection,
        dataset_id: int,
        visible: Visible,
        cache: RowCache | None,
        indexes: Sequence[AttributeIndex],
    ) -> None:
        self.visible = visible
        self._indexes = indexes
        self.rows = CatalogRows(conn, dataset_id, cache)
        self._conn = conn
        self._dataset_id = dataset_id

    def select(self, order: _Order, where: Iterable[Clause], ending: Clause) -> list[Place]:
        """Return the places of the rows that a condition holds for."""
        own = compare(f"{order.table}.dataset_id", "=", self._dataset_id)
        condition = join_all([own, *where])
        text = f"SELECT {order.columns} FROM {order.table} WHERE {condition.text} {ending.text}"
        found = fetch_text(self._conn, text, (*condition.values, *ending.values))
        return [tuple(place) for place in found]

    def find_ids(self, level: Level, query: Query) -> BitMap | None:
        """Return the rows of a level that can match, as far as its indexes know.

        Returns:
            None if no index knows, or if there are so many that a page is full before long anyway.
        """
        found: BitMap | None = None
        for index, clauses in ask_indexes(query, level, self._indexes):
            ids = _read_entries(self._conn, self._dataset_id, "row_id", index, clauses)
            if ids is not None:
                found = BitMap(ids) if found is None else found & BitMap(ids)
        return found


def _read_entries(
    conn: sa.Connection,
    dataset_id: int,
    target: str,
    index: AttributeIndex,
    alternatives: Iterable[Clause],
) -> set[Any] | None:
    """Return what an index has under some terms; None if that is much."""
    found: set[Any] = set()
    own = [compare("dataset_id", "=", dataset_id), compare("index_id", "=", index.id)]
    for clause in alternatives:
        condition = join_all([*own, clause])
        text = f"SELECT {target} FROM {index.table.name} WHERE {condition.text} LIMIT ?"
        rows = fetch_text(conn, text, (*condition.values, MOST_ENTRIES + 1))
        if len(rows) > MOST_ENTRIES:
            return None
        found.update(row[0] for row in rows)
    return found


def _match_studies(catalog: _Catalog, query: Query) -> Iterator[Row]:
    match, tags = match_query(query), list_tags(query)
    for ids in _batch(_walk_studies(catalog, query), query):
        for row in catalog.rows.read_studies(ids):
            # the column tells a study's own UID
            if not query.keys or match(row.attributes if tags is None else row.pick(tags)):
                yield row


def _walk_studies(catalog: _Catalog, query: Query) -> Iterator[int]:
    where, visible = narrow_studies(query), catalog.visible.studies
    known = catalog.find_ids(Level.STUDY, query)
    if known is not None:
        return _read_places(catalog, _STUDIES, where, None, visible & known)
    return _walk_ids(catalog, _STUDIES, where, visible, pick_studies(query))


def _match_series(
    catalog: _Catalog, query: Query, among: Set[SeriesKey] | None = None
) -> Iterator[Row]:
    match = match_query(query)
    walk = _walk_series(catalog, query) if among is None else _walk_named(catalog, query, among)
    for ids in _batch(walk, query):
        rows = list(catalog.rows.read_series(ids))
        uids = {row.study_uid for row in rows}
        studies = catalog.rows.read_studies_of(uids, catalog.visible.studies)
        for row in rows:
            if among is not None and (row.study_uid, row.series_uid) not in among:
                continue
            whole = row.within(studies.get(row.study_uid))
            if not query.keys or match(whole.attributes):
                yield whole


def _walk_series(catalog: _Catalog, query: Query) -> Iterator[int]:
    where, visible = narrow_series(query), catalog.visible.series
    known = catalog.find_ids(Level.SERIES, query)
    if known is not None:
        yield from _read_places(catalog, _SERIES, where, None, visible & known)
        return
    if not any(map(_needs_study, query.scope_keys())):
        yield from _walk_ids(catalog, _SERIES, where, visible, pick_series(query))
        return
    of_studies = query.narrow_to(Level.STUDY)
    uids = sorted({row.study_uid for row in _match_studies(catalog, of_studies)})
    for start in range(0, len(uids), IDS_PER_STATEMENT):
        chunk = is_one_of("series_row.study_uid", uids[start : start + IDS_PER_STATEMENT])
        there = [*where, chunk]
        yield from _walk_ids(catalog, _SERIES, there, visible, [there])


def _walk_named(catalog: _Catalog, query: Query, among: Set[SeriesKey]) -> Iterator[int]:
    """Yield the visible rows of named series, and perhaps of others of their studies, in order."""
    where = narrow_series(query)
    studies = sorted({study_uid for study_uid, _ in among})
    for start in range(0, len(studies), STUDIES_AT_ONCE):
        chunk = studies[start : start + STUDIES_AT_ONCE]
        there = [*where, is_one_of("series_row.study_uid", chunk)]
        last = chunk[-1]
        series = sorted({uid for study_uid, uid in among if chunk[0] <= study_uid <= last})
        if len(series) <= IDS_PER_STATEMENT:
            there.append(is_one_of("series_row.series_uid", series))
        yield from _walk_ids(catalog, _SERIES, there, catalog.visible.series, [there])


def _needs_study(key: Key) -> bool:
    """Whether only the study's row can tell if a series matches."""
    tag = key.path[0]
    if tag == STUDY_INSTANCE_UID:
        return not isinstance(key.condition, UidList)
    return level_of(tag) <= Level.STUDY and tag not in EVERY_LEVEL


def _walk_ids(
    catalog: _Catalog,
    order: _Order,
    where: list[Clause],
    visible: BitMap,
    picks: list[list[Clause]],
) -> Iterator[int]:
    """Yield the visible row ids in order.

    Args:
        catalog: What to read.
        order: Which rows, in which order.
        where: What narrows the rows.
        visible: Ids of the rows that the view shows.
        picks: Searches by index that together find all of these rows; may be empty.
    """
    if not visible:
        return
    places = _pick(catalog, order, picks)
    if places is not None:
        yield from (place[-1] for place in places if place[-1] in visible)
        return
    size, total, wasted = FIRST_BATCH, 0, 0
    after: Place | None = None
    while True:
        batch = _scan(catalog, order, where, after, size)
        for place in batch:
            if place[-1] in visible:
                yield place[-1]
            else:
                wasted += 1
        if len(batch) < size:
            return
        total += size
        after, size = batch[-1], min(total, LARGEST_BATCH)
        if wasted > SCAN_ALLOWANCE + len(visible):
            yield from _read_places(catalog, order, where, after, visible)
            return


def _pick(catalog: _Catalog, order: _Order, picks: list[list[Clause]]) -> list[Place] | None:
    """Return the places that the picks find, sorted; None if there are none or they are many."""
    places: set[Place] = set()
    for where in picks:
        places.update(catalog.select(order, where, Clause("LIMIT ?", (MOST_PICKED + 1,))))
        if len(places) > MOST_PICKED:
            return None
    return sorted(places) if picks else None


def _scan(
    catalog: _Catalog, order: _Order, where: list[Clause], after: Place | None, size: int
) -> list[Place]:
    if after is not None:
        marks = ", ".join("?" * order.n_columns)
        where = [*where, Clause(f"({order.columns}) > ({marks})", after)]
    return catalog.select(order, where, Clause(f"ORDER BY {order.columns} LIMIT ?", (size,)))


def _read_places(
    catalog: _Catalog, order: _Order, where: list[Clause], after: Place | None, visible: BitMap
) -> Iterator[int]:
    """Yield those of some rows that a condition holds for, in order, behind a place."""
    places: list[Place] = []
    ids = iter(visible)
    while chunk := list(islice(ids, IDS_PER_STATEMENT)):
        places += catalog.select(order, [*where, is_one_of(order.row_id, chunk)], Clause(""))
    yield from (place[-1] for place in sorted(places) if after is None or place > after)


def _batch(ids: Iterator[int], query: Query) -> Iterator[list[int]]:
    """Group ids into batches whose attributes are read at once: no more than a page at first."""
    page = FIRST_BATCH if query.limit is None else query.offset + query.limit + 1
    size = min(max(page, 1), FIRST_BATCH)
    while chunk := list(islice(ids, size)):
        yield chunk
        size = min(size * 2, IDS_PER_STATEMENT)

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

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from pyroaring import BitMap

from lamella.archive.catalog import decode_attributes, read_text, series_row, study_row
from lamella.archive.levels import (
    EVERY_LEVEL,
    ISSUER_OF_PATIENT_ID,
    PATIENT_ID,
    STUDY_INSTANCE_UID,
    Level,
    level_of,
)
from lamella.archive.matching import match_query
from lamella.archive.narrowing import (
    Predicate,
    narrow_series,
    narrow_studies,
    pick_series,
    pick_studies,
)
from lamella.archive.query import Key, Query, UidList

T = TypeVar("T")

FIRST_BATCH: Final = 150
LARGEST_BATCH: Final = 2400
IDS_PER_STATEMENT: Final = 500
MOST_PICKED: Final = 2000
"""Rows that are read out of order, and sorted here, where a key has an index of its own: given an
order and a limit, SQLite scans in that order and tests 1e6 rows for the one patient."""

SCAN_ALLOWANCE: Final = 1000
"""Rows that a scan may read in vain before it counts as a scan of what the view does not show."""


@dataclass(frozen=True, slots=True)
class Visible:
    """The catalog rows that a commit shows, by row id."""

    studies: BitMap
    series: BitMap


@dataclass(frozen=True, slots=True)
class Row:
    """One match.

    Attributes:
        row_id: Id of the study row (of the series row, for a series) in its dataset.
        series_uid: None for a study or patient.
        attributes: DICOM JSON; of a series with those of its study.
    """

    row_id: int
    study_uid: str
    series_uid: str | None
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Matches from `query.offset` on, at most `query.limit`, and whether there are more."""

    rows: tuple[Row, ...]
    has_more: bool


def search_studies(conn: sa.Connection, dataset_id: int, query: Query, visible: Visible) -> Page:
    """Return the studies that match, the newest first, then by UID."""
    if not query.scope_keys():
        ids = _walk_studies(conn, dataset_id, query, visible)
        wanted, has_more = take_page(ids, query)
        return Page(tuple(_read_studies(conn, dataset_id, wanted)), has_more)
    rows, has_more = take_page(_match_studies(conn, dataset_id, query, visible), query)
    return Page(tuple(rows), has_more)


def search_patients(conn: sa.Connection, dataset_id: int, query: Query, visible: Visible) -> Page:
    """Return one row for each patient (Patient ID with issuer) that has a matching study.

    The row is that of the patient's newest study.
    """
    rows, has_more = take_page(
        _first_of_patients(_match_studies(conn, dataset_id, query, visible)), query
    )
    return Page(tuple(rows), has_more)


def search_series(conn: sa.Connection, dataset_id: int, query: Query, visible: Visible) -> Page:
    """Return the series that match, by study UID, then series number, then series UID.

    Attributes of the study can be matched and are part of the result.
    """
    rows, has_more = take_page(_match_series(conn, dataset_id, query, visible), query)
    return Page(tuple(rows), has_more)


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


def _match_studies(
    conn: sa.Connection, dataset_id: int, query: Query, visible: Visible
) -> Iterator[Row]:
    match = match_query(query)
    for ids in _batch(_walk_studies(conn, dataset_id, query, visible), query):
        for row in _read_studies(conn, dataset_id, ids):
            if match(row.attributes):
                yield row


def _walk_studies(
    conn: sa.Connection, dataset_id: int, query: Query, visible: Visible
) -> Iterator[int]:
    order = (study_row.c.sort_key, study_row.c.row_id)
    where = [study_row.c.dataset_id == dataset_id, *narrow_studies(query)]
    return _walk_ids(conn, order, where, visible.studies, pick_studies(query))


def _match_series(
    conn: sa.Connection, dataset_id: int, query: Query, visible: Visible
) -> Iterator[Row]:
    match = match_query(query)
    for ids in _batch(_walk_series(conn, dataset_id, query, visible), query):
        rows = list(_read_series(conn, dataset_id, ids))
        studies = _read_studies_of(conn, dataset_id, {row.study_uid for row in rows}, visible)
        for row in rows:
            merged = studies.get(row.study_uid, {}) | row.attributes
            if match(merged):
                yield Row(row.row_id, row.study_uid, row.series_uid, dict(sorted(merged.items())))


def _walk_series(
    conn: sa.Connection, dataset_id: int, query: Query, visible: Visible
) -> Iterator[int]:
    order = (series_row.c.study_uid, series_row.c.sort_key, series_row.c.row_id)
    where = [series_row.c.dataset_id == dataset_id, *narrow_series(query)]
    if not any(map(_needs_study, query.scope_keys())):
        yield from _walk_ids(conn, order, where, visible.series, pick_series(query))
        return
    of_studies = query.narrow_to(Level.STUDY)
    uids = sorted({row.study_uid for row in _match_studies(conn, dataset_id, of_studies, visible)})
    for start in range(0, len(uids), IDS_PER_STATEMENT):
        chunk = series_row.c.study_uid.in_(uids[start : start + IDS_PER_STATEMENT])
        yield from _walk_ids(conn, order, [*where, chunk], visible.series, [[*where[1:], chunk]])


def _needs_study(key: Key) -> bool:
    """Whether only the study's row can tell if a series matches."""
    tag = key.path[0]
    if tag == STUDY_INSTANCE_UID:
        return not isinstance(key.condition, UidList)
    return level_of(tag) <= Level.STUDY and tag not in EVERY_LEVEL


def _walk_ids(
    conn: sa.Connection,
    order: tuple[sa.Column[Any], ...],
    where: list[Predicate],
    visible: BitMap,
    picks: list[list[Predicate]],
) -> Iterator[int]:
    """Yield the visible row ids in order; the last column of `order` is the row id.

    Args:
        where: The dataset, and what narrows its rows.
        picks: Searches by index that together find all of these rows; may be empty.
    """
    if not visible:
        return
    places = _pick(conn, order, [[*where[:1], *pick] for pick in picks])
    if places is not None:
        yield from (place[-1] for place in places if place[-1] in visible)
        return
    size, wasted = FIRST_BATCH, 0
    after: tuple[Any, ...] | None = None
    while True:
        batch = _scan(conn, order, where, after, size)
        for place in batch:
            if place[-1] in visible:
                yield place[-1]
            else:
                wasted += 1
        if len(batch) < size:
            return
        after, size = batch[-1], min(size * 2, LARGEST_BATCH)
        if wasted > SCAN_ALLOWANCE + len(visible):
            yield from _read_places(conn, order, where, after, visible)
            return


def _pick(
    conn: sa.Connection, order: tuple[sa.Column[Any], ...], picks: list[list[Predicate]]
) -> list[tuple[Any, ...]] | None:
    """Return the places that the picks find, sorted; None if there are none or they are many."""
    places: set[tuple[Any, ...]] = set()
    for where in picks:
        statement = sa.select(*order).where(*where).limit(MOST_PICKED + 1)
        places |= {tuple(found) for found in conn.execute(statement).all()}
        if len(places) > MOST_PICKED:
            return None
    return sorted(places) if picks else None


def _scan(
    conn: sa.Connection,
    order: tuple[sa.Column[Any], ...],
    where: list[Predicate],
    after: tuple[Any, ...] | None,
    size: int,
) -> list[tuple[Any, ...]]:
    statement = sa.select(*order).where(*where).order_by(*order).limit(size)
    if after is not None:
        statement = statement.where(
            sa.tuple_(*order) > sa.tuple_(*after, types=[column.type for column in order])
        )
    return [tuple(found) for found in conn.execute(statement).all()]


def _read_places(
    conn: sa.Connection,
    order: tuple[sa.Column[Any], ...],
    where: list[Predicate],
    after: tuple[Any, ...],
    visible: BitMap,
) -> Iterator[int]:
    places: list[tuple[Any, ...]] = []
    ids = iter(visible)
    while chunk := list(islice(ids, IDS_PER_STATEMENT)):
        statement = sa.select(*order).where(*where, order[-1].in_(chunk))
        places += (tuple(found) for found in conn.execute(statement).all())
    yield from (place[-1] for place in sorted(places) if place > after)


def _batch(ids: Iterator[int], query: Query) -> Iterator[list[int]]:
    """Group ids into batches whose attributes are read at once: no more than a page at first."""
    page = FIRST_BATCH if query.limit is None else query.offset + query.limit + 1
    size = min(max(page, 1), FIRST_BATCH)
    while chunk := list(islice(ids, size)):
        yield chunk
        size = min(size * 2, IDS_PER_STATEMENT)


def _read_studies(conn: sa.Connection, dataset_id: int, ids: Sequence[int]) -> Iterator[Row]:
    columns = (study_row.c.row_id, study_row.c.study_uid, study_row.c.attributes)
    found = _read_rows(conn, columns, dataset_id, ids)
    for row_id in ids:
        _, study_uid, data = found[row_id]
        yield Row(row_id, study_uid, None, decode_attributes(data))


def _read_series(conn: sa.Connection, dataset_id: int, ids: Sequence[int]) -> Iterator[Row]:
    columns = (
        series_row.c.row_id,
        series_row.c.study_uid,
        series_row.c.series_uid,
        series_row.c.attributes,
    )
    found = _read_rows(conn, columns, dataset_id, ids)
    for row_id in ids:
        _, study_uid, series_uid, data = found[row_id]
        yield Row(row_id, study_uid, series_uid, decode_attributes(data))


def _read_rows(
    conn: sa.Connection, columns: tuple[sa.Column[Any], ...], dataset_id: int, ids: Sequence[int]
) -> dict[int, Sequence[Any]]:
    found: dict[int, Sequence[Any]] = {}
    table = columns[0].table
    for start in range(0, len(ids), IDS_PER_STATEMENT):
        chunk = ids[start : start + IDS_PER_STATEMENT]
        statement = sa.select(*columns).where(
            table.c.dataset_id == dataset_id, table.c.row_id.in_(chunk)
        )
        found |= {row[0]: row for row in conn.execute(statement).all()}
    return found


def _read_studies_of(
    conn: sa.Connection, dataset_id: int, uids: set[str], visible: Visible
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    listed = sorted(uids)
    columns = (study_row.c.row_id, study_row.c.study_uid, study_row.c.attributes)
    for start in range(0, len(listed), IDS_PER_STATEMENT):
        statement = sa.select(*columns).where(
            study_row.c.dataset_id == dataset_id,
            study_row.c.study_uid.in_(listed[start : start + IDS_PER_STATEMENT]),
        )
        for row_id, study_uid, data in conn.execute(statement):
            if row_id in visible.studies:
                found[study_uid] = decode_attributes(data)
    return found


def walk_series(
    conn: sa.Connection, dataset_id: int, query: Query, visible: Visible
) -> Iterator[Row]:
    """Yield the series that match, in the order of `search_series`, as they are found."""
    return _match_series(conn, dataset_id, query, visible)

"""A page of results, written where it is read: rows found, each as a JSON object."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import sqlalchemy as sa

from lamella.archive.catalog_rows import Row
from lamella.archive.fragments import COUNTS, Fragment, FragmentWriter, find_writer
from lamella.archive.levels import Level
from lamella.archive.query import Query
from lamella.archive.results import build_shaper
from lamella.dicomweb.bulk_uris import fill_holes
from lamella.dicomweb.locations import join_path
from lamella.dicomweb.services import KnownPage, PageKey, Services
from lamella.vcs.finder import count_rows, find, find_rows
from lamella.vcs.repository import NotCached
from lamella.vcs.view import View

LONGEST_KNOWN_PAGE = 500  # rows


@dataclass(frozen=True, slots=True)
class ResultPage:
    """Results as JSON objects, and whether there are more behind them."""

    results: list[bytes]
    has_more: bool


def write_page(
    connection: sa.Connection, services: Services, view: View, query: Query, root_url: str
) -> ResultPage:
    """Search a view and write what is found.

    Args:
        connection: In a transaction.
        services: What to work with.
        view: What to search.
        query: What for.
        root_url: Of the DICOMweb root, as typed, for the results' URLs.
    """
    if query.level is Level.INSTANCE:
        return _write_instances(connection, services, view, query, root_url)
    repository = services.repository
    tree = view.tree(connection, repository)
    found = find_rows(connection, repository, view, query)
    writer, root = find_writer(query), _encode_root(root_url)
    counts = count_rows(repository, tree, [row.key for row in found.rows])
    results = [
        _find_fragment(services, view, writer, row).fill(root, counted)
        for row, counted in zip(found.rows, counts, strict=True)
    ]
    if len(found.rows) <= LONGEST_KNOWN_PAGE:
        rows = tuple((row.key, row.identity) for row in found.rows)
        services.pages.put(_name_page(view, query), KnownPage(rows, found.has_more), len(rows) + 1)
    return ResultPage(results, found.has_more)


def recall_page(services: Services, view: View, query: Query, root_url: str) -> ResultPage | None:
    """Return what a query for anything but instances finds, if all of the page is in memory.

    It needs no database, so neither a thread nor a transaction: half of a short search.

    Args:
        services: What to work with.
        view: What to search.
        query: What for.
        root_url: Of the DICOMweb root, as typed, for the results' URLs.
    """
    known = services.pages.get(_name_page(view, query))
    if known is None:
        return None
    repository = services.repository
    tree = repository.recall_tree(view.root)
    writer, root = find_writer(query), _encode_root(root_url)
    fragments = []
    for _, identity in known.rows:
        fragment = services.fragments.get((writer, view.dataset.id, identity))
        if fragment is None:
            return None
        fragments.append(fragment)
    try:
        counts = count_rows(repository, tree, [key for key, _ in known.rows])
    except NotCached:
        return None
    pairs = zip(fragments, counts, strict=True)
    return ResultPage([fragment.fill(root, counted) for fragment, counted in pairs], known.has_more)


def _name_page(view: View, query: Query) -> PageKey:
    """Return what decides the rows of a page: a visible set and its rows never change."""
    return view.dataset.id, view.visible_id, query


def _encode_root(root_url: str) -> bytes:
    return msgspec.json.encode(root_url)[1:-1]


def _find_fragment(services: Services, view: View, writer: FragmentWriter, row: Row) -> Fragment:
    key = (writer, view.dataset.id, row.identity)
    fragment = services.fragments.get(key)
    if fragment is None:
        path = join_path("studies", row.study_uid)
        if row.series_uid is not None:
            path += join_path("series", row.series_uid)
        tags = COUNTS[:2] if row.series_uid is None else COUNTS
        fragment = writer.write(row, tags, path)
        services.fragments.put(key, fragment, fragment.size_bytes)
    return fragment


def _write_instances(
    connection: sa.Connection, services: Services, view: View, query: Query, root_url: str
) -> ResultPage:
    found = find(connection, services.repository, view, query)
    shape = build_shaper(query)
    results = []
    for match in found.matches:
        url = root_url + join_path(
            "studies", match.study_uid, "series", match.series_uid, "instances", match.sop_uid
        )
        result = msgspec.json.encode(shape(match.attributes, match.counts, url))
        results.append(fill_holes(result, url))
    return ResultPage(results, found.has_more)

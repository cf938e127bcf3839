"""The instances of one view that a retrieve or a push is about, page by page.

Series are listed at once, their instances when their turn comes: memory does not grow with a
study.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import sqlalchemy as sa

from lamella.archive.levels import UNIQUE_KEYS, Level
from lamella.archive.query import Query, UidList
from lamella.dimse_gateway.data_sets import Outgoing
from lamella.errors import Erased, ResourceNotFound
from lamella.vcs.finder import find
from lamella.vcs.repository import Repository
from lamella.vcs.selection import Selected, pick_instance, select
from lamella.vcs.stored import Document, load_documents
from lamella.vcs.view import View, find_instance, read_view

PAGE_INSTANCES: Final = 100
_SERIES_PAGE: Final = 1_000
_SOP_UID: Final = UNIQUE_KEYS[Level.INSTANCE]

Kind = tuple[str, str]
"""SOP class and transfer syntax UID."""


@dataclass(slots=True)
class Stock:
    """What is still to be sent of a view.

    Attributes:
        total: How many instances there were in the beginning.
        kinds: What they are, if that was asked.
    """

    repository: Repository
    view: View
    total: int
    kinds: frozenset[Kind]
    _series: deque[tuple[str, str]]
    _instances: deque[Selected]

    async def take_page(self) -> list[Outgoing]:
        """Return the next instances; none at the end."""
        if not self._instances and self._series:
            study_uid, series_uid = self._series.popleft()
            found = await self.repository.archive.database.read(
                lambda c: select(c, self.repository, self.view, study_uid, series_uid)
            )
            self._instances.extend(found)
        count = min(PAGE_INSTANCES, len(self._instances))
        page = [self._instances.popleft() for _ in range(count)]
        blobs = self.repository.blobs
        await blobs.locate([segment for one in page for segment in one.entry.segments])
        return [Outgoing(one, await blobs.open(one.entry.segments)) for one in page]

    async def read_document(self, instance: Selected) -> Document:
        """Return the derived data of an instance."""
        dataset_id = self.view.dataset.id
        found = await self.repository.archive.database.read(
            lambda c: load_documents(c, dataset_id, [instance.key])
        )
        return found[instance.key]


async def open_stock(
    repository: Repository,
    dataset: str,
    revision: str | None,
    query: Query,
    *,
    with_kinds: bool = False,
) -> Stock:
    """Return what a query of unique keys names at a revision; it is of one commit.

    Args:
        repository: Where to look.
        dataset: Name of the dataset.
        revision: As typed.
        query: At its level the unique key may be a list.
        with_kinds: Look at all instances beforehand to tell what they are.

    Raises:
        InvalidRequest, AmbiguousRevision, RevisionNotFound: As `revision.resolve`.
    """

    def read(connection: sa.Connection, view: View) -> Stock:
        if query.level is Level.INSTANCE:
            picked = _pick_instances(connection, repository, view, query)
            kinds = frozenset(_kind_of(one) for one in picked)
            return Stock(repository, view, len(picked), kinds, deque(), deque(picked))
        tree = view.tree(connection, repository)
        series = _list_series(connection, repository, view, query)
        found = [tree.find_series(*names) for names in series]
        total = sum(subtree.summary.n_instances for subtree in found if subtree is not None)
        kinds = frozenset(
            (entry.sop_class_uid, entry.transfer_syntax_uid)
            for names in (series if with_kinds else ())
            for _, entry in tree.instances(*names)
        )
        return Stock(repository, view, total, kinds, deque(series), deque())

    _, stock = await read_view(repository, dataset, revision, read)
    return stock


def _kind_of(instance: Selected) -> Kind:
    return instance.entry.sop_class_uid, instance.entry.transfer_syntax_uid


def _list_series(
    connection: sa.Connection, repository: Repository, view: View, query: Query
) -> list[tuple[str, str]]:
    """Return the series that a query names, at whatever level above instances."""
    wanted = replace(query, level=Level.SERIES, limit=_SERIES_PAGE, offset=0)
    series: list[tuple[str, str]] = []
    while True:
        found = find(connection, repository, view, replace(wanted, offset=len(series)))
        series += [(match.study_uid, match.series_uid) for match in found.matches]
        if not found.has_more:
            return series


def _pick_instances(
    connection: sa.Connection, repository: Repository, view: View, query: Query
) -> list[Selected]:
    """Return the instances that a query names, by way of their series or else by their places."""
    above = tuple(key for key in query.keys if key.path != (_SOP_UID,))
    uids = [
        uid
        for key in query.keys
        if key.path == (_SOP_UID,) and isinstance(key.condition, UidList)
        for uid in key.condition.uids
    ]
    if not above:
        return _pick_by_place(connection, repository, view, uids)
    tree = view.tree(connection, repository)
    scope = replace(query, sop_uid=None, keys=above)
    return [
        pick_instance(tree, *names, uid)
        for names in _list_series(connection, repository, view, scope)
        for uid in uids
        if tree.entry(*names, uid) is not None
    ]


def _pick_by_place(
    connection: sa.Connection, repository: Repository, view: View, uids: Sequence[str]
) -> list[Selected]:
    tree = view.tree(connection, repository)
    picked = []
    for uid in uids:
        try:
            names, _ = find_instance(connection, repository, view, uid)
        except (ResourceNotFound, Erased):
            continue  # as a search: what is not there does not match
        picked.append(pick_instance(tree, *names))
    return picked

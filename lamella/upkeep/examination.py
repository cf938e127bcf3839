"""One run of fsck: what its checks share, and how they read big tables in short transactions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa

from lamella.archive.blobs import Blobs
from lamella.archive.installation import Archive
from lamella.upkeep.report import Kind, Progress, Report
from lamella.vcs.refs import DatasetRow

T = TypeVar("T")
Row = sa.Row[*tuple[Any, ...]]

PAGE_ROWS = 1_000
"""Rows a transaction reads: some ten milliseconds, so that a running server never waits."""


@dataclass(slots=True)
class Examination:
    """What the checks of one run share.

    Attributes:
        archive: What is examined.
        report: Where findings go.
        datasets: All datasets, as they were when the run began.
        rehash: Whether all stored bytes are read (`--bytes`).
        repair: Whether what is derived is mended.
        progress: Told how far a check is.
        blobs: Reads instances, by locations as they are now.
        held_bytes: Of each pack that is missing or short: how many bytes there are, by pack id.
        bad_blobs: Digests whose bytes are lost or damaged.
        said: (dataset id, key) of instances whose derived data are known to be wrong.
    """

    archive: Archive
    report: Report
    datasets: Sequence[DatasetRow]
    rehash: bool
    repair: bool
    progress: Progress
    blobs: Blobs
    held_bytes: dict[int, int] = field(default_factory=dict)
    bad_blobs: set[bytes] = field(default_factory=set)
    said: set[tuple[int, bytes]] = field(default_factory=set)

    def add(self, kind: Kind, name: str, sentence: str, *, repaired: bool = False) -> None:
        """Take a finding."""
        self.report.add(kind, name, sentence, repaired=repaired)

    def count(self, check: str, number: int) -> None:
        """Note that a check has looked at so many more objects."""
        self.report.checked[check] += number
        self.progress(check, self.report.checked[check])

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Run a short read transaction."""
        return await self.archive.database.read(work)

    async def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run a short write transaction; `work` may run twice."""
        return await self.archive.database.write(work)

    async def scan(
        self,
        query: sa.Select[Any],
        keys: Sequence[sa.Column[Any]],
        work: Callable[[sa.Connection, Sequence[Row]], T],
        *,
        after: Sequence[Any] | None = None,
        page_rows: int = PAGE_ROWS,
    ) -> AsyncIterator[tuple[Sequence[Any], T]]:
        """Read all rows of a query, page by page, each page in a transaction of its own.

        Args:
            query: Without order; its first columns are `keys`.
            keys: Columns that are unique together and have an index.
            work: Looks at one page, in the transaction that read it.
            after: Begin behind these values of `keys`.

        Yields:
            (values of `keys` in the page's last row, what `work` returned).
        """
        ordered = query.order_by(*keys).limit(page_rows)
        cursor = after
        while True:
            page = ordered if cursor is None else ordered.where(_is_after(keys, cursor))

            def read_page(
                connection: sa.Connection, page: sa.Select[Any] = page
            ) -> tuple[Sequence[Row], T | None]:
                rows = connection.execute(page).all()
                return rows, (work(connection, rows) if rows else None)

            rows, result = await self.read(read_page)
            if result is not None:
                cursor = tuple(rows[-1][: len(keys)])
                yield cursor, result
            if len(rows) < page_rows:
                return


def _is_after(keys: Sequence[sa.Column[Any]], values: Sequence[Any]) -> sa.ColumnElement[bool]:
    literals = [sa.literal(value, key.type) for key, value in zip(keys, values, strict=True)]
    return sa.tuple_(*keys) > sa.tuple_(*literals)

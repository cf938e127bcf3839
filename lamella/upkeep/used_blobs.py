"""Which blobs any instance uses: some eight bytes of each digest, in order."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa

from lamella.archive.database import Database
from lamella.archive.tables import instance

PAGE_ROWS = 2_000
_PREFIX_BYTES = 8


class UsedBlobs:
    """Digests by their first eight bytes: two that begin alike count as one, which is safe.

    Args:
        prefixes: The first eight bytes of each digest, as they lie in memory.
    """

    def __init__(self, prefixes: array[int]) -> None:
        self._prefixes = np.unique(np.frombuffer(prefixes, dtype=np.uint64))

    def __contains__(self, digest: bytes) -> bool:
        prefix = np.frombuffer(digest[:_PREFIX_BYTES], dtype=np.uint64)[0]
        index = int(np.searchsorted(self._prefixes, prefix))
        return index < len(self._prefixes) and bool(self._prefixes[index] == prefix)


async def read_used(database: Database, progress: Callable[[int], None]) -> UsedBlobs:
    """Read which blobs the instances of all datasets use.

    Args:
        database: Of the installation.
        progress: Told how many instances have been read.
    """
    prefixes, count = array("Q"), 0
    async for rows in scan_instances(database, instance.c.segments):
        for (segments,) in rows:
            for digest, _ in msgspec.msgpack.decode(segments):
                prefixes.frombytes(digest[:_PREFIX_BYTES])
        count += len(rows)
        progress(count)
    return UsedBlobs(prefixes)


async def scan_instances(
    database: Database, *columns: sa.Column[Any]
) -> AsyncIterator[Sequence[Sequence[Any]]]:
    """Yield some columns of the instances of all datasets, page by page."""
    order = (instance.c.dataset_id, instance.c.key)
    query = sa.select(*order, *columns).order_by(*order).limit(PAGE_ROWS)
    page = query
    while True:
        rows = await database.read(lambda c, page=page: c.execute(page).all())  # type: ignore[misc]
        if not rows:
            return
        yield [row[len(order) :] for row in rows]
        last = [
            sa.literal(value, column.type) for value, column in zip(rows[-1], order, strict=False)
        ]
        page = query.where(sa.tuple_(*order) > sa.tuple_(*last))

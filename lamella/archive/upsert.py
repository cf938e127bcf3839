"""Insert what is not there yet, on both databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa

from lamella.archive.statements import MissingInsert

T = TypeVar("T")
BATCH = 400  # SQLite and PostgreSQL both take this many parameters in one IN list


def insert_missing(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert rows, which name all columns; those whose key is taken are left as they are."""
    _prepare_insert(table).run_many(connection, rows)


_prepare_insert = lru_cache(maxsize=64)(MissingInsert)


def split_batches(items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """Yield consecutive slices of at most `size` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]

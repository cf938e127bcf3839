"""Insert what is not there yet, on both databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")
BATCH = 400  # SQLite and PostgreSQL both take this many parameters in one IN list


def insert_missing(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert rows; those whose key is taken are left as they are."""
    if not rows:
        return
    connection.execute(_build_insert(connection.dialect.name, table), list(rows))


@lru_cache(maxsize=64)
def _build_insert(dialect: str, table: sa.Table) -> Any:
    if dialect == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def split_batches(items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """Yield consecutive slices of at most `size` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]

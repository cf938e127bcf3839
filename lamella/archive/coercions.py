"""Instances that are changed on their way in: what an intake needs of who changes them.

A change leaves its time in the instance, so an instance that is sent again would be another one.
The first time, and who sent it then, are kept for each content that was ever changed; the same
content always becomes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa

from lamella.archive.database import read_clock_us
from lamella.archive.source import ByteSource
from lamella.archive.statements import Statement
from lamella.archive.tables import coerced
from lamella.archive.upsert import insert_missing

_FIND_FIRST = Statement(
    sa.select(coerced.c.time_us, coerced.c.sender).where(
        coerced.c.dataset_id == sa.bindparam("dataset_id"),
        coerced.c.digest == sa.bindparam("digest"),
    )
)


@dataclass(frozen=True, slots=True)
class First:
    """When an instance's content was changed first, and who had sent it."""

    time_us: int
    sender: str


class Coercion(Protocol):
    """How one instance is to be changed."""

    @property
    def digest(self) -> bytes:
        """Of its content and the rules that change it, 32 bytes."""
        ...

    @property
    def keywords(self) -> tuple[str, ...]:
        """The attributes that change."""
        ...

    def write(self, first: First) -> Iterator[bytes]:
        """Yield the changed file; its source is read meanwhile."""
        ...


class Coercer(Protocol):
    """Decides how instances of one sender are changed."""

    @property
    def dataset_id(self) -> int:
        """Where they go."""
        ...

    @property
    def sender(self) -> str:
        """Who sends them."""
        ...

    def plan(self, source: ByteSource) -> Coercion | None:
        """Return how an instance is to be changed; None if it stays as it is.

        Raises:
            InvalidInstance: It cannot be read, or cannot be changed as it should.
        """
        ...


def find_first(connection: sa.Connection, coercer: Coercer, digest: bytes) -> First:
    """Return when a content was changed first, which may be now."""
    row = _FIND_FIRST.fetch_row(connection, {"dataset_id": coercer.dataset_id, "digest": digest})
    return First(*row) if row is not None else First(read_clock_us(connection), coercer.sender)


def record_coercions(
    connection: sa.Connection, dataset_id: int, firsts: Mapping[bytes, First]
) -> None:
    """Remember when contents were changed first."""
    rows = [
        {
            "dataset_id": dataset_id,
            "digest": digest,
            "time_us": first.time_us,
            "sender": first.sender,
        }
        for digest, first in sorted(firsts.items())
    ]
    insert_missing(connection, coerced, rows)

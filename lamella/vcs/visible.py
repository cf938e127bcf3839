"""Visible sets: which catalog rows a commit sees.

A set is a roaring bitmap of row ids a level, kept as a snapshot or as a delta on the set
before it. A commit that changes no row shares its parent's set. Every 64th delta in a row is
a snapshot instead, so that an old commit costs no more than head.

Encoding (msgpack): `["snapshot", 1, studies, series]` with serialized bitmaps, and
`["delta", 1, studies added, studies removed, series added, series removed]` likewise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import sqlalchemy as sa
from pyroaring import BitMap

from lamella.archive.search import Visible
from lamella.archive.statements import Statement, insert_into
from lamella.errors import IntegrityError
from lamella.vcs.cache import LeastRecent
from lamella.vcs.tables import visible_set

SNAPSHOT_EVERY = 64
FORMAT = 1


_READ_SET = Statement(
    sa.select(visible_set.c.base_id, visible_set.c.data).where(
        visible_set.c.id == sa.bindparam("visible_id")
    )
)
_READ_DEPTH = Statement(
    sa.select(visible_set.c.depth).where(visible_set.c.id == sa.bindparam("visible_id"))
)
_INSERT = insert_into(visible_set)


@dataclass(slots=True)
class RowDelta:
    """Rows that a commit begins and ceases to see."""

    studies_added: set[int] = field(default_factory=set)
    studies_removed: set[int] = field(default_factory=set)
    series_added: set[int] = field(default_factory=set)
    series_removed: set[int] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(
            self.studies_added or self.studies_removed or self.series_added or self.series_removed
        )

    def apply_to(self, visible: Visible) -> Visible:
        """Return the set that this delta makes of another."""
        return Visible(
            studies=_change(visible.studies, self.studies_removed, self.studies_added),
            series=_change(visible.series, self.series_removed, self.series_added),
        )


def _change(rows: BitMap, removed: Iterable[int], added: Iterable[int]) -> BitMap:
    changed = BitMap(rows)  # one copy: a set of 1e5 rows takes tens of microseconds
    changed -= BitMap(removed)
    changed |= BitMap(added)
    return changed


def load_visible(
    connection: sa.Connection,
    visible_id: int,
    cache: LeastRecent[int, Visible],
    *,
    is_committed: bool = True,
) -> Visible:
    """Return a visible set: its nearest snapshot or cached base, and deltas after it.

    Args:
        connection: In any transaction.
        visible_id: Of the set.
        cache: Of sets that are committed, by id.
        is_committed: Whether the set is; one that this transaction made must not be cached,
            because its id is given out again if the transaction is undone.

    Raises:
        IntegrityError: The set, or one that it builds on, is missing or damaged.
    """
    deltas: list[RowDelta] = []
    current: int | None = visible_id
    while True:
        if current is None:
            raise IntegrityError(f"visible set {visible_id} has no snapshot")
        found = cache.get(current)
        if found is None:
            base_id, decoded = read_set(connection, current)
            if isinstance(decoded, RowDelta):
                deltas.append(decoded)
                current = base_id
                continue
            found = decoded
        for delta in reversed(deltas):
            found = delta.apply_to(found)
        if is_committed:
            cache.put(visible_id, found)
        return found


def read_set(connection: sa.Connection, visible_id: int) -> tuple[int | None, Visible | RowDelta]:
    """Return one row: the set it builds on, and a whole set or a delta.

    Raises:
        IntegrityError: The row is missing or damaged.
    """
    row = _READ_SET.fetch_row(connection, {"visible_id": visible_id})
    if row is None:
        raise IntegrityError(f"visible set {visible_id} is missing")
    base_id, data = row
    return base_id, _decode(visible_id, data)


def save_snapshot(
    connection: sa.Connection, dataset_id: int, visible: Visible, base_id: int | None = None
) -> int:
    """Write a set whole; return its id."""
    return _insert(connection, dataset_id, base_id, 0, encode_snapshot(visible))


def encode_snapshot(visible: Visible) -> bytes:
    """Return what the row of a whole set holds."""
    studies, series = BitMap(visible.studies), BitMap(visible.series)
    studies.run_optimize()
    series.run_optimize()
    return msgspec.msgpack.encode(["snapshot", FORMAT, studies.serialize(), series.serialize()])


def save_delta(
    connection: sa.Connection, dataset_id: int, base_id: int, base: Visible, delta: RowDelta
) -> int:
    """Write the set that a delta makes of another; return its id.

    Args:
        base_id: The set that the delta builds on.
        base: That set.
        delta: Not empty.
    """
    depth = _READ_DEPTH.fetch_value(connection, {"visible_id": base_id}) + 1
    if depth >= SNAPSHOT_EVERY:
        return save_snapshot(connection, dataset_id, delta.apply_to(base), base_id)
    parts = (
        delta.studies_added,
        delta.studies_removed,
        delta.series_added,
        delta.series_removed,
    )
    data = msgspec.msgpack.encode(["delta", FORMAT, *(BitMap(part).serialize() for part in parts)])
    return _insert(connection, dataset_id, base_id, depth, data)


def _insert(
    connection: sa.Connection, dataset_id: int, base_id: int | None, depth: int, data: bytes
) -> int:
    values = {"dataset_id": dataset_id, "base_id": base_id, "depth": depth, "data": data}
    return _INSERT.run_for_id(connection, values)


def _decode(visible_id: int, data: bytes) -> Visible | RowDelta:
    try:
        kind, version, *parts = msgspec.msgpack.decode(data)
        bitmaps = [BitMap.deserialize(part) for part in parts]
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise IntegrityError(f"visible set {visible_id} cannot be decoded") from error
    if (kind, version, len(bitmaps)) == ("snapshot", FORMAT, 2):
        return Visible(studies=bitmaps[0], series=bitmaps[1])
    if (kind, version, len(bitmaps)) == ("delta", FORMAT, 4):
        return RowDelta(*(set(bitmap) for bitmap in bitmaps))
    raise IntegrityError(f"visible set {visible_id} has an unknown form")

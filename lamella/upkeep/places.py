"""Places: one row for each series in which an instance is or was in some commit, and no other."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

import numpy as np
import sqlalchemy as sa

from lamella.archive.upsert import insert_missing, split_batches
from lamella.upkeep.examination import Examination, Row
from lamella.upkeep.report import Kind
from lamella.vcs.tables import place
from lamella.vcs.tree import InstanceKey

T = TypeVar("T", bound=Hashable)

COMPACT_EVERY = 1 << 18
_HASH_MASK = (1 << 64) - 1


class Seen(Generic[T]):
    """Which instances the trees of a dataset hold, by place or by key, in 8 bytes each.

    A hash of 64 bits in place of three UIDs: among 1e6 instances, two that collide have a
    chance of 1 in 4e7, and all that a collision hides is one superfluous hint.
    """

    def __init__(self) -> None:
        self._sorted = np.zeros(0, dtype=np.uint64)
        self._fresh = array("Q")

    def add(self, key: T) -> None:
        """Remember an instance."""
        self._fresh.append(hash(key) & _HASH_MASK)
        if len(self._fresh) >= COMPACT_EVERY:
            self._compact()

    def list_unseen(self, keys: Sequence[T]) -> list[T]:
        """Return those instances that no tree holds."""
        self._compact()
        hashes = np.array([hash(key) & _HASH_MASK for key in keys], dtype=np.uint64)
        places = np.searchsorted(self._sorted, hashes)
        return [
            key
            for key, wanted, place in zip(keys, hashes, places, strict=True)
            if place == len(self._sorted) or self._sorted[place] != wanted
        ]

    def _compact(self) -> None:
        if self._fresh:
            merged = np.concatenate([self._sorted, np.frombuffer(self._fresh, dtype=np.uint64)])
            self._fresh = array("Q")
            merged.sort()  # in place, and without the hash table of numpy's `unique`
            is_first = np.ones(len(merged), dtype=bool)
            np.not_equal(merged[1:], merged[:-1], out=is_first[1:])
            self._sorted = merged[is_first]


def find_missing_places(
    connection: sa.Connection, dataset_id: int, keys: Sequence[InstanceKey]
) -> list[InstanceKey]:
    """Return those instances of a tree that have no place."""
    known: set[InstanceKey] = set()
    for batch in split_batches([key[2] for key in keys]):
        query = sa.select(place.c.study_uid, place.c.series_uid, place.c.sop_uid).where(
            place.c.dataset_id == dataset_id, place.c.sop_uid.in_(batch)
        )
        known.update((study, series, sop) for study, series, sop in connection.execute(query))
    return [key for key in keys if key not in known]


async def mend_missing_places(
    run: Examination, dataset_id: int, keys: Iterable[InstanceKey]
) -> None:
    """Report places that are missing; with `--repair`, write them."""
    for study_uid, series_uid, sop_uid in keys:
        row = {
            "dataset_id": dataset_id,
            "sop_uid": sop_uid,
            "study_uid": study_uid,
            "series_uid": series_uid,
        }
        if run.repair:
            await run.write(lambda c, row=row: insert_missing(c, place, [row]))  # type: ignore[misc]
        sentence = f"Instance {sop_uid} has no place, so it is not found by its UID alone."
        run.add(Kind.PLACE_MISSING, sop_uid, sentence, repaired=run.repair)


async def find_wrong_places(
    run: Examination, dataset_id: int, seen: Seen[InstanceKey]
) -> list[InstanceKey]:
    """Return the places at which no commit that has been walked holds the instance."""
    columns = [place.c.sop_uid, place.c.study_uid, place.c.series_uid]
    query = sa.select(*columns).where(place.c.dataset_id == dataset_id)
    wrong: list[InstanceKey] = []
    async for _, rows in run.scan(query, columns, _pass_on):
        wrong += seen.list_unseen([(study, series, sop) for sop, study, series in rows])
        run.count("places", len(rows))
    return wrong


async def mend_wrong_places(run: Examination, dataset_id: int, keys: Iterable[InstanceKey]) -> None:
    """Report places that are wrong; with `--repair`, delete them."""
    for key in keys:
        if run.repair:
            await run.write(lambda c, key=key: _delete_place(c, dataset_id, key))  # type: ignore[misc]
        sentence = (
            f"Instance {key[2]} has a place in series {key[1]} of study {key[0]}, where no commit "
            "holds it."
        )
        run.add(Kind.PLACE_WRONG, key[2], sentence, repaired=run.repair)


def _delete_place(connection: sa.Connection, dataset_id: int, key: InstanceKey) -> None:
    study_uid, series_uid, sop_uid = key
    connection.execute(
        sa.delete(place).where(
            place.c.dataset_id == dataset_id,
            place.c.sop_uid == sop_uid,
            place.c.study_uid == study_uid,
            place.c.series_uid == series_uid,
        )
    )


def _pass_on(_connection: sa.Connection, rows: Sequence[Row]) -> Sequence[Row]:
    return rows

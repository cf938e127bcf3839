"""Which of very many things a run has seen."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T", bound=Hashable)

COMPACT_EVERY = 1 << 18
_HASH_MASK = (1 << 64) - 1


class Seen(Generic[T]):
    """Which instances the trees of a dataset hold, by key, in 8 bytes each.

    A hash of 64 bits in place of a digest: among 1e6 instances, two that collide have a
    chance of 1 in 4e7, and all that a collision hides is one superfluous entry of an index.
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

"""What a header itself tells of its patient and of those who cared for them: the deny-list."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identifiers:
    """Values of one instance that must not be found in its copy. Held in memory only.

    Attributes:
        words: Parts of names and of places, case-folded, 3 characters and more.
        phrases: Whole ids, addresses and numbers, case-folded.
        dates: As `YYYYMMDD`.
        uids: All that are not registered.
    """

    words: frozenset[str] = frozenset()
    phrases: frozenset[str] = frozenset()
    dates: frozenset[str] = frozenset()
    uids: frozenset[str] = frozenset()

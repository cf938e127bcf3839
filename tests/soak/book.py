"""What the clients of a soak run have stored, and what they found wrong."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

REMEMBERED = 300


@dataclass(frozen=True)
class StoredSeries:
    """A series that was acknowledged, and is not changed any more.

    Attributes:
        pixels: SHA-256 of the one frame, by SOP Instance UID.
        files: SHA-256 of the file, where it is kept as it was sent (not by C-STORE).
    """

    study_uid: str
    series_uid: str
    pixels: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The series's resource behind a DICOMweb root."""
        return f"/studies/{self.study_uid}/series/{self.series_uid}"


class Book:
    """Shared by all clients of a run.

    Attributes:
        troubles: What no server should do.
        done: How often each client did its work.
    """

    def __init__(self) -> None:
        self.troubles: list[str] = []
        self.done: Counter[str] = Counter()
        self._series: list[StoredSeries] = []
        self._lock = threading.Lock()

    def add(self, series: StoredSeries) -> None:
        """Remember a series; the oldest is forgotten for it."""
        with self._lock:
            self._series = [*self._series, series][-REMEMBERED:]

    def draw(self, random: Random) -> StoredSeries | None:
        """Return one of the series; None while there is none."""
        with self._lock:
            return random.choice(self._series) if self._series else None

    def note(self, client: str) -> None:
        """Count one piece of work."""
        with self._lock:
            self.done[client] += 1

    def complain(self, trouble: str) -> None:
        """Note what went wrong."""
        with self._lock:
            self.troubles.append(trouble)


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()

"""What a run says about itself, until it is written down."""

from __future__ import annotations

import json
import threading

from lamella.archive.outbox import Json


class Progress:
    """News of one run, from any thread; the newest replaces what was said before."""

    def __init__(self) -> None:
        self._news: dict[str, Json] = {}
        self._lock = threading.Lock()

    @property
    def is_new(self) -> bool:
        """Whether there is something to write down."""
        return bool(self._news)

    def report(self, done: int, total: int | None, note: str) -> None:
        """Say how far the work is."""
        with self._lock:
            self._news |= {"done": done, "total": total, "note": note}

    def save(self, position: Json) -> None:
        """Say where a next attempt may go on."""
        with self._lock:
            self._news["position"] = json.dumps(position)

    def take(self) -> dict[str, Json]:
        """Return the news, which are none any more."""
        with self._lock:
            news, self._news = self._news, {}
        return news

"""Checkpoints: what SQLite's log holds is copied into the database beside the writers.

SQLite by itself does this inside whichever commit makes the log 1,000 pages long, which then
takes many times as long as others, the more so the more scattered its pages are. Here a thread
does it. SQLite begins the log anew at the first write that finds all of it copied; under steady
load the thread never gets there, so now and then the writer copies the last few pages itself.

(How long the log is, only a checkpoint tells: to look into SQLite's files would, at `close`,
take away the locks that SQLite's own connections hold on them.)
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import closing
from typing import Final

LOGGER = logging.getLogger(__name__)

START_FRAMES: Final = 1000
"""Pages that wait in the log, as far as commits let guess, when the thread copies them: 4 MB."""

RESTART_FRAMES: Final = 4000
"""Pages in the log, copied or not, from which on the writer sees to it that it begins anew."""

LIMIT_FRAMES: Final = 16_000
"""`wal_autocheckpoint` of who writes: a log of 64 MB, should the thread not keep up."""

_FIRST_COMMITS: Final = 16
_COPY: Final = "PRAGMA wal_checkpoint(PASSIVE)"


class Checkpointer:
    """Copies the log of one database file; one for each process that writes.

    Args:
        path: The database file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._n_commits = 0  # since the thread last looked
        self._most_commits = _FIRST_COMMITS
        self._copied = 0
        self._is_long = False
        self._is_closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lamella-db-copy", daemon=True)
        self._thread.start()

    def follow(self) -> None:
        """See to the log after a commit, in the thread that writes."""
        self._n_commits += 1
        if self._is_long:
            self._is_long = False
            self._copy()
        elif self._n_commits >= self._most_commits:
            self._wake.set()

    def close(self) -> None:
        """Stop the thread."""
        self._is_closing = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        self._wake.wait()
        while not self._is_closing:
            self._wake.clear()
            n_commits, self._n_commits = self._n_commits, 0
            before = self._copied
            frames = self._copy()
            fresh = self._copied - before if self._copied >= before else self._copied
            self._most_commits = max(1, START_FRAMES * n_commits // max(1, fresh))
            self._is_long = frames >= RESTART_FRAMES
            self._wake.wait()

    def _copy(self) -> int:
        """Copy what there is; return how long the log is, 0 where that cannot be told."""
        try:
            with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
                is_busy, frames, copied = connection.execute(_COPY).fetchone()
        except sqlite3.Error as error:
            LOGGER.warning("SQLite's log could not be copied and goes on growing: %s", error)
            return 0
        if is_busy:
            return 0  # another process is at it
        self._copied = int(copied)
        return int(frames)

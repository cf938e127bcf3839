"""What SQLite is made to do: counted by its own hooks, so whatever code asks it is counted."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

_TABLE = re.compile(r'(?:INTO|FROM|UPDATE|JOIN)\s+"?(\w+)"?', re.IGNORECASE)


class DatabaseWork:
    """Work of all connections that were opened while `watch_database` watched.

    Attributes:
        statements: Runs of statements, by verb and first table (`INSERT node`); not the PRAGMAs
            that a new connection begins with, for whether one is opened depends on timing.
        steps: Turns of SQLite's loops: about one a row or index entry that is looked at.
    """

    def __init__(self) -> None:
        self.statements: Counter[str] = Counter()
        self.steps = 0

    def reset(self) -> None:
        """Begin again at nothing."""
        self.statements.clear()
        self.steps = 0

    def attach(self, connection: sqlite3.Connection, _record: object) -> None:
        """Count what a connection does from now on."""
        connection.set_trace_callback(self._note_statement)
        connection.set_progress_handler(self._note_step, 1)

    def _note_statement(self, sql: str) -> None:
        verb = sql.split(None, 1)[0].upper()
        if verb == "PRAGMA":
            return
        table = _TABLE.search(sql)
        self.statements[f"{verb} {table[1]}" if table else verb] += 1

    def _note_step(self) -> int:
        self.steps += 1
        return 0  # anything else would interrupt the statement


@contextmanager
def watch_database() -> Iterator[DatabaseWork]:
    """Count the work of SQLite connections that are opened in this process meanwhile."""
    work = DatabaseWork()
    sa.event.listen(sa.Engine, "connect", work.attach)
    try:
        yield work
    finally:
        sa.event.remove(sa.Engine, "connect", work.attach)

"""What the servers of the tests stand on: SQLite and a folder, or what `LAMELLA_TEST_STACK` says.

`LAMELLA_TEST_STACK=postgresql make test` runs the tests that come through the front door on
PostgreSQL: each data folder has a database of its own on one server, which starts with the first
test that needs it and stops with the process.
"""

from __future__ import annotations

import asyncio
import atexit
import os
from contextlib import ExitStack
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lamella.archive.database import open_database
from tests.harness.postgresql import make_database, run_postgresql

EMBEDDED = "embedded"
POSTGRESQL = "postgresql"


def read_stack() -> str:
    """Return what the tests are to run on."""
    stack = os.environ.get("LAMELLA_TEST_STACK", EMBEDDED)
    assert stack in (EMBEDDED, POSTGRESQL), f"no such stack: {stack}"
    return stack


def choose_stack(data_dir: Path) -> dict[str, str]:
    """Return the settings that put a data folder on the stack, by lower-case name."""
    if read_stack() == EMBEDDED:
        return {}
    return {"database_url": _make_database_of(str(data_dir.absolute()))}


def run_statement(data_dir: Path, statement: str, **values: Any) -> list[Any]:
    """Run one SQL statement on a server's own database, as its administrator; return the rows."""
    url = choose_stack(data_dir).get("database_url", f"sqlite:///{data_dir / 'lamella.db'}")

    def work(connection: sa.Connection) -> list[Any]:
        result = connection.execute(sa.text(statement), values)
        return list(result) if result.returns_rows else []

    async def run() -> list[Any]:
        database = open_database(url)
        try:
            return await database.write(work)
        finally:
            await database.close()

    return asyncio.run(run())


@cache
def _make_database_of(folder: str) -> str:
    return make_database(_start_postgresql(), f"t{sha256(folder.encode()).hexdigest()[:24]}")


@cache
def _start_postgresql() -> str:
    resources = ExitStack()
    url = resources.enter_context(run_postgresql())
    atexit.register(resources.close)
    return url

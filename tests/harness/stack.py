"""What the servers of the tests stand on: SQLite and a folder, or what `LAMELLA_TEST_STACK` says.

`LAMELLA_TEST_STACK=postgresql make test` runs the tests that come through the front door on
PostgreSQL, `s3` with packs in SeaweedFS, `redis` with jobs by Redis, `postgresql+s3+redis` on all:
each data folder has a database and a prefix of its own on one server each, which starts with the
first test that needs it and stops with the session.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lamella.archive.database import Database, open_database
from tests.harness.postgresql import make_database, run_postgresql
from tests.harness.redis_server import RedisServer, run_redis
from tests.harness.s3_server import CREDENTIALS, run_s3_server

EMBEDDED = "embedded"
POSTGRESQL = "postgresql"
S3 = "s3"
REDIS = "redis"


def read_stack() -> frozenset[str]:
    """Return what the tests are to run on besides the embedded default."""
    stack = frozenset(os.environ.get("LAMELLA_TEST_STACK", EMBEDDED).split("+"))
    assert stack <= {EMBEDDED, POSTGRESQL, S3, REDIS}, f"no such stack: {stack}"
    return stack - {EMBEDDED}


def choose_stack(data_dir: Path) -> dict[str, str]:
    """Return the settings that put a data folder on the stack, by lower-case name."""
    folder, stack, settings = str(data_dir.absolute()), read_stack(), {}
    if POSTGRESQL in stack:
        settings["database_url"] = _make_database_of(folder)
    if S3 in stack:
        url, bucket = _start_s3()
        os.environ.update(CREDENTIALS)  # each time: a test that set them itself takes them back
        settings["s3_endpoint_url"] = url
        settings["storage_url"] = f"s3://{bucket}/{sha256(folder.encode()).hexdigest()[:24]}"
    if REDIS in stack:
        settings["redis_url"] = _choose_queue(folder)
    return settings


def list_flags(data_dir: Path) -> list[str]:
    """Return the flags that make a command work on a data folder and its stack."""
    settings = {"data_dir": str(data_dir)} | choose_stack(data_dir)
    return [
        word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)
    ]


def run_statement(data_dir: Path, statement: str, **values: Any) -> list[Any]:
    """Run one SQL statement on a server's own database, as its administrator; return the rows."""

    def work(connection: sa.Connection) -> list[Any]:
        result = connection.execute(sa.text(statement), values)
        return list(result) if result.returns_rows else []

    return asyncio.run(_run_on(data_dir, lambda database: database.write(work)))


def read_rows(data_dir: Path, query: str) -> list[Any]:
    """Return the rows of a query of a server's own database; nobody waits for it."""

    def work(connection: sa.Connection) -> list[Any]:
        return list(connection.execute(sa.text(query)))

    return asyncio.run(_run_on(data_dir, lambda database: database.read(work)))


async def _run_on(data_dir: Path, run: Callable[[Database], Awaitable[list[Any]]]) -> list[Any]:
    url = choose_stack(data_dir).get("database_url", f"sqlite:///{data_dir / 'lamella.db'}")
    database = open_database(url)
    try:
        return await run(database)
    finally:
        await database.close()


_SERVERS = ExitStack()


def stop_servers() -> None:
    """Stop what was started; pytest's worker processes end without `atexit`."""
    _SERVERS.close()


@cache
def _make_database_of(folder: str) -> str:
    return make_database(_start_postgresql(), f"t{sha256(folder.encode()).hexdigest()[:24]}")


@cache
def _choose_queue(folder: str) -> str:
    """Return the URL of a data folder's own database in Redis."""
    server = _start_redis()
    _QUEUES.append(folder)
    return server.url_of(len(_QUEUES))


_QUEUES: list[str] = []


@cache
def _start_redis() -> RedisServer:
    return _SERVERS.enter_context(run_redis())


@cache
def _start_postgresql() -> str:
    return _SERVERS.enter_context(run_postgresql())


@cache
def _start_s3() -> tuple[str, str]:
    """Return the endpoint of a server and a bucket."""
    server = _SERVERS.enter_context(run_s3_server())
    return server.url, server.make_bucket()

"""The database: reachable, at this version's schema, and durable when it says so."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy as sa

from lamella.archive.database import open_database
from lamella.archive.migration import find_head_revision, read_schema_revision
from lamella.errors import LamellaError
from lamella.settings import Settings
from lamella.upkeep.doctor.postgresql import check_postgresql
from lamella.upkeep.doctor.result import CheckResult, fail_with, pass_with, warn_with

NAME = "database"
OLDEST_SQLITE = (3, 35)
"""RETURNING came with 3.35."""

SQLITE_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")


def find_database_url(settings: Settings) -> str:
    """Return the database that the server would open."""
    return settings.database_url or f"sqlite:///{settings.data_dir.absolute() / 'lamella.db'}"


def is_new_file(url: str) -> bool:
    """Tell whether a URL names a SQLite file that does not exist yet."""
    return url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists()


async def check_database(settings: Settings) -> Sequence[CheckResult]:
    """Check the database with the connections that the server would use."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        sentence = f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed."
        return [fail_with(NAME, sentence)]
    url = find_database_url(settings)
    if is_new_file(url):
        return [pass_with(NAME, f"SQLite {sqlite3.sqlite_version}; made on the first start.")]
    try:
        database = open_database(url)
    except LamellaError as error:
        return [fail_with(NAME, error.detail)]
    try:
        revision = await database.read(read_schema_revision)
        if database.dialect == "sqlite":
            kept = [await database.read(_check_sqlite)]
        else:
            kept = [*await database.read(lambda c: check_postgresql(c, NAME, settings))]
    except (LamellaError, sa.exc.SQLAlchemyError, OSError) as error:
        return [fail_with(NAME, f"{_describe(url)} cannot be used: {type(error).__name__}.")]
    finally:
        await database.close()
    return [_check_schema(_describe(url), revision), *kept]


def _check_schema(where: str, revision: str | None) -> CheckResult:
    head = find_head_revision()
    if revision == head:
        return pass_with(NAME, f"{where} answers and has schema {head}.")
    if revision is None:
        return pass_with(NAME, f"{where} answers and is empty: it is filled on the first start.")
    return warn_with(
        NAME,
        f"{where} has schema {revision} instead of {head}: run `lamella migrate`, or, if a newer "
        "Lamella wrote it, that one.",
    )


def _check_sqlite(connection: sa.Connection) -> CheckResult:
    journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    level = SQLITE_SYNCHRONOUS[connection.exec_driver_sql("PRAGMA synchronous").scalar_one()]
    sentence = f"SQLite {sqlite3.sqlite_version}: journal_mode={journal}, synchronous={level}."
    if journal != "wal":
        return fail_with(NAME, f"{sentence} Readers would block writers: use a local disk.")
    if level not in ("FULL", "EXTRA"):
        return fail_with(NAME, f"{sentence} A power cut could take back what was acknowledged.")
    return pass_with(NAME, sentence)


def _describe(url: str) -> str:
    """Return a database's name without its password."""
    if url.startswith("sqlite:///"):
        return Path(url.removeprefix("sqlite:///")).name
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}{parts.path}"

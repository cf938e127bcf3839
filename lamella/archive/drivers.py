"""The databases' own drivers, used in the transaction that a SQLAlchemy connection is in.

SQLAlchemy takes 35 µs to run even a statement that it has compiled already, and over asyncpg 150,
most of it around the driver; sqlite3 itself takes 1.5 µs, asyncpg 60 with the way to the server.

Both drivers take values in a statement's order, and both give plain values: whole numbers, text,
bytes. Errors are SQLAlchemy's, and tell no values: what was bound may be a patient.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NoReturn, Protocol

import sqlalchemy as sa

Row = Sequence[Any]
Values = Sequence[Any]


class Driver(Protocol):
    """Runs SQL text with values in order, in whatever transaction a connection is in."""

    def fetch(self, connection: sa.Connection, text: str, values: Values) -> list[Row]:
        """Run a statement and return its rows."""

    def fetch_row(self, connection: sa.Connection, text: str, values: Values) -> Row | None:
        """Run a statement and return its first row, or None if there is none."""

    def run(self, connection: sa.Connection, text: str, values: Values) -> int:
        """Run a statement and return the number of rows that it inserted, changed or deleted."""

    def run_for_id(self, connection: sa.Connection, text: str, values: Values) -> int:
        """Run an INSERT of one row and return the id that the database gave it."""

    def run_many(self, connection: sa.Connection, text: str, rows: Iterable[Values]) -> None:
        """Run a statement once for each set of values."""


class SqliteDriver:
    """Python's own sqlite3."""

    def fetch(self, connection: sa.Connection, text: str, values: Values) -> list[Row]:
        """As `Driver.fetch`."""
        return self._execute(connection, text, values).fetchall()

    def fetch_row(self, connection: sa.Connection, text: str, values: Values) -> Row | None:
        """As `Driver.fetch_row`."""
        row: Row | None = self._execute(connection, text, values).fetchone()
        return row

    def run(self, connection: sa.Connection, text: str, values: Values) -> int:
        """As `Driver.run`."""
        return self._execute(connection, text, values).rowcount

    def run_for_id(self, connection: sa.Connection, text: str, values: Values) -> int:
        """As `Driver.run_for_id`."""
        row_id = self._execute(connection, text, values).lastrowid
        assert row_id is not None
        return row_id

    def run_many(self, connection: sa.Connection, text: str, rows: Iterable[Values]) -> None:
        """As `Driver.run_many`."""
        try:
            _own(connection).executemany(text, rows)
        except sqlite3.Error as error:
            _raise(text, error)

    def _execute(self, connection: sa.Connection, text: str, values: Values) -> sqlite3.Cursor:
        try:
            return _own(connection).execute(text, values)
        except sqlite3.Error as error:
            _raise(text, error)


@cache
def find_driver(dialect: str) -> Driver:
    """Return the driver of a dialect, `sqlite` or `postgresql`."""
    if dialect == "sqlite":
        return SqliteDriver()
    from lamella.archive.postgresql_driver import PostgresDriver  # it needs the extra

    return PostgresDriver()


def _own(connection: sa.Connection) -> sqlite3.Connection:
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _raise(text: str, error: sqlite3.Error) -> NoReturn:
    raise sa.exc.DBAPIError.instance(
        text, None, error, sqlite3.Error, hide_parameters=True
    ) from error

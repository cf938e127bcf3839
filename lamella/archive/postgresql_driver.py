"""asyncpg, in the transaction that a SQLAlchemy connection is in.

Work runs in a greenlet of SQLAlchemy's, which waits for the driver without blocking the loop.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any, Final, NoReturn, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.util import await_only

from lamella.archive.database import UNSTORABLE
from lamella.archive.drivers import Row, Values

T = TypeVar("T")

DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # such as one that was told of its end while it was idle
)


class PostgresDriver:
    """As `drivers.Driver` says."""

    def fetch(self, connection: sa.Connection, text: str, values: Values) -> list[Row]:
        """As `Driver.fetch`."""
        found = _wait(text, _own(connection).fetch(text, *replace_unstorable(values)))
        return [tuple(record) for record in found]

    def fetch_row(self, connection: sa.Connection, text: str, values: Values) -> Row | None:
        """As `Driver.fetch_row`."""
        found = _wait(text, _own(connection).fetchrow(text, *replace_unstorable(values)))
        return None if found is None else tuple(found)

    def run(self, connection: sa.Connection, text: str, values: Values) -> int:
        """As `Driver.run`."""
        status = _wait(text, _own(connection).execute(text, *replace_unstorable(values)))
        return int(status.rpartition(" ")[2])  # such as "UPDATE 3", "INSERT 0 1"

    def run_for_id(self, connection: sa.Connection, text: str, values: Values) -> int:
        """As `Driver.run_for_id`."""
        row = self.fetch_row(connection, text, values)
        assert row is not None, "its text ends with RETURNING"
        return int(row[0])

    def run_many(self, connection: sa.Connection, text: str, rows: Iterable[Values]) -> None:
        """As `Driver.run_many`."""
        _wait(text, _own(connection).executemany(text, [replace_unstorable(row) for row in rows]))


def replace_unstorable(values: Values) -> Values:
    """Take U+0000 out of what is bound, be it stored or looked for.

    Source:
        PostgreSQL manual, 8.3: the character with code zero cannot be stored.
    """
    if not any(isinstance(value, str) and "\0" in value for value in values):
        return values
    return [
        value.replace("\0", UNSTORABLE) if isinstance(value, str) else value for value in values
    ]


def raise_error(text: str, error: Exception) -> NoReturn:
    """Raise one of `DRIVER_ERRORS` as one of SQLAlchemy's.

    The error itself is left out of the chain: its details quote rows.
    """
    kind: type[sa.exc.DBAPIError] = sa.exc.DBAPIError
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        kind = sa.exc.IntegrityError
    elif not isinstance(error, asyncpg.PostgresError):
        kind = sa.exc.InterfaceError
    raise kind(text, None, PostgresFault(error), hide_parameters=True) from None


class PostgresFault(Exception):
    """What PostgreSQL or its driver said, without details.

    Attributes:
        sqlstate: PostgreSQL's code; None if the driver is at fault.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error.args[0]) if error.args else type(error).__name__)
        self.sqlstate: str | None = getattr(error, "sqlstate", None)


def _own(connection: sa.Connection) -> asyncpg.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, asyncpg.Connection)
    return driver


def _wait(text: str, coming: Coroutine[Any, Any, T]) -> T:
    try:
        return await_only(coming)
    except DRIVER_ERRORS as error:
        raise_error(text, error)

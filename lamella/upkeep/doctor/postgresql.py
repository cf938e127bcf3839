"""PostgreSQL: durable when it says so, connections enough, patience with long statements."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from lamella.archive.database import MOST_CONNECTIONS
from lamella.settings import Settings
from lamella.upkeep.doctor.result import CheckResult, fail_with, pass_with, warn_with

DURABLE_COMMIT = frozenset({"on", "remote_write", "remote_apply", "local"})
LEAST_TIMEOUT_MS = 60_000
TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


def check_postgresql(
    connection: sa.Connection, name: str, settings: Settings
) -> Sequence[CheckResult]:
    """Look at what the server is set to, as a connection of ours meets it.

    Args:
        connection: In a transaction.
        name: Of the check.
        settings: They say how many processes a node has.
    """
    return [
        _check_durability(connection, name),
        _check_connections(connection, name, settings),
        *_check_timeouts(connection, name),
    ]


def _check_durability(connection: sa.Connection, name: str) -> CheckResult:
    names = ("server_version", "synchronous_commit", "fsync", "full_page_writes")
    version, commit, fsync, pages = (_show(connection, one) for one in names)
    sentence = (
        f"PostgreSQL {version}: synchronous_commit={commit}, fsync={fsync}, "
        f"full_page_writes={pages}."
    )
    if commit not in DURABLE_COMMIT or fsync != "on" or pages != "on":
        return fail_with(name, f"{sentence} A power cut could take back what was acknowledged.")
    return pass_with(name, sentence)


def _check_connections(connection: sa.Connection, name: str, settings: Settings) -> CheckResult:
    most = int(_show(connection, "max_connections"))
    room = most - int(_show(connection, "superuser_reserved_connections"))
    dimse = settings.dimse_processes if settings.dimse_address is not None else 1
    processes = settings.workers + dimse - 1
    needed = processes * MOST_CONNECTIONS
    sentence = (
        f"PostgreSQL gives {room} connections; this node's processes ({processes}) take up to "
        f"{needed}."
    )
    if needed > room:
        return warn_with(name, f"{sentence} Raise max_connections, or have fewer processes.")
    return pass_with(name, sentence)


def _check_timeouts(connection: sa.Connection, name: str) -> list[CheckResult]:
    """Tell of limits that would break off what takes its time: a migration, a long lock."""
    text = "SELECT CAST(setting AS BIGINT) FROM pg_settings WHERE name = :name"  # in ms
    found: list[CheckResult] = []
    for timeout in TIMEOUTS:
        limit_ms = connection.execute(sa.text(text), {"name": timeout}).scalar_one()
        if 0 < limit_ms < LEAST_TIMEOUT_MS:
            sentence = (
                f"PostgreSQL breaks off by {timeout} after {limit_ms / 1000:g} s: large commits, "
                "migrations and fsck take longer. Set it to 0 or a minute or more for this user."
            )
            found.append(warn_with(name, sentence))
    return found


def _show(connection: sa.Connection, name: str) -> str:
    return str(connection.exec_driver_sql(f"SHOW {name}").scalar_one())

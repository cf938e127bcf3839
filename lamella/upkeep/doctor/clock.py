"""The clock: commits carry its time, and `branch@time` reads it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import sqlalchemy as sa

from lamella.archive.database import open_database, read_clock_us
from lamella.errors import LamellaError
from lamella.settings import Settings
from lamella.upkeep.doctor.database import find_database_url, is_new_file
from lamella.upkeep.doctor.result import CheckResult, fail_with, pass_with, warn_with
from lamella.vcs.commit_object import format_time
from lamella.vcs.tables import reflog

NAME = "clock"
BUILT_US = 1_767_225_600_000_000
"""2026-01-01: no installation of this version is older."""

TOLERANCE_US = 5_000_000


async def check_clock(settings: Settings) -> Sequence[CheckResult]:
    """Compare this machine's clock with sense, with the database's, and with the newest commit."""
    now_us = time.time_ns() // 1000
    if now_us < BUILT_US:
        return [fail_with(NAME, f"This machine's clock says {format_time(now_us)}: set it.")]
    url = find_database_url(settings)
    if is_new_file(url):
        return [pass_with(NAME, f"It is {format_time(now_us)}.")]
    try:
        database = open_database(url)
    except LamellaError as error:
        return [warn_with(NAME, f"It cannot be compared with the database's: {error.detail}")]
    try:
        theirs_us, newest_us = await database.read(_read_times)
    except (LamellaError, sa.exc.SQLAlchemyError, OSError):
        return [warn_with(NAME, f"It is {format_time(now_us)}; the database does not tell its.")]
    finally:
        await database.close()
    if abs(theirs_us - now_us) > TOLERANCE_US:
        apart_s = abs(theirs_us - now_us) / 1e6
        sentence = f"The database's clock and this machine's are {apart_s:.0f} s apart."
        return [warn_with(NAME, sentence)]
    if newest_us > theirs_us + TOLERANCE_US:
        sentence = (
            f"A commit is from {format_time(newest_us)}, which lies ahead: was the clock set back?"
        )
        return [warn_with(NAME, sentence)]
    return [pass_with(NAME, f"It is {format_time(now_us)}, after the newest commit.")]


def _read_times(connection: sa.Connection) -> tuple[int, int]:
    newest_us = 0
    if sa.inspect(connection).has_table(reflog.name):
        newest_us = connection.execute(sa.select(sa.func.max(reflog.c.time_us))).scalar_one() or 0
    return read_clock_us(connection), newest_us

"""Holds: while somebody has one, gc takes nothing away.

A hold ends with its lease, so that who died holds nothing up for long.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import sqlalchemy as sa

from lamella.archive.database import Database, read_clock_us
from lamella.archive.tables import hold

LEASE_US = 600_000_000
RENEW_EVERY_S = 60.0
_LOCK = 0x686F6C64  # "hold": holds are taken and looked at one after the other


@asynccontextmanager
async def hold_packs(database: Database, name: str) -> AsyncIterator[None]:
    """Keep gc from taking anything away for the time of a block.

    Args:
        database: Of the installation.
        name: What it is for.

    Raises:
        OutOfResources: The database does not answer.
    """
    owner = secrets.token_hex(8)
    await database.write(lambda c: _take(c, name, owner))
    keeper = asyncio.create_task(_keep(database, name, owner))
    try:
        yield
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper
        here = (hold.c.name == name) & (hold.c.owner == owner)
        await database.write(lambda c: c.execute(sa.delete(hold).where(here)).rowcount)


def find_hold(connection: sa.Connection) -> str | None:
    """Return what a hold is for, if there is one; none begins before the transaction ends."""
    _lock(connection)
    query = sa.select(hold.c.name).where(hold.c.until_us > read_clock_us(connection))
    return connection.execute(query.limit(1)).scalar_one_or_none()


async def _keep(database: Database, name: str, owner: str) -> None:
    while True:
        await asyncio.sleep(RENEW_EVERY_S)
        await database.write(lambda c: _take(c, name, owner))


def _take(connection: sa.Connection, name: str, owner: str) -> None:
    _lock(connection)
    connection.execute(sa.delete(hold).where((hold.c.name == name) & (hold.c.owner == owner)))
    until_us = read_clock_us(connection) + LEASE_US
    connection.execute(sa.insert(hold).values(name=name, owner=owner, until_us=until_us))


def _lock(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))

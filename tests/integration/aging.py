"""An installation whose bytes have become old, for the tests of gc and of repacking."""

from __future__ import annotations

import os
import time
from pathlib import Path

import sqlalchemy as sa

from lamella.archive.installation import open_archive
from lamella.archive.packs.local import LocalPackStore
from lamella.archive.tables import location, pack
from lamella.settings import Settings
from lamella.upkeep.fsck import check
from lamella.vcs.datasets import ensure_default
from lamella.vcs.refs import find_dataset
from lamella.vcs.repository import Repository
from tests.harness.stack import choose_stack
from tests.integration.small_installation import Installation

TWO_DAYS_US = 2 * 86_400_000_000
KILLED = """
import os, signal, sys
from lamella.archive.database import SqliteDatabase
from lamella.archive.packs.local import LocalPackStore
from lamella.archive.packs.s3.store import S3PackStore
from lamella.archive.postgresql import PostgresDatabase
from lamella.cli.main import main

left = int(sys.argv.pop(1))

def tick():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

def wrap(owner, name):
    inner = getattr(owner, name)
    async def wrapped(self, *args, **named):
        tick()
        result = await inner(self, *args, **named)
        tick()
        return result
    setattr(owner, name, wrapped)

for owner in (SqliteDatabase, PostgresDatabase):
    wrap(owner, "write")
for owner in (LocalPackStore, S3PackStore):
    wrap(owner, "delete")
    wrap(owner, "adopt")
sys.exit(main(sys.argv[1:]))
"""
"""The command line, which kills itself before or after so many writes of rows or packs."""


async def open_site(folder: Path) -> Installation:
    """Open an installation of the stack that is tested."""
    settings = Settings(data_dir=folder, **choose_stack(folder))  # type: ignore[arg-type]
    archive = await open_archive(settings)
    await archive.database.write(ensure_default)
    dataset = await archive.database.read(lambda c: find_dataset(c, "default"))
    return Installation(archive, Repository(archive), dataset, folder)


async def age(site: Installation) -> None:
    """Let two days pass for all that is there."""
    for column in (location.c.used_us, pack.c.created_us, pack.c.unused_us):
        assert column.table is not None
        await site.change(sa.update(column.table).values({column: column - TWO_DAYS_US}))
    age_files(site)


def age_files(site: Installation) -> None:
    """Let two days pass for the packs of a folder."""
    then = time.time() - TWO_DAYS_US / 1e6
    if isinstance(site.archive.packs, LocalPackStore):
        for path in site.archive.packs.folder.rglob("*.pack"):
            os.utime(path, (then, then))


async def reopen(site: Installation) -> Installation:
    """Close what grows, as a restart does."""
    await site.archive.close()
    again = await open_site(site.folder)
    site.archive, site.repository = again.archive, again.repository
    return site


async def assert_whole(site: Installation) -> None:
    """Everything that is named is there, byte for byte."""
    report = await check(Repository(site.archive), bytes=True)
    assert [finding for finding in report.findings if finding.is_problem] == []


async def list_packs(site: Installation) -> set[str]:
    """Return the names of the packs in the store."""
    return {info.name async for info in site.archive.packs.list()}

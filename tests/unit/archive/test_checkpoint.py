"""The log of a SQLite database: copied beside the writers, and never long."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lamella.archive.checkpoint import LIMIT_FRAMES, START_FRAMES, Checkpointer
from lamella.archive.database import Database, open_database

PAGE_BYTES = 4096
N_PAGES = 100


async def write_pages(database: Database, count: int) -> None:
    """Write so many transactions of 100 new pages each."""
    for _ in range(count):
        await database.write(
            lambda c: c.exec_driver_sql(
                "INSERT INTO page WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                f"WHERE i < {N_PAGES}) SELECT randomblob(4000) FROM n"
            )
        )


async def test_the_log_begins_anew_under_steady_load(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    database = open_database(f"sqlite:///{path}")
    await database.write(lambda c: c.exec_driver_sql("CREATE TABLE page (data BLOB)"))
    await write_pages(database, 400)
    longest = (tmp_path / "test.db-wal").stat().st_size / PAGE_BYTES
    count = await database.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM page").scalar())
    await database.close()
    assert count == 400 * N_PAGES
    assert longest < LIMIT_FRAMES
    assert not (tmp_path / "test.db-wal").exists()


async def test_a_log_of_some_length_is_copied_without_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    database = open_database(f"sqlite:///{path}")
    await database.write(lambda c: c.exec_driver_sql("CREATE TABLE page (data BLOB)"))
    await write_pages(database, 2 * START_FRAMES // N_PAGES)
    size = path.stat().st_size
    deadline = time.monotonic() + 30
    while size < START_FRAMES * PAGE_BYTES and time.monotonic() < deadline:
        time.sleep(0.01)
        size = path.stat().st_size
    await database.close()
    assert size >= START_FRAMES * PAGE_BYTES


def test_a_log_that_cannot_be_copied_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "broken.db"
    path.write_bytes(b"no database at all" * 100)
    found = Checkpointer(str(path))
    assert found._copy() == 0
    found.close()
    assert "could not be copied" in caplog.text

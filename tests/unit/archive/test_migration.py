"""The migrations make exactly the tables that the code describes."""

from __future__ import annotations

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import lamella.archive.catalog
import lamella.archive.tables
import lamella.vcs.network_tables
import lamella.vcs.tables  # noqa: F401  (registers its tables)
from lamella.archive.database import metadata, open_database
from lamella.archive.migration import (
    FOLDER,
    find_head_revision,
    migrate_to_head,
    read_schema_revision,
    upgrade_schema,
)
from tests.harness.schema_rows import fill_tables, list_columns, read_tables


async def test_migrations_make_the_described_schema(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'lamella.db'}")
    revision = await migrate_to_head(database)
    assert await migrate_to_head(database) == revision
    differences = await database.read(
        lambda c: compare_metadata(MigrationContext.configure(c), metadata)
    )
    await database.close()
    assert differences == []


async def test_migrations_carry_rows_over(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'lamella.db'}")
    await database.write(lambda c: upgrade_schema(c, "0001"))
    await database.write(fill_tables)
    columns = await database.read(list_columns)
    before = await database.read(lambda c: read_tables(c, columns))
    await migrate_to_head(database)
    assert all(len(rows) == 3 for rows in before.values())
    assert await database.read(lambda c: read_tables(c, columns)) == before
    faults = await database.read(lambda c: c.exec_driver_sql("PRAGMA foreign_key_check").all())
    await database.close()
    assert faults == []


async def test_revisions_are_known_without_alembic(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'lamella.db'}")
    assert await database.read(read_schema_revision) is None
    await database.write(lambda c: upgrade_schema(c, "0001"))
    assert await database.read(read_schema_revision) == "0001"
    await database.close()
    assert find_head_revision() == ScriptDirectory(str(FOLDER)).get_current_head()

"""Schema migrations (Alembic), on SQLite and PostgreSQL alike."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from lamella.archive.database import Database
from lamella.errors import InvalidRequest

FOLDER = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 0x6C616D656C6C61  # "lamella": one migrating process at a time


async def migrate_to_head(database: Database) -> str:
    """Bring the schema to the newest revision; return that revision's id.

    Raises:
        InvalidRequest: The database was written by a newer version.
    """
    head = find_head_revision()
    if await database.read(read_schema_revision) != head:
        await database.write(upgrade_schema)
    return head


def find_head_revision() -> str:
    """Return the newest schema revision that this version knows."""
    return _scripts().get_current_head() or ""


def read_schema_revision(connection: sa.Connection) -> str | None:
    """Return the schema revision of a database, None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade_schema(connection: sa.Connection, revision: str = "head") -> None:
    """Bring the schema to a revision that is newer than its own.

    Raises:
        InvalidRequest: The database was written by a newer version.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
    current = read_schema_revision(connection)
    known = {script.revision for script in _scripts().walk_revisions()}
    if current is not None and current not in known:
        raise InvalidRequest("The database was written by a newer version of Lamella.")
    config = _configure()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _configure() -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_configure())

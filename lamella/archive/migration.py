"""Schema migrations (Alembic), on SQLite and PostgreSQL alike.

Alembic takes 11 MB of memory and a third of a second to import, in each process and command: it
is imported where a schema has to change, not where one is found to be right.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from lamella.archive.database import Database
from lamella.errors import InvalidRequest

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).parent / "migrations"
_VERSION = sa.table("alembic_version", sa.column("version_num", sa.Text))  # Alembic's own
ADVISORY_LOCK = 0x6C616D656C6C61  # "lamella": one migrating process at a time


async def migrate_to_head(database: Database) -> str:
    """Bring the schema to the newest revision; return that revision's id.

    Raises:
        InvalidRequest: The database was written by a newer version.
    """
    head = find_head_revision()
    if await database.read(read_schema_revision) != head:
        await database.rewrite(upgrade_schema)
    return head


def find_head_revision() -> str:
    """Return the newest schema revision that this version knows."""
    return max(_list_revisions())


def read_schema_revision(connection: sa.Connection) -> str | None:
    """Return the schema revision of a database, None for an empty one."""
    if not sa.inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(sa.select(_VERSION.c.version_num)).scalar_one_or_none()


def upgrade_schema(connection: sa.Connection, revision: str = "head") -> None:
    """Bring the schema to a revision that is newer than its own.

    Raises:
        InvalidRequest: The database was written by a newer version.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
    current = read_schema_revision(connection)
    if current is not None and current not in _list_revisions():
        raise InvalidRequest("The database was written by a newer version of Lamella.")
    # Alembic imports mako, and that what colours its error pages: 5 to 9 MB, which nobody uses
    sys.modules.setdefault("mako.ext.pygmentplugin", None)  # type: ignore[arg-type]
    from alembic import command

    config = _configure()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _list_revisions() -> set[str]:
    """Return all revisions: a migration's file is named by its own."""
    return {path.name.partition("_")[0] for path in (FOLDER / "versions").glob("[0-9]*.py")}


def _configure() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("path_separator", "os")
    return config

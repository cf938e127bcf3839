"""Fewer pages a store: SQLite writes a page whole for each tree of keys that a row is in.

- `node`: a table by row id, so that nodes are appended to full pages and only their names land
  in random places (on SQLite, rows of over 1 KB in a tree of keys spill to pages of their own).
- `reflog`, `session`: small rows, one tree instead of two.
- `staged`: without the counter that SQLite keeps in a table of its own; indexes by session.
- Indexes that nothing reads are gone.

Revision: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Digest = sa.LargeBinary(length=32)


def upgrade() -> None:
    op.drop_index("ix_instance_sop", "instance")
    op.drop_index("ix_visible_set_dataset_id", "visible_set")
    op.drop_index("ix_session_dataset_id", "session")
    for name in ("ix_staged_key", "ix_staged_session_id", "ix_staged_sop"):
        op.drop_index(name, "staged")
    if op.get_context().dialect.name == "sqlite":
        _rebuild_nodes()
        _rebuild_reflog()
        _rebuild_staging()
    op.create_index("ix_staged_sop", "staged", ["session_id", "sop_uid"])
    op.create_index("ix_staged_study", "staged", ["session_id", "study_uid"])


def _rebuild_nodes() -> None:
    op.create_table(
        "new_node",
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("digest", Digest, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "digest"),
    )
    _replace("node")


def _rebuild_reflog() -> None:
    op.create_table(
        "new_reflog",
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("old", Digest, nullable=True),
        sa.Column("new", Digest, nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("dataset_id", "branch", "time_us"),
        sqlite_with_rowid=False,
    )
    _replace("reflog")


def _rebuild_staging() -> None:
    """Rebuild both tables before the old ones go: rows of one refer to rows of the other."""
    op.create_table(
        "new_session",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("expected_head", Digest, nullable=True),
        sa.Column("lease_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "new_staged",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("sop_uid", sa.Text(), nullable=False),
        sa.Column("key", Digest, nullable=True),
        sa.ForeignKeyConstraint(["session_id"], ["new_session.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    for name in ("session", "staged"):
        _copy(name)
    for name in ("staged", "session"):
        op.drop_table(name)
        op.rename_table(f"new_{name}", name)


def _replace(name: str) -> None:
    _copy(name)
    op.drop_table(name)
    op.rename_table(f"new_{name}", name)


def _copy(name: str) -> None:
    """Copy a table's rows in the order of its key (both tables have the same columns)."""
    op.execute(f'INSERT INTO "new_{name}" SELECT * FROM "{name}"')

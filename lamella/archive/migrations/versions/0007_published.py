"""Published indexes, and the packs that they name.

Revision: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Digest = sa.LargeBinary(length=32)


def upgrade() -> None:
    op.create_table(
        "published",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("commit_id", Digest, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_published_name", "published", ["dataset_id", "name"])
    op.create_table(
        "published_pack",
        sa.Column("published_id", BigId, nullable=False),
        sa.Column("pack_id", BigId, nullable=False),
        sa.ForeignKeyConstraint(["published_id"], ["published.id"]),
        sa.ForeignKeyConstraint(["pack_id"], ["pack.id"]),
        sa.PrimaryKeyConstraint("published_id", "pack_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_published_pack_pack", "published_pack", ["pack_id"])

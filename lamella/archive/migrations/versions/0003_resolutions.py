"""Conflicts that a person has decided stay on record.

Revision: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Digest = sa.LargeBinary(length=32)


def upgrade() -> None:
    op.create_table(
        "resolution",
        sa.Column("id", BigId, autoincrement=False, nullable=False),
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("sop_uid", sa.Text(), nullable=False),
        sa.Column("key", Digest, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("head", Digest, nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("resolution", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("commit_id", Digest, nullable=True),
        sa.Column("resolved_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("id"),
    )

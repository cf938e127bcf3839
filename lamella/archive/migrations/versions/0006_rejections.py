"""Rejections: which notes reject what, and commits as they are shown without it.

Revision: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Digest = sa.LargeBinary(length=32)


def upgrade() -> None:
    op.add_column("dataset", sa.Column("hidden", Digest, nullable=True))
    op.create_table(
        "rejection",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("sop_uid", sa.Text(), nullable=False),
        sa.Column("key", Digest, nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("commit_id", Digest, nullable=False),
        sa.Column("lifted_us", sa.BigInteger(), nullable=True),
        sa.Column("lifted_by", sa.Text(), nullable=True),
        sa.Column("lift_commit_id", Digest, nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "rejected",
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("sop_uid", sa.Text(), nullable=False),
        sa.Column("rejection_id", BigId, nullable=False),
        sa.Column("key", Digest, nullable=True),
        sa.ForeignKeyConstraint(["rejection_id"], ["rejection.id"]),
        sa.PrimaryKeyConstraint("dataset_id", "study_uid", "series_uid", "sop_uid", "rejection_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_rejected_rejection", "rejected", ["rejection_id"])
    op.create_table(
        "mask",
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("hidden", Digest, nullable=False),
        sa.Column("commit_id", Digest, nullable=False),
        sa.Column("shown_id", Digest, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("dataset_id", "hidden", "commit_id"),
        sqlite_with_rowid=False,
    )

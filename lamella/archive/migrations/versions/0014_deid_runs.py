"""Runs of de-identification, and who decided about what they held back.

Revision: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
WAITS = sa.text("verdict <> 'PASS' AND decision = ''")


def upgrade() -> None:
    op.create_table(
        "deid_run",
        sa.Column("id", BigId, primary_key=True, autoincrement=True),
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("source_id", BigId, nullable=False),
        sa.Column("source_commit", sa.LargeBinary(length=32), nullable=False),
        sa.Column("recipe", sa.LargeBinary(length=32), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deid_run_dataset_id", "deid_run", ["dataset_id"])
    # no batch: SQLite adds nullable columns in place, and rows keep what they have
    op.add_column("deid_made", sa.Column("run_id", BigId, nullable=True))
    op.add_column("deid_made", sa.Column("decided_by", sa.Text(), nullable=True))
    op.add_column("deid_made", sa.Column("decided_us", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_deid_made_waiting",
        "deid_made",
        ["dataset_id", "id"],
        sqlite_where=WAITS,
        postgresql_where=WAITS,
    )

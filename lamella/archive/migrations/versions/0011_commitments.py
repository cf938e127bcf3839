"""Storage commitments, and the instances that they are about.

Revision: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Digest = sa.LargeBinary(length=32)


def upgrade() -> None:
    op.create_table(
        "commitment",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("transaction_uid", sa.Text(), nullable=False),
        sa.Column("calling", sa.Text(), nullable=False),
        sa.Column("called", sa.Text(), nullable=False),
        sa.Column("outcomes", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("reported_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_commitment_transaction", "commitment", ["calling", "transaction_uid"])
    op.create_table(
        "kept",
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("key", Digest, nullable=False),
        sa.Column("commitment_id", BigId, nullable=False),
        sa.ForeignKeyConstraint(["commitment_id"], ["commitment.id"]),
        sa.ForeignKeyConstraint(["dataset_id", "key"], ["instance.dataset_id", "instance.key"]),
        sa.PrimaryKeyConstraint("dataset_id", "key"),
    )

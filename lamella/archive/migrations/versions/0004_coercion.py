"""Datasets may have a policy that changes instances on their way in; when it did so is kept.

Revision: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Digest = sa.LargeBinary(length=32)


def upgrade() -> None:
    op.add_column("dataset", sa.Column("coercion", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "coerced",
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("digest", Digest, nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("dataset_id", "digest"),
    )

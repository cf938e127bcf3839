"""What de-identification has made, by what it was made of.

Revision: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "deid_made",
        sa.Column("id", BigId, primary_key=True, autoincrement=True),
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("recipe", sa.LargeBinary(length=32), nullable=False),
        sa.Column("source", sa.LargeBinary(length=32), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("made", sa.LargeBinary(length=32), nullable=True),
        sa.Column("told", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.UniqueConstraint("dataset_id", "recipe", "source", name="uq_deid_made_source"),
        sqlite_autoincrement=True,
    )

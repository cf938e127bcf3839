"""Indexes of attributes; that of patients' names is filled from the study rows there are.

A row whose attributes cannot be read is left out: `fsck --repair` mends both.

Revision: 0005
"""

import msgspec
import sqlalchemy as sa
from alembic import op

from lamella.archive.attribute_index import NAMES, list_row_entries

revision = "0005"
down_revision = "0004"

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Digest = sa.LargeBinary(length=32)
Bytewise = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
PAGE_ROWS = 1_000


def upgrade() -> None:
    op.add_column(
        "dataset", sa.Column("n_indexes", sa.Integer(), server_default="0", nullable=False)
    )
    op.create_table(
        "attribute_index",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("vr", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("lease_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dataset_id", "path", "level", name="uq_attribute_index_path"),
        sqlite_autoincrement=True,
    )
    for name, target in (("row_entry", ("row_id", BigId)), ("instance_entry", ("key", Digest))):
        op.create_table(
            name,
            sa.Column("dataset_id", BigId, autoincrement=False, nullable=False),
            sa.Column("index_id", BigId, autoincrement=False, nullable=False),
            sa.Column("term", Bytewise, nullable=False),
            sa.Column(*target, autoincrement=False, nullable=False),
            sa.PrimaryKeyConstraint("dataset_id", "index_id", "term", target[0]),
            sqlite_with_rowid=False,
        )
    _enter_names()


def _enter_names() -> None:
    connection = op.get_bind()
    study_row = sa.table(
        "study_row", *map(sa.column, ("dataset_id", "row_id")), sa.column("attributes")
    )
    row_entry = sa.table("row_entry", *map(sa.column, ("dataset_id", "index_id", "term", "row_id")))
    place = study_row.c.dataset_id, study_row.c.row_id
    page = sa.select(*place, study_row.c.attributes).order_by(*place).limit(PAGE_ROWS)
    rows = connection.execute(page).all()
    while rows:
        entries = [
            entry
            for dataset_id, row_id, data in rows
            for entry in list_row_entries(dataset_id, row_id, _decode(data), [NAMES])
        ]
        if entries:
            connection.execute(sa.insert(row_entry), entries)
        last = sa.tuple_(*(sa.literal(value, sa.BigInteger()) for value in rows[-1][:2]))
        rows = connection.execute(page.where(sa.tuple_(*place) > last)).all()


def _decode(data: bytes) -> dict[str, object]:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}

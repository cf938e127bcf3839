"""Tables of the network: AE titles that stand for revisions, peers, and what these have got.

Datasets are named, not referred to: an AE title outlives a dataset that is deleted, and stands for
the next one of that name.
"""

from __future__ import annotations

import sqlalchemy as sa

from lamella.archive.database import metadata
from lamella.archive.tables import BigId, Digest

ae_title = sa.Table(
    "ae_title",
    metadata,
    sa.Column("title", sa.Text, primary_key=True),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("revision", sa.Text, nullable=False),
    sa.Column("callers", sa.Text, nullable=False),  # by backslashes, which no AE title has
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

peer = sa.Table(
    "peer",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("port", sa.Integer, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("is_tls", sa.Integer, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

pushed = sa.Table(
    "pushed",
    metadata,
    sa.Column("peer", sa.Text, primary_key=True),
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), primary_key=True),
    sa.Column("key", Digest, primary_key=True),
    sqlite_with_rowid=False,
)

"""Tables of the network: AE titles for revisions, peers, what these have got and were promised.

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

commitment = sa.Table(
    "commitment",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), nullable=False),
    sa.Column("transaction_uid", sa.Text, nullable=False),
    sa.Column("calling", sa.Text, nullable=False),
    sa.Column("called", sa.Text, nullable=False),
    sa.Column("outcomes", sa.Text, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("reported_us", sa.BigInteger, nullable=True),
    sa.Index("ix_commitment_transaction", "calling", "transaction_uid"),
    sqlite_autoincrement=True,
)

kept = sa.Table(
    "kept",
    metadata,
    sa.Column("dataset_id", BigId, primary_key=True),
    sa.Column("key", Digest, primary_key=True),
    sa.Column("commitment_id", BigId, sa.ForeignKey("commitment.id"), nullable=False),
    sa.ForeignKeyConstraint(["dataset_id", "key"], ["instance.dataset_id", "instance.key"]),
)  # instances that somebody was promised to find again, whatever becomes of branches

store_route = sa.Table(
    "store_route",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("called", sa.Text, nullable=False),
    sa.Column("calling", sa.Text, nullable=False),
    sa.Column("attribute", sa.Text, nullable=False),
    sa.Column("pattern", sa.Text, nullable=False),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("branch", sa.Text, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

"""Tables of the archive: where bytes lie, and what each stored instance is.

A blob exists iff a row of `location` says which pack holds it. Digests are 32-byte SHA-256;
times are microseconds since 1970, UTC. Everything in `derived` can be made again from bytes.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from lamella.archive.database import metadata

BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Digest = sa.LargeBinary(32)
Bytewise = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""Text in byte order on both databases, which is Python's order too."""

pack = sa.Table(
    "pack",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("unused_us", sa.BigInteger, nullable=True),
    sqlite_autoincrement=True,
)

location = sa.Table(
    "location",
    metadata,
    sa.Column("digest", Digest, primary_key=True),
    sa.Column("pack_id", BigId, sa.ForeignKey("pack.id"), nullable=False, index=True),
    sa.Column("offset_bytes", sa.BigInteger, nullable=False),
    sa.Column("length_bytes", sa.BigInteger, nullable=False),
    sa.Column("used_us", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

dataset = sa.Table(
    "dataset",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("format", sa.Integer, nullable=False),
    sa.Column("default_branch", sa.Text, nullable=False),
    sa.Column("duplicates", sa.Text, nullable=False),
    sa.Column("next_row_id", sa.BigInteger, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("coercion", sa.Text, nullable=False, server_default=""),
    sa.Column("n_indexes", sa.Integer, nullable=False, server_default="0"),
    sa.Column("hidden", Digest, nullable=True),
    sa.Column("n_subscriptions", sa.Integer, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)

instance = sa.Table(
    "instance",
    metadata,
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), primary_key=True),
    sa.Column("key", Digest, primary_key=True),
    sa.Column("study_uid", sa.Text, nullable=False),
    sa.Column("series_uid", sa.Text, nullable=False),
    sa.Column("sop_uid", sa.Text, nullable=False),
    sa.Column("sop_class_uid", sa.Text, nullable=False),
    sa.Column("transfer_syntax_uid", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("patient_id", sa.Text, nullable=False),
    sa.Column("issuer_of_patient_id", sa.Text, nullable=False),
    sa.Column("content_digest", Digest, nullable=False),
    sa.Column("bulk_digest", Digest, nullable=False),
    sa.Column("segments", sa.LargeBinary, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Index("ix_instance_sop", "dataset_id", "sop_uid"),
)

derived = sa.Table(
    "derived",
    metadata,
    sa.Column("dataset_id", BigId, primary_key=True),
    sa.Column("key", Digest, primary_key=True),
    sa.Column("format", sa.Integer, nullable=False),
    sa.Column("instance_number", sa.BigInteger, nullable=True),
    sa.Column("frames", sa.LargeBinary, nullable=True),
    sa.Column("dicom_json", sa.LargeBinary, nullable=False),
    sa.ForeignKeyConstraint(["dataset_id", "key"], ["instance.dataset_id", "instance.key"]),
)

coerced = sa.Table(
    "coerced",
    metadata,
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), primary_key=True),
    sa.Column("digest", Digest, primary_key=True),
    sa.Column("time_us", sa.BigInteger, nullable=False),
    sa.Column("sender", sa.Text, nullable=False),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=True),
    sa.Column("arguments", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("due_us", sa.BigInteger, nullable=False),
    sa.Column("sent_us", sa.BigInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("is_stopped", sa.Integer, nullable=False),
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=True),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("position", sa.Text, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("ended_us", sa.BigInteger, nullable=True),
    sa.UniqueConstraint("kind", "key", name="uq_outbox_key"),
    sa.Index("ix_outbox_due", "state", "due_us"),
    sqlite_autoincrement=True,
)

hold = sa.Table(
    "hold",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("until_us", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

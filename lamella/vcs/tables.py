"""Tables of the versioning engine: refs, history, what is staged, what is in conflict.

Nodes and commits are kept per dataset (the privacy zone): a commit is readable iff its row
(dataset, id) exists. Times are microseconds since 1970, UTC; ids are 32-byte SHA-256.
"""

from __future__ import annotations

import sqlalchemy as sa

from lamella.archive.database import metadata
from lamella.archive.tables import BigId, Digest

node = sa.Table(
    "node",
    metadata,
    sa.Column("dataset_id", BigId, primary_key=True),
    sa.Column("digest", Digest, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)  # by row id: rows of over 1 KB in a tree of keys would spill to pages of their own

commit = sa.Table(
    "commit",
    metadata,
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), primary_key=True),
    sa.Column("id", Digest, primary_key=True),
    sa.Column("tree", Digest, nullable=False),
    sa.Column("first_parent", Digest, nullable=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("visible_id", BigId, sa.ForeignKey("visible_set.id"), nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

visible_set = sa.Table(
    "visible_set",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), nullable=False),
    sa.Column("base_id", BigId, nullable=True),
    sa.Column("depth", sa.Integer, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,  # an id names one row for ever: caches rely on it
)

ref = sa.Table(
    "ref",
    metadata,
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("commit_id", Digest, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
)

reflog = sa.Table(
    "reflog",
    metadata,
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), primary_key=True),
    sa.Column("branch", sa.Text, primary_key=True),
    sa.Column("time_us", sa.BigInteger, primary_key=True),
    sa.Column("old", Digest, nullable=True),
    sa.Column("new", Digest, nullable=True),
    sa.Column("action", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

session = sa.Table(
    "session",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), nullable=False),
    sa.Column("branch", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("expected_head", Digest, nullable=True),
    sa.Column("lease_us", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

staged = sa.Table(
    "staged",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("session_id", sa.Text, sa.ForeignKey("session.id"), nullable=False),
    sa.Column("dataset_id", BigId, nullable=False),
    sa.Column("study_uid", sa.Text, nullable=False),
    sa.Column("series_uid", sa.Text, nullable=False),
    sa.Column("sop_uid", sa.Text, nullable=False),
    sa.Column("key", Digest, nullable=True),
    sa.Index("ix_staged_sop", "session_id", "sop_uid"),
    sa.Index("ix_staged_study", "session_id", "study_uid"),
)

conflict = sa.Table(
    "conflict",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), nullable=False),
    sa.Column("branch", sa.Text, nullable=False),
    sa.Column("study_uid", sa.Text, nullable=False),
    sa.Column("series_uid", sa.Text, nullable=False),
    sa.Column("sop_uid", sa.Text, nullable=False),
    sa.Column("key", Digest, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("head", Digest, nullable=False),
    sa.Column("time_us", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("dataset_id", "branch", "key", name="uq_conflict_key"),
    sqlite_autoincrement=True,
)

resolution = sa.Table(
    "resolution",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=False),
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), nullable=False),
    sa.Column("branch", sa.Text, nullable=False),
    sa.Column("study_uid", sa.Text, nullable=False),
    sa.Column("series_uid", sa.Text, nullable=False),
    sa.Column("sop_uid", sa.Text, nullable=False),
    sa.Column("key", Digest, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("head", Digest, nullable=False),
    sa.Column("time_us", sa.BigInteger, nullable=False),
    sa.Column("resolution", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("commit_id", Digest, nullable=True),
    sa.Column("resolved_us", sa.BigInteger, nullable=False),
)  # rows of `conflict` that a person has decided, under the same id

rejection = sa.Table(
    "rejection",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), nullable=False),
    sa.Column("branch", sa.Text, nullable=False),
    sa.Column("study_uid", sa.Text, nullable=False),
    sa.Column("series_uid", sa.Text, nullable=False),
    sa.Column("sop_uid", sa.Text, nullable=False),
    sa.Column("key", Digest, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("time_us", sa.BigInteger, nullable=False),
    sa.Column("commit_id", Digest, nullable=False),
    sa.Column("lifted_us", sa.BigInteger, nullable=True),
    sa.Column("lifted_by", sa.Text, nullable=True),
    sa.Column("lift_commit_id", Digest, nullable=True),
    sqlite_autoincrement=True,
)

rejected = sa.Table(
    "rejected",
    metadata,
    sa.Column("dataset_id", BigId, primary_key=True),
    sa.Column("study_uid", sa.Text, primary_key=True),
    sa.Column("series_uid", sa.Text, primary_key=True),
    sa.Column("sop_uid", sa.Text, primary_key=True),
    sa.Column("rejection_id", BigId, sa.ForeignKey("rejection.id"), primary_key=True),
    sa.Column("key", Digest, nullable=True),
    sa.Index("ix_rejected_rejection", "rejection_id"),
    sqlite_with_rowid=False,
)

mask = sa.Table(
    "mask",
    metadata,
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), primary_key=True),
    sa.Column("hidden", Digest, primary_key=True),
    sa.Column("commit_id", Digest, primary_key=True),
    sa.Column("shown_id", Digest, nullable=False),
    sqlite_with_rowid=False,
)

published = sa.Table(
    "published",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("commit_id", Digest, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("time_us", sa.BigInteger, nullable=False),
    sa.Index("ix_published_name", "dataset_id", "name"),
    sqlite_autoincrement=True,
)

published_pack = sa.Table(
    "published_pack",
    metadata,
    sa.Column("published_id", BigId, sa.ForeignKey("published.id"), primary_key=True),
    sa.Column("pack_id", BigId, sa.ForeignKey("pack.id"), primary_key=True),
    sa.Index("ix_published_pack_pack", "pack_id"),
    sqlite_with_rowid=False,
)  # packs whose bytes a published index names: they stay where they are

subscription = sa.Table(
    "subscription",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), nullable=False, index=True),
    sa.Column("branch", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("arguments", sa.Text, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

deid_run = sa.Table(
    "deid_run",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), nullable=False, index=True),
    sa.Column("branch", sa.Text, nullable=False),
    sa.Column("source_id", BigId, nullable=False),  # its dataset may be deleted since
    sa.Column("source_commit", Digest, nullable=False),
    sa.Column("recipe", Digest, nullable=False),
    sa.Column("profile", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("report", sa.Text, nullable=False),
    sa.Column("started_us", sa.BigInteger, nullable=False),
    sa.Column("ended_us", sa.BigInteger, nullable=True),
    sqlite_autoincrement=True,
)

_WAITS = sa.text("verdict <> 'PASS' AND decision = ''")
deid_made = sa.Table(
    "deid_made",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), nullable=False),
    sa.Column("recipe", Digest, nullable=False),
    sa.Column("source", Digest, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column("made", Digest, nullable=True),
    sa.Column("told", sa.LargeBinary, nullable=False),
    sa.Column("run_id", BigId, nullable=True),
    sa.Column("decided_by", sa.Text, nullable=True),
    sa.Column("decided_us", sa.BigInteger, nullable=True),
    sa.UniqueConstraint("dataset_id", "recipe", "source", name="uq_deid_made_source"),
    sa.Index(
        "ix_deid_made_waiting", "dataset_id", "id", sqlite_where=_WAITS, postgresql_where=_WAITS
    ),
    sqlite_autoincrement=True,
)

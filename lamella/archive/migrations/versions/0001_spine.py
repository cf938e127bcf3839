"""The spine: packs, instances, catalog, versions.

Revision: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Digest = sa.LargeBinary(length=32)
Bytewise = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "dataset",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("format", sa.Integer(), nullable=False),
        sa.Column("default_branch", sa.Text(), nullable=False),
        sa.Column("duplicates", sa.Text(), nullable=False),
        sa.Column("next_row_id", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "node",
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("digest", Digest, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "digest"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pack",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "series_row",
        sa.Column("dataset_id", BigId, autoincrement=False, nullable=False),
        sa.Column("row_id", BigId, autoincrement=False, nullable=False),
        sa.Column("digest", Digest, nullable=False),
        sa.Column("study_uid", Bytewise, nullable=False),
        sa.Column("series_uid", Bytewise, nullable=False),
        sa.Column("sort_key", Bytewise, nullable=False),
        sa.Column("modality", Bytewise, nullable=False),
        sa.Column("series_number", Bytewise, nullable=False),
        sa.Column("series_date", Bytewise, nullable=False),
        sa.Column("step_start_date", Bytewise, nullable=False),
        sa.Column("step_start_time", Bytewise, nullable=False),
        sa.Column("attributes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "row_id"),
        sa.UniqueConstraint("dataset_id", "series_uid", "digest", name="uq_series_row_digest"),
    )
    op.create_index(
        "ix_series_row_order",
        "series_row",
        ["dataset_id", "study_uid", "sort_key", "row_id"],
        unique=False,
    )
    op.create_table(
        "study_row",
        sa.Column("dataset_id", BigId, autoincrement=False, nullable=False),
        sa.Column("row_id", BigId, autoincrement=False, nullable=False),
        sa.Column("digest", Digest, nullable=False),
        sa.Column("study_uid", Bytewise, nullable=False),
        sa.Column("sort_key", Bytewise, nullable=False),
        sa.Column("patient_id", Bytewise, nullable=False),
        sa.Column("issuer_of_patient_id", Bytewise, nullable=False),
        sa.Column("patient_name", Bytewise, nullable=False),
        sa.Column("patient_name_other", Bytewise, nullable=False),
        sa.Column("patient_birth_date", Bytewise, nullable=False),
        sa.Column("patient_sex", Bytewise, nullable=False),
        sa.Column("study_date", Bytewise, nullable=False),
        sa.Column("study_time", Bytewise, nullable=False),
        sa.Column("accession_number", Bytewise, nullable=False),
        sa.Column("study_id", Bytewise, nullable=False),
        sa.Column("referring_physician", Bytewise, nullable=False),
        sa.Column("study_description", Bytewise, nullable=False),
        sa.Column("modalities", Bytewise, nullable=False),
        sa.Column("sop_classes", Bytewise, nullable=False),
        sa.Column("attributes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "row_id"),
        sa.UniqueConstraint("dataset_id", "study_uid", "digest", name="uq_study_row_digest"),
    )
    op.create_index(
        "ix_study_row_accession_number",
        "study_row",
        ["dataset_id", "accession_number"],
        unique=False,
    )
    op.create_index(
        "ix_study_row_order", "study_row", ["dataset_id", "sort_key", "row_id"], unique=False
    )
    op.create_index(
        "ix_study_row_patient_id", "study_row", ["dataset_id", "patient_id"], unique=False
    )
    op.create_index(
        "ix_study_row_patient_name",
        "study_row",
        ["dataset_id", "patient_name", "patient_name_other", "sort_key", "row_id"],
        unique=False,
    )
    op.create_index(
        "ix_study_row_patient_name_other",
        "study_row",
        ["dataset_id", "patient_name_other"],
        unique=False,
    )
    op.create_table(
        "conflict",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("sop_uid", sa.Text(), nullable=False),
        sa.Column("key", Digest, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("head", Digest, nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["dataset.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dataset_id", "branch", "key", name="uq_conflict_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "instance",
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("key", Digest, nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("sop_uid", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("transfer_syntax_uid", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("issuer_of_patient_id", sa.Text(), nullable=False),
        sa.Column("content_digest", Digest, nullable=False),
        sa.Column("bulk_digest", Digest, nullable=False),
        sa.Column("segments", sa.LargeBinary(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["dataset.id"],
        ),
        sa.PrimaryKeyConstraint("dataset_id", "key"),
    )
    op.create_index("ix_instance_sop", "instance", ["dataset_id", "sop_uid"], unique=False)
    op.create_table(
        "location",
        sa.Column("digest", Digest, nullable=False),
        sa.Column("pack_id", BigId, nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("length_bytes", sa.BigInteger(), nullable=False),
        sa.Column("used_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["pack_id"],
            ["pack.id"],
        ),
        sa.PrimaryKeyConstraint("digest"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_location_pack_id", "location", ["pack_id"], unique=False)
    op.create_table(
        "place",
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("sop_uid", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["dataset.id"],
        ),
        sa.PrimaryKeyConstraint("dataset_id", "sop_uid", "study_uid", "series_uid"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ref",
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("commit_id", Digest, nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["dataset.id"],
        ),
        sa.PrimaryKeyConstraint("dataset_id", "kind", "name"),
    )
    op.create_table(
        "reflog",
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("old", Digest, nullable=True),
        sa.Column("new", Digest, nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["dataset.id"],
        ),
        sa.PrimaryKeyConstraint("dataset_id", "branch", "time_us"),
    )
    op.create_table(
        "session",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("expected_head", Digest, nullable=True),
        sa.Column("lease_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["dataset.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_session_dataset_id", "session", ["dataset_id"], unique=False)
    op.create_table(
        "visible_set",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("base_id", BigId, nullable=True),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["dataset.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_visible_set_dataset_id", "visible_set", ["dataset_id"], unique=False)
    op.create_table(
        "commit",
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("id", Digest, nullable=False),
        sa.Column("tree", Digest, nullable=False),
        sa.Column("first_parent", Digest, nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("visible_id", BigId, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["dataset.id"],
        ),
        sa.ForeignKeyConstraint(
            ["visible_id"],
            ["visible_set.id"],
        ),
        sa.PrimaryKeyConstraint("dataset_id", "id"),
    )
    op.create_table(
        "derived",
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("key", Digest, nullable=False),
        sa.Column("format", sa.Integer(), nullable=False),
        sa.Column("instance_number", sa.BigInteger(), nullable=True),
        sa.Column("frames", sa.LargeBinary(), nullable=True),
        sa.Column("dicom_json", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id", "key"],
            ["instance.dataset_id", "instance.key"],
        ),
        sa.PrimaryKeyConstraint("dataset_id", "key"),
    )
    op.create_table(
        "staged",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("dataset_id", BigId, nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("sop_uid", sa.Text(), nullable=False),
        sa.Column("key", Digest, nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["session.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_staged_key", "staged", ["dataset_id", "key"], unique=False)
    op.create_index("ix_staged_session_id", "staged", ["session_id"], unique=False)
    op.create_index("ix_staged_sop", "staged", ["dataset_id", "sop_uid"], unique=False)

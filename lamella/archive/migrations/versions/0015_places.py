"""Where an instance was ever sent to is known by its rows: an index of them instead of a table.

The table `place` had a row of its own for each instance, three UIDs long, on a random page of a
tree of keys that grew with history: of a commit of 100 instances, two pages in three.

Revision: 0015
"""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_index("ix_instance_sop", "instance", ["dataset_id", "sop_uid"])
    op.drop_table("place")

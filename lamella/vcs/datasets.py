"""Making and deleting datasets."""

from __future__ import annotations

from contextlib import suppress

import sqlalchemy as sa
from pyroaring import BitMap

from lamella.archive.attribute_index import attribute_index, instance_entry, row_entry
from lamella.archive.catalog import series_row, study_row
from lamella.archive.database import read_clock_us
from lamella.archive.search import Visible
from lamella.archive.tables import coerced, dataset, derived, instance
from lamella.errors import AlreadyExists, Conflict
from lamella.vcs.commit_object import Commit
from lamella.vcs.commits import COMMITTER
from lamella.vcs.history import save_commit, save_nodes
from lamella.vcs.network_tables import commitment, kept, pushed
from lamella.vcs.nodes import EMPTY_LEAF, EMPTY_ROOT, MemoryNodes, encode_node
from lamella.vcs.policies import check_duplicates
from lamella.vcs.publications import list_publications
from lamella.vcs.refs import (
    BRANCH,
    DEFAULT_BRANCH,
    DEFAULT_DATASET,
    FORMAT,
    DatasetRow,
    check_name,
    create_ref,
    find_dataset,
    lock_dataset,
)
from lamella.vcs.tables import (
    commit,
    conflict,
    deid_made,
    deid_run,
    mask,
    node,
    ref,
    reflog,
    rejected,
    rejection,
    resolution,
    session,
    staged,
    subscription,
    visible_set,
)
from lamella.vcs.visible import save_snapshot


def create_dataset(
    connection: sa.Connection,
    name: str,
    *,
    default_branch: str = DEFAULT_BRANCH,
    duplicates: str = "version",
) -> DatasetRow:
    """Make a dataset whose default branch stands at an empty first commit.

    Args:
        duplicates: What a store under a known UID does: `version`, `replace` or `reject`.

    Raises:
        InvalidRequest: A name or the policy will not do.
        AlreadyExists: There is a dataset of that name.
    """
    check_name(name, "dataset")
    check_name(default_branch, "branch")
    check_duplicates(duplicates)
    query = sa.select(dataset.c.id).where(dataset.c.name == name)
    if connection.execute(query).one_or_none() is not None:
        raise AlreadyExists(f"There is a dataset {name!r} already.")
    now_us = read_clock_us(connection)
    row = {
        "name": name,
        "format": FORMAT,
        "default_branch": default_branch,
        "duplicates": duplicates,
        "next_row_id": 1,
        "created_us": now_us,
    }
    dataset_id = _insert_dataset(connection, row)
    _make_first_commit(connection, dataset_id, default_branch, now_us)
    return find_dataset(connection, name)


def ensure_default(connection: sa.Connection) -> None:
    """Make dataset `default` with branch `main` if this is the first start."""
    query = sa.select(dataset.c.id).where(dataset.c.name == DEFAULT_DATASET)
    if connection.execute(query).one_or_none() is None:
        with suppress(AlreadyExists):  # another server was first
            create_dataset(connection, DEFAULT_DATASET)


def delete_dataset(connection: sa.Connection, name: str) -> None:
    """Delete a dataset with all of its history; its bytes are freed by gc.

    Raises:
        RevisionNotFound: There is none.
        Conflict: It is the dataset that AE titles and clients land on by default, or instances
            are on their way into it, or it is published, or peers rely on what is in it.
    """
    if name == DEFAULT_DATASET:
        raise Conflict(f"{name!r} is the default dataset and cannot be deleted.")
    owner = lock_dataset(connection, find_dataset(connection, name).id)
    sessions = sa.select(sa.func.count()).where(session.c.dataset_id == owner.id)
    if connection.execute(sessions).scalar_one():
        raise Conflict(f"Instances are being stored into {name!r}: try again later.")
    if list_publications(connection, owner.id):
        raise Conflict(f"{name!r} is published: withdraw that first (lamella publish --withdraw).")
    if connection.execute(
        sa.select(kept.c.key).where(kept.c.dataset_id == owner.id).limit(1)
    ).first():
        raise Conflict(f"Peers rely on {name!r}: storage of instances in it was committed to.")
    connection.execute(sa.delete(commitment).where(commitment.c.dataset_id == owner.id))
    rejections = sa.select(rejection.c.id).where(rejection.c.dataset_id == owner.id)
    connection.execute(sa.delete(rejected).where(rejected.c.rejection_id.in_(rejections)))
    for table in (
        rejection,
        mask,
        staged,
        conflict,
        resolution,
        ref,
        reflog,
        commit,
        visible_set,
        node,
        subscription,
        pushed,
        deid_made,
        deid_run,
    ):
        connection.execute(sa.delete(table).where(table.c.dataset_id == owner.id))
    for table in (row_entry, instance_entry, attribute_index):
        connection.execute(sa.delete(table).where(table.c.dataset_id == owner.id))
    for table in (study_row, series_row, derived, instance, coerced):
        connection.execute(sa.delete(table).where(table.c.dataset_id == owner.id))
    connection.execute(sa.delete(dataset).where(dataset.c.id == owner.id))


def _insert_dataset(connection: sa.Connection, row: dict[str, object]) -> int:
    """Write a dataset's row; a rival of the same name may have been first."""
    try:
        with connection.begin_nested():
            key = connection.execute(sa.insert(dataset).values(row)).inserted_primary_key
    except sa.exc.IntegrityError as error:
        raise AlreadyExists(f"There is a dataset {row['name']!r} already.") from error
    assert key is not None
    return int(key[0])


def _make_first_commit(
    connection: sa.Connection, dataset_id: int, branch: str, now_us: int
) -> None:
    nodes = MemoryNodes()
    nodes.write(encode_node(EMPTY_LEAF))
    save_nodes(connection, dataset_id, nodes)
    visible_id = save_snapshot(connection, dataset_id, Visible(studies=BitMap(), series=BitMap()))
    first = Commit(
        tree=EMPTY_ROOT,
        parents=(),
        author=COMMITTER,
        committer=COMMITTER,
        time_us=now_us,
        message="Make the dataset",
        kind="initial",
    )
    stored = save_commit(connection, dataset_id, first, 0, visible_id)
    create_ref(connection, dataset_id, BRANCH, branch, stored.id)

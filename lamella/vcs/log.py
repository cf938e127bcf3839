"""The log of a revision: its commits along the first parents, newest first."""

from __future__ import annotations

from itertools import islice

import sqlalchemy as sa

from lamella.vcs.history import StoredCommit, load_commit, walk_first_parents


def read_log(
    connection: sa.Connection,
    dataset_id: int,
    start: bytes,
    limit: int | None = None,
    before: bytes | None = None,
) -> list[dict[str, object]]:
    """Return commits newest first, in the contract's JSON shape.

    Args:
        dataset_id: The dataset.
        start: The commit to begin with, 32 bytes.
        limit: How many at most; None for the whole history.
        before: The commit that an earlier page ended with; the page continues behind it,
            wherever `start` is by now.

    Raises:
        RevisionNotFound: The dataset has no such commit.
    """
    first = start if before is None else find_first_parent(connection, dataset_id, before)
    if first is None:
        return []
    commits = islice(walk_first_parents(connection, dataset_id, first), limit)
    return [found.describe() for found in commits]


def find_first_parent(connection: sa.Connection, dataset_id: int, commit_id: bytes) -> bytes | None:
    """Return the first parent of a commit; None for a history's first.

    Raises:
        RevisionNotFound: The dataset has no such commit.
    """
    return _parent_of(load_commit(connection, dataset_id, commit_id))


def _parent_of(found: StoredCommit) -> bytes | None:
    parents = found.commit.parents
    return bytes.fromhex(parents[0]) if parents else None

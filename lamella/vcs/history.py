"""Commits in the database: keeping, loading, walking back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from lamella.archive.statements import Statement
from lamella.archive.upsert import insert_missing
from lamella.errors import IntegrityError, RevisionNotFound
from lamella.vcs.commit_object import Commit, compute_commit_id, decode_commit, encode_commit
from lamella.vcs.nodes import MemoryNodes, compress
from lamella.vcs.tables import commit, node

_LOAD = Statement(
    sa.select(commit.c.data, commit.c.generation, commit.c.visible_id).where(
        commit.c.dataset_id == sa.bindparam("dataset_id"), commit.c.id == sa.bindparam("commit_id")
    )
)


@dataclass(frozen=True, slots=True)
class StoredCommit:
    """A commit with what the database keeps beside it.

    Attributes:
        generation: 0 for the first commit, else one more than the first parent's.
        visible_id: The visible set of the commit's catalog rows.
    """

    id: bytes
    commit: Commit
    generation: int
    visible_id: int

    def describe(self) -> dict[str, object]:
        """Return the commit as the API and `--json` show it."""
        return self.commit.describe(self.id.hex())


def load_commit(connection: sa.Connection, dataset_id: int, commit_id: bytes) -> StoredCommit:
    """Return a commit of a dataset.

    Raises:
        RevisionNotFound: The dataset has no such commit.
        IntegrityError: Its bytes are not what its id says.
    """
    names = {"dataset_id": dataset_id, "commit_id": commit_id}
    row = _LOAD.fetch_row(connection, names)
    if row is None:
        raise RevisionNotFound(f"There is no commit {commit_id.hex()} here.")
    data, generation, visible_id = row
    if bytes.fromhex(compute_commit_id(data)) != commit_id:
        raise IntegrityError(f"commit {commit_id.hex()} has bytes of another id")
    return StoredCommit(commit_id, decode_commit(data), generation, visible_id)


def save_commit(
    connection: sa.Connection, dataset_id: int, made: Commit, generation: int, visible_id: int
) -> StoredCommit:
    """Write a commit's row; one that is there already stays."""
    encoded = encode_commit(made)
    commit_id = bytes.fromhex(compute_commit_id(encoded))
    row = {
        "dataset_id": dataset_id,
        "id": commit_id,
        "tree": made.tree,
        "first_parent": bytes.fromhex(made.parents[0]) if made.parents else None,
        "generation": generation,
        "visible_id": visible_id,
        "data": encoded,
    }
    insert_missing(connection, commit, [row])
    return StoredCommit(commit_id, made, generation, visible_id)


def save_nodes(connection: sa.Connection, dataset_id: int, nodes: MemoryNodes) -> None:
    """Write the new nodes of a tree; those that are there already stay."""
    rows = [
        {"dataset_id": dataset_id, "digest": digest, "data": compress(encoded)}
        for digest, encoded in sorted(nodes.new.items())
    ]
    insert_missing(connection, node, rows)


def walk_first_parents(
    connection: sa.Connection, dataset_id: int, commit_id: bytes
) -> Iterator[StoredCommit]:
    """Yield a commit and its first-parent ancestors, newest first."""
    current: bytes | None = commit_id
    while current is not None:
        found = load_commit(connection, dataset_id, current)
        yield found
        parents = found.commit.parents
        current = bytes.fromhex(parents[0]) if parents else None


def find_by_prefix(connection: sa.Connection, dataset_id: int, prefix: str) -> list[bytes]:
    """Return up to two commits whose id begins with these hex digits (8 or more)."""
    low = bytes.fromhex(prefix.ljust(64, "0"))
    high = bytes.fromhex(prefix.ljust(64, "f"))
    query = (
        sa.select(commit.c.id)
        .where(commit.c.dataset_id == dataset_id, commit.c.id.between(low, high))
        .limit(2)
    )
    return list(connection.execute(query).scalars())

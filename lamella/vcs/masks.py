"""Commits as ordinary reads see them where something is hidden at every revision.

A commit that holds hidden instances is shown as another commit, its mask: of the same time, its
child, without them. A mask is made and kept like any commit (tree, catalog rows, visible set),
so that searches, metadata and every cache that is named by a node follow without knowing of it.
It is made when somebody first reads the commit; no branch ever leads to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from lamella.archive.attribute_index import load_indexes
from lamella.archive.statements import Statement
from lamella.archive.upsert import insert_missing
from lamella.vcs.commit_object import Commit, compute_commit_id, encode_commit
from lamella.vcs.commits import COMMITTER, write_rows
from lamella.vcs.history import StoredCommit, load_commit, save_commit, save_nodes
from lamella.vcs.nodes import MemoryNodes
from lamella.vcs.refs import DatasetRow, lock_dataset
from lamella.vcs.rejections import list_hidden
from lamella.vcs.repository import Repository
from lamella.vcs.tables import commit, mask
from lamella.vcs.tree import InstanceKey, Tree

T = TypeVar("T")

_FIND_MASK = Statement(
    sa.select(mask.c.shown_id).where(
        mask.c.dataset_id == sa.bindparam("dataset_id"),
        mask.c.hidden == sa.bindparam("hidden"),
        mask.c.commit_id == sa.bindparam("commit_id"),
    )
)
_IS_KNOWN = Statement(
    sa.select(sa.func.count()).where(
        commit.c.dataset_id == sa.bindparam("dataset_id"),
        commit.c.id == sa.bindparam("commit_id"),
    )
)


class MaskNeeded(Exception):
    """A commit has to be masked before it is shown; see `read_shown`."""

    def __init__(self, dataset_id: int, commit_id: bytes) -> None:
        super().__init__(commit_id.hex())
        self.dataset_id = dataset_id
        self.commit_id = commit_id


async def read_shown(repository: Repository, work: Callable[[sa.Connection], T]) -> T:
    """Run a read that opens views; make the masks that it needs, and run it again."""
    database = repository.archive.database
    while True:
        try:
            return await database.read(work)
        except MaskNeeded as needed:
            dataset_id, commit_id = needed.dataset_id, needed.commit_id
        await database.write(
            lambda c, d=dataset_id, i=commit_id: make_mask(c, repository, d, i)  # type: ignore[misc]
        )


def find_shown(
    connection: sa.Connection, repository: Repository, owner: DatasetRow, found: StoredCommit
) -> StoredCommit:
    """Return the commit that is shown in place of another: itself, or its mask.

    Raises:
        MaskNeeded: It has to be masked, and nobody has done it yet.
    """
    if owner.hidden is None:
        return found
    name = (owner.id, owner.hidden, found.id)
    shown = repository.shown.get(name)
    if shown is None:
        shown = _find_mask(connection, owner, found)
        if shown is None:
            tree = repository.tree(connection, owner.id, found.commit.tree)
            if _list_held(connection, owner.id, tree):
                raise MaskNeeded(owner.id, found.id)
            shown = found
        repository.shown.put(name, shown)
    return shown


def make_mask(
    connection: sa.Connection, repository: Repository, dataset_id: int, commit_id: bytes
) -> None:
    """Mask a commit by what is hidden now, unless that was done."""
    owner = lock_dataset(connection, dataset_id)
    found = load_commit(connection, owner.id, commit_id)
    if owner.hidden is None or _find_mask(connection, owner, found) is not None:
        return
    nodes = MemoryNodes(repository.nodes(connection, owner.id))
    old = Tree(nodes, found.commit.tree)
    root = old.apply(dict.fromkeys(_list_held(connection, owner.id, old)))
    made = Commit(
        tree=root,
        parents=(found.id.hex(),),
        author=COMMITTER,
        committer=COMMITTER,
        time_us=found.commit.time_us,
        message="",
        kind="mask",
    )
    shown_id = bytes.fromhex(compute_commit_id(encode_commit(made)))
    names = {"dataset_id": owner.id, "commit_id": shown_id}
    if not _IS_KNOWN.fetch_value(connection, names):  # else other rejections led to the same
        indexes = load_indexes(connection, owner.id) if owner.n_indexes else ()
        visible_id, _ = write_rows(connection, repository, owner, found, nodes, root, indexes)
        save_nodes(connection, owner.id, nodes)
        save_commit(connection, owner.id, made, found.generation + 1, visible_id)
    row = {
        "dataset_id": owner.id,
        "hidden": owner.hidden,
        "commit_id": found.id,
        "shown_id": shown_id,
    }
    insert_missing(connection, mask, [row])


def _find_mask(
    connection: sa.Connection, owner: DatasetRow, found: StoredCommit
) -> StoredCommit | None:
    names = {"dataset_id": owner.id, "hidden": owner.hidden, "commit_id": found.id}
    shown_id = _FIND_MASK.fetch_value(connection, names)
    return None if shown_id is None else load_commit(connection, owner.id, shown_id)


def _list_held(connection: sa.Connection, dataset_id: int, tree: Tree) -> list[InstanceKey]:
    """Return what a tree holds of all that is hidden."""
    return [
        names
        for names in list_hidden(connection, dataset_id)
        if tree.entry(*names) is not None  # a study or series is looked up once
    ]

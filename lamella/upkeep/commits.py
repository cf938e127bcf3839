"""Commits: their bytes have their ids, their rows say what the bytes say, parents are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from lamella.errors import IntegrityError
from lamella.upkeep.examination import Examination, Row
from lamella.upkeep.report import Kind
from lamella.vcs.commit_object import Commit, compute_commit_id, decode_commit
from lamella.vcs.tables import commit

PAGE_ROWS = 500


@dataclass(slots=True)
class CommitRow:
    """What the other checks need to know of a commit.

    Attributes:
        generation: Number of first parents behind it.
    """

    id: bytes
    tree: bytes
    parents: tuple[bytes, ...]
    generation: int
    visible_id: int

    @property
    def first_parent(self) -> bytes | None:
        """The commit before it on its branch."""
        return self.parents[0] if self.parents else None


History = Mapping[bytes, CommitRow]
"""The commits of one dataset by id, parents before children."""


async def examine_commits(run: Examination, dataset_id: int, name: str) -> History:
    """Check all commits of a dataset and return them."""
    columns = [
        commit.c[key] for key in ("tree", "first_parent", "generation", "visible_id", "data")
    ]
    query = sa.select(commit.c.id, *columns).where(commit.c.dataset_id == dataset_id)
    found: dict[bytes, CommitRow] = {}
    columns_of: dict[bytes, tuple[bytes, bytes | None]] = {}
    async for _, rows in run.scan(query, [commit.c.id], lambda _, rows: rows, page_rows=PAGE_ROWS):
        for row in rows:
            found[row.id] = _examine_bytes(run, name, row)
            if (row.tree, row.first_parent) != (found[row.id].tree, found[row.id].first_parent):
                columns_of[row.id] = row.tree, row.first_parent
        run.count("commits", len(rows))
    _examine_parents(run, name, found)
    history, generations = _order(found)
    for row_id, one in history.items():
        if row_id in columns_of or one.generation != generations[row_id]:
            one.generation = generations[row_id]
            await _mend_columns(run, dataset_id, name, one)
    return history


def _examine_bytes(run: Examination, name: str, row: Row) -> CommitRow:
    decoded = _decode(row)
    if decoded is not None:
        parents = tuple(bytes.fromhex(parent) for parent in decoded.parents)
        return CommitRow(row.id, decoded.tree, parents, row.generation, row.visible_id)
    sentence = f"The bytes of commit {row.id.hex()} of {name} do not have its id."
    run.add(Kind.COMMIT_DAMAGED, row.id.hex(), sentence)
    columns = () if row.first_parent is None else (row.first_parent,)
    return CommitRow(row.id, row.tree, columns, row.generation, row.visible_id)


def _decode(row: Row) -> Commit | None:
    if bytes.fromhex(compute_commit_id(row.data)) != row.id:
        return None
    try:
        return decode_commit(row.data)
    except IntegrityError:
        return None


def _examine_parents(run: Examination, name: str, found: Mapping[bytes, CommitRow]) -> None:
    for one in found.values():
        for parent in one.parents:
            if parent not in found:
                sentence = (
                    f"Commit {parent.hex()} of {name} is missing: commit {one.id.hex()} "
                    "was made from it."
                )
                run.add(Kind.COMMIT_MISSING, parent.hex(), sentence)


def _order(found: Mapping[bytes, CommitRow]) -> tuple[dict[bytes, CommitRow], dict[bytes, int]]:
    """Return commits with first parents before children, and the true generation of each.

    A commit whose first parent is missing keeps the generation that its row has.
    """
    generations: dict[bytes, int] = {}
    for start in found:
        line: list[bytes] = []
        current: bytes | None = start
        while current is not None and current in found and current not in generations:
            line.append(current)
            current = found[current].first_parent
        for commit_id in reversed(line):
            parent = found[commit_id].first_parent
            if parent is None:
                generations[commit_id] = 0
            elif parent in generations:
                generations[commit_id] = generations[parent] + 1
            else:
                generations[commit_id] = found[commit_id].generation
    ordered = sorted(found, key=lambda commit_id: (generations[commit_id], commit_id))
    return {commit_id: found[commit_id] for commit_id in ordered}, generations


async def _mend_columns(run: Examination, dataset_id: int, name: str, one: CommitRow) -> None:
    if run.repair:
        values = {
            "tree": one.tree,
            "first_parent": one.first_parent,
            "generation": one.generation,
        }
        here = (commit.c.dataset_id == dataset_id) & (commit.c.id == one.id)
        await run.write(lambda c: c.execute(sa.update(commit).where(here).values(values)))
    sentence = f"The row of commit {one.id.hex()} of {name} is not what the commit says."
    run.add(Kind.COMMIT_ROW_ALTERED, one.id.hex(), sentence, repaired=run.repair)

"""Deletes: a study, a series or an instance leaves the head of a branch, as one commit.

Commits before it keep what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from lamella.errors import ResourceNotFound
from lamella.vcs.commits import Committed, Outcome, commit_decided
from lamella.vcs.judgement import Judge
from lamella.vcs.repository import Repository
from lamella.vcs.staging import Session
from lamella.vcs.tree import Entry, InstanceKey, Tree


@dataclass(frozen=True, slots=True)
class Target:
    """A study; a series of it; or an instance of that."""

    study_uid: str
    series_uid: str | None = None
    sop_uid: str | None = None

    def describe(self) -> str:
        """Return what this is, for a message."""
        if self.series_uid is None:
            return f"study {self.study_uid}"
        if self.sop_uid is None:
            return f"series {self.series_uid}"
        return f"instance {self.sop_uid}"


async def delete_target(repository: Repository, work: Session, target: Target) -> Committed:
    """Remove from a branch all that a target names, as one commit.

    Args:
        repository: What to change.
        work: Says branch, author, message and the head that the sender expects.
        target: What goes.

    Raises:
        ResourceNotFound: The branch's head has nothing of that name.
        RefMoved: The head is not the one that was expected (If-Match); nothing changed.
        RevisionNotFound: The branch is gone.
    """

    def decide(judge: Judge, tree: Tree) -> list[Outcome]:
        return [
            Outcome(*names, entry.sop_class_uid, judge.delete(names))
            for names, entry in list_instances(tree, target)
        ]

    def write(connection: sa.Connection) -> Committed:
        return commit_decided(connection, repository, work, decide)

    return await repository.archive.database.write(write)


def list_instances(tree: Tree, target: Target) -> Sequence[tuple[InstanceKey, Entry]]:
    """Return the instances of a tree that a target names.

    Raises:
        ResourceNotFound: There are none.
    """
    study_uid = target.study_uid
    if target.series_uid is None:
        series = [series_uid for series_uid, _ in tree.series(study_uid)]
    else:
        series = [target.series_uid]
    found = [
        ((study_uid, series_uid, sop_uid), entry)
        for series_uid in series
        for sop_uid, entry in _list_series(tree, study_uid, series_uid, target.sop_uid)
    ]
    if not found:
        raise ResourceNotFound(f"There is no {target.describe()} at this revision.")
    return found


def _list_series(
    tree: Tree, study_uid: str, series_uid: str, sop_uid: str | None
) -> list[tuple[str, Entry]]:
    if sop_uid is None:
        return list(tree.instances(study_uid, series_uid))
    entry = tree.entry(study_uid, series_uid, sop_uid)
    return [] if entry is None else [(sop_uid, entry)]

"""What a person decides about an instance in conflict.

    accept        it takes the place of what the branch has under its SOP Instance UID, in
                  whatever series; and if the branch has none, it is added
    as-version    it is the next version of the instance in its own series, although patient,
                  SOP class or pixels differ; nothing ever leaves its series
    discard       it is not wanted

The first two make one commit, or none if the branch holds the very same by now. The row moves
to `resolution` in the same transaction, so that a decision told twice is taken once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

import sqlalchemy as sa

from lamella.archive.database import read_clock_us
from lamella.errors import Conflict
from lamella.vcs.commits import Outcome, commit_decided
from lamella.vcs.conflicts import ConflictRow, find_conflict
from lamella.vcs.judgement import Judge
from lamella.vcs.refs import DatasetRow, lock_dataset
from lamella.vcs.repository import Repository
from lamella.vcs.staging import Session
from lamella.vcs.stored import load_instances
from lamella.vcs.tables import conflict, resolution
from lamella.vcs.tree import Tree


class Resolution(StrEnum):
    """What becomes of an instance in conflict."""

    ACCEPT = "accept"
    AS_VERSION = "as-version"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decides what.

    Attributes:
        message: Of the commit; '' lets it describe itself.
        expected_head: The branch's head that the person had in view (If-Match), or None.
    """

    resolution: Resolution
    author: str
    message: str = ""
    expected_head: bytes | None = None


async def resolve_conflict(
    repository: Repository, conflict_id: int, decision: Decision, dataset_id: int | None = None
) -> ConflictRow:
    """Decide about an instance in conflict; the same decision again changes nothing.

    Args:
        repository: What to change.
        conflict_id: Which.
        decision: What becomes of it.
        dataset_id: The dataset that the conflict has to be of, or None for any.

    Raises:
        ResourceNotFound: There is no such conflict.
        RevisionNotFound: Its branch is gone.
        Conflict: It was decided otherwise, or `as-version` finds nothing to be a version of.
        RefMoved: The head is not the one that was expected; nothing is decided.
    """

    def write(connection: sa.Connection) -> ConflictRow:
        owner_id = find_conflict(connection, conflict_id, dataset_id).dataset_id
        owner = lock_dataset(connection, owner_id)
        found = find_conflict(connection, conflict_id)  # a rival may have been first
        if found.resolution:
            return _repeat(found, decision)
        return _resolve(connection, repository, owner, found, decision)

    return await repository.archive.database.write(write)


def _repeat(found: ConflictRow, decision: Decision) -> ConflictRow:
    if found.resolution != decision.resolution:
        raise Conflict(f"Conflict {found.id} was resolved already: {found.resolution}.")
    return found


def _resolve(
    connection: sa.Connection,
    repository: Repository,
    owner: DatasetRow,
    found: ConflictRow,
    decision: Decision,
) -> ConflictRow:
    commit_id = None
    if decision.resolution is not Resolution.DISCARD:
        commit_id = _commit(connection, repository, owner, found, decision)
    resolved = replace(
        found,
        resolution=decision.resolution.value,
        author=decision.author,
        commit_id=commit_id,
        resolved_us=read_clock_us(connection),
    )
    values = {name: value for name, value in asdict(resolved).items() if name in resolution.c}
    connection.execute(sa.insert(resolution).values(values))
    connection.execute(sa.delete(conflict).where(conflict.c.id == found.id))
    return resolved


def _commit(
    connection: sa.Connection,
    repository: Repository,
    owner: DatasetRow,
    found: ConflictRow,
    decision: Decision,
) -> bytes:
    stored = load_instances(connection, owner.id, [found.key])[found.key]

    def decide(judge: Judge, _tree: Tree) -> Sequence[Outcome]:
        is_version = decision.resolution is Resolution.AS_VERSION
        judgement = judge.accept_version(stored) if is_version else judge.accept(stored)
        return [Outcome(*stored.names, stored.sop_class_uid, judgement)]

    message = f"Resolve conflict {found.id} of instance {found.sop_uid}: {decision.resolution}"
    work = Session(
        owner,
        found.branch,
        kind="resolve",
        author=decision.author,
        message=decision.message or message,
        expected_head=decision.expected_head,
    )
    return commit_decided(connection, repository, work, decide).commit_id

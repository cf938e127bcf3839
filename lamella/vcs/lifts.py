"""Lifting a rejection: what it hid can be seen again, and is back at the branch's head.

One commit takes the note out of the head and brings back what it took away, as far as nothing
has come in its place since, and no other rejection that is in force names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from lamella.archive.database import read_clock_us
from lamella.vcs.commits import Outcome, commit_decided
from lamella.vcs.judgement import Judge
from lamella.vcs.refs import BRANCH, DatasetRow, find_ref, lock_dataset
from lamella.vcs.rejections import Lift, Rejection, find_rejection, save_hidden_digest
from lamella.vcs.repository import Repository
from lamella.vcs.staging import Session
from lamella.vcs.stored import StoredInstance, key_of_entry, load_instances
from lamella.vcs.tables import rejected, rejection
from lamella.vcs.tree import InstanceKey, Tree


@dataclass(frozen=True, slots=True)
class LiftRequest:
    """Who lifts a rejection.

    Attributes:
        message: Of the commit; '' lets it describe itself.
        expected_head: The branch's head that the person had in view (If-Match), or None.
    """

    author: str
    message: str = ""
    expected_head: bytes | None = None


async def lift_rejection(
    repository: Repository, rejection_id: int, request: LiftRequest, dataset_id: int | None = None
) -> Rejection:
    """Lift a rejection; one that was lifted already stays as it is.

    Args:
        repository: What to change.
        rejection_id: Which.
        request: Who lifts it.
        dataset_id: The dataset that the rejection has to be of, or None for any.

    Raises:
        ResourceNotFound: There is no such rejection.
        RefMoved: The head is not the one that was expected; nothing is lifted.
    """

    def write(connection: sa.Connection) -> Rejection:
        owner_id = find_rejection(connection, rejection_id, dataset_id).dataset_id
        owner = lock_dataset(connection, owner_id)
        found = find_rejection(connection, rejection_id)  # a rival may have been first
        if found.lift is not None:
            return found
        return _lift(connection, repository, owner, found, request)

    return await repository.archive.database.write(write)


def _lift(
    connection: sa.Connection,
    repository: Repository,
    owner: DatasetRow,
    found: Rejection,
    request: LiftRequest,
) -> Rejection:
    lift = Lift(request.author, read_clock_us(connection), None)
    _save(connection, found.id, lift)
    save_hidden_digest(connection, owner.id)
    if find_ref(connection, owner.id, BRANCH, found.branch) is not None:
        commit_id = _bring_back(connection, repository, owner, found, request)
        lift = replace(lift, commit_id=commit_id)
        _save(connection, found.id, lift)
    return replace(found, lift=lift)


def _save(connection: sa.Connection, rejection_id: int, lift: Lift) -> None:
    connection.execute(
        sa.update(rejection)
        .where(rejection.c.id == rejection_id)
        .values(lifted_us=lift.time_us, lifted_by=lift.author, lift_commit_id=lift.commit_id)
    )


def _bring_back(
    connection: sa.Connection,
    repository: Repository,
    owner: DatasetRow,
    found: Rejection,
    request: LiftRequest,
) -> bytes:
    free = _list_free(connection, found)

    def decide(judge: Judge, tree: Tree) -> Sequence[Outcome]:
        outcomes = []
        note = tree.entry(*found.note)
        if note is not None and key_of_entry(note) == found.key:
            outcomes.append(Outcome(*found.note, note.sop_class_uid, judge.delete(found.note)))
        for stored in free:
            if tree.entry(*stored.names) is None:
                judgement = judge.restore(stored)
                outcomes.append(Outcome(*stored.names, stored.sop_class_uid, judgement))
        return outcomes

    work = Session(
        owner,
        found.branch,
        kind="lift",
        author=request.author,
        message=request.message or f"Lift rejection {found.id} ({found.reason})",
        expected_head=request.expected_head,
    )
    return commit_decided(connection, repository, work, decide).commit_id


def _list_free(connection: sa.Connection, found: Rejection) -> list[StoredInstance]:
    """Return what no rejection keeps away any more, as it last was at the branch's head."""
    columns = rejected.c
    query = (
        sa.select(
            columns.study_uid,
            columns.series_uid,
            columns.sop_uid,
            columns.key,
            rejection.c.lifted_us,
        )
        .join(rejection, rejection.c.id == columns.rejection_id)
        .where(
            columns.dataset_id == found.dataset_id,
            columns.study_uid.in_({study_uid for study_uid, _, _ in found.instances}),
            rejection.c.branch == found.branch,
        )
        .order_by(rejection.c.id)
    )
    last: dict[InstanceKey, bytes] = {}
    held: set[InstanceKey] = set()
    for study_uid, series_uid, sop_uid, key, lifted_us in connection.execute(query):
        names = (study_uid, series_uid, sop_uid)
        if lifted_us is None:
            held.add(names)
        if key is not None:
            last[names] = key
    keys = [key for n, key in sorted(last.items()) if n in found.instances and n not in held]
    instances = load_instances(connection, found.dataset_id, keys)
    return [instances[key] for key in keys]

"""The commit transaction: what a session staged becomes one commit of its branch, or none.

One database transaction locks the dataset, judges each staged instance against the head,
writes tree nodes, catalog rows, the visible set, the commit, the ref and the reflog,
and deletes the staged rows. An unchanged tree makes no commit, so a retried store is safe.
What was answered before its commit is committed first, if a newer version would overtake it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from lamella.archive.attribute_index import AttributeIndex, list_written, load_indexes
from lamella.archive.database import read_clock_us
from lamella.archive.instances import Received
from lamella.archive.intake import Intake
from lamella.archive.levels import Level
from lamella.archive.search import Visible
from lamella.archive.statements import Statement
from lamella.archive.tables import dataset, instance
from lamella.errors import RefMoved, RevisionNotFound
from lamella.vcs.commit_object import Commit
from lamella.vcs.history import (
    StoredCommit,
    load_commit,
    save_commit,
    save_nodes,
    walk_first_parents,
)
from lamella.vcs.instance_entries import index_instances
from lamella.vcs.judgement import Judge, Judgement, Verdict
from lamella.vcs.messages import describe_changes
from lamella.vcs.nodes import MemoryNodes
from lamella.vcs.overtaking import find_overtaken
from lamella.vcs.refs import DatasetRow, lock_dataset, move_branch, next_log_time, read_head
from lamella.vcs.rejections import record_rejections
from lamella.vcs.repository import Repository
from lamella.vcs.rows import RowKeeper
from lamella.vcs.staging import (
    Session,
    drop_session,
    drop_staged,
    keep_intake,
    queue_conflict,
)
from lamella.vcs.stored import StoredInstance, key_of_entry, load_instances
from lamella.vcs.subscriptions import announce_commit
from lamella.vcs.tables import session, staged
from lamella.vcs.tree import InstanceKey, Tree
from lamella.vcs.visible import load_visible, save_delta

COMMITTER = "lamella"


_READ_STAGED = Statement(
    sa.select(staged.c.study_uid, staged.c.series_uid, staged.c.sop_uid, staged.c.key)
    .where(staged.c.session_id == sa.bindparam("session_id"))
    .order_by(staged.c.id)
)
_SAVE_ROW_IDS = Statement(
    sa.update(dataset)
    .where(dataset.c.id == sa.bindparam("of_dataset"))
    .values(next_row_id=sa.bindparam("next"))
)
_READ_CREATED = Statement(
    sa.select(instance.c.created_us).where(
        instance.c.dataset_id == sa.bindparam("dataset_id"), instance.c.key == sa.bindparam("key")
    )
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one staged instance."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    judgement: Judgement

    @property
    def names(self) -> InstanceKey:
        """(Study, Series, SOP) Instance UID."""
        return self.study_uid, self.series_uid, self.sop_uid


@dataclass(frozen=True, slots=True)
class Committed:
    """What a session came to.

    Attributes:
        commit_id: The commit that holds the result: a new one, or the head if nothing changed.
        created: Whether a commit was made.
        outcomes: One for each staged instance, in the order they were staged.
        start_id: The head that they met.
    """

    commit_id: bytes
    created: bool
    outcomes: tuple[Outcome, ...]
    start_id: bytes


StagedRow = tuple[InstanceKey, StoredInstance | None]
"""A staged instance; None where one is to be deleted."""


async def commit_session(repository: Repository, work: Session) -> Committed:
    """Commit what a session staged.

    Raises:
        RefMoved: The branch is not where the sender expected it (If-Match); nothing changed.
        RevisionNotFound: The branch is gone.
        OutOfResources: No room; the session stays staged and is committed later.
    """
    try:
        return await repository.archive.database.write(lambda c: commit_staged(c, repository, work))
    except RefMoved:
        await repository.archive.database.write(lambda c: drop_session(c, work.id))
        raise


async def commit_intake(
    repository: Repository, work: Session, intake: Intake, received: Sequence[Received]
) -> Committed:
    """Make what an intake took durable and commit it, all in one transaction: all or nothing.

    For senders that are answered once for all they sent (STOW).

    Raises:
        RefMoved: The branch is not where the sender expected it (If-Match); nothing is kept.
        RevisionNotFound: The branch is gone.
        OutOfResources: No room; nothing is kept.
    """

    return await keep_intake(
        repository, intake, lambda c: commit_received(c, repository, work, intake, received)
    )


def commit_received(
    connection: sa.Connection,
    repository: Repository,
    work: Session,
    intake: Intake,
    received: Sequence[Received],
) -> Committed:
    """Commit what an intake has made durable, in the caller's transaction.

    Nothing is staged: no other transaction could see it, nor a crash leave it behind.
    """
    intake.record(connection, work.dataset.id, read_clock_us(connection))
    _commit_overtaken(connection, repository, work, [item.facts.sop_uid for item in received])
    stored = [StoredInstance.from_facts(item.key, item.facts) for item in received]
    owner, start = _lock_branch(connection, work)
    return _commit_all(connection, repository, work, owner, start, [(s.names, s) for s in stored])


def commit_staged(
    connection: sa.Connection,
    repository: Repository,
    work: Session,
    ahead_of: frozenset[str] = frozenset(),
) -> Committed:
    """Commit what a session staged, in the caller's transaction.

    It becomes one commit or none; more only if the session replaces an instance that it brought
    itself: the version that is replaced is acknowledged, so a commit of its own keeps it.

    Args:
        ahead_of: Sessions that are committed behind this one, which goes on if there are any.
    """
    _commit_overtaken(connection, repository, work, None, ahead_of)
    owner, start = _lock_branch(connection, work)
    rows = _load_staged(connection, work)
    if ahead_of:
        drop_staged(connection, work.id)
    else:
        drop_session(connection, work.id)
    return _commit_all(connection, repository, work, owner, start, rows)


def _commit_overtaken(
    connection: sa.Connection,
    repository: Repository,
    work: Session,
    sop_uids: Sequence[str] | None,
    ahead_of: frozenset[str] = frozenset(),
) -> None:
    """Commit what senders that were answered before the commit staged under the same UIDs.

    Args:
        sop_uids: What this session brings; None for what it has staged, which counts from then.
        ahead_of: Sessions that wait for this one.
    """
    for earlier in find_overtaken(connection, work, sop_uids, ahead_of):
        commit_staged(connection, repository, earlier, ahead_of | {work.id})


def commit_decided(
    connection: sa.Connection,
    repository: Repository,
    work: Session,
    decide: Callable[[Judge, Tree], Sequence[Outcome]],
) -> Committed:
    """Commit what is decided in view of the branch's head, in the caller's transaction.

    Args:
        work: What to commit as; nothing of it is staged.
        decide: Notes changes in the judge, knowing the head's tree, and tells their outcomes.

    Raises:
        RefMoved: The branch is not where the sender expected it (If-Match); nothing changed.
        RevisionNotFound: The branch is gone.
    """
    owner, start = _lock_branch(connection, work)
    nodes = MemoryNodes(repository.nodes(connection, owner.id))
    old = Tree(nodes, start.commit.tree)
    judge = Judge(connection, owner, old)
    outcomes = tuple(decide(judge, old))
    head = _commit_changes(connection, repository, owner, work, start, nodes, judge, outcomes)
    return Committed(head.id, head.id != start.id, outcomes, start.id)


def _lock_branch(connection: sa.Connection, work: Session) -> tuple[DatasetRow, StoredCommit]:
    """Lock the dataset; return its row and the branch's head.

    Raises:
        RefMoved: The head is not the one that the sender expected.
        RevisionNotFound: The branch is gone.
    """
    owner = lock_dataset(connection, work.dataset.id)
    head = load_commit(connection, owner.id, read_head(connection, owner.id, work.branch))
    if work.expected_head is not None and work.expected_head != head.id:
        raise RefMoved(f"The head of {work.branch!r} is {head.id.hex()}.")
    return owner, head


def _commit_all(
    connection: sa.Connection,
    repository: Repository,
    work: Session,
    owner: DatasetRow,
    start: StoredCommit,
    staged_rows: Sequence[StagedRow],
) -> Committed:
    rows = deque(staged_rows)
    head, outcomes = start, list[Outcome]()
    while rows:
        head = _commit_rows(connection, repository, work, owner, start, head, rows, outcomes)
        if rows:
            owner = lock_dataset(connection, owner.id)  # row ids have been taken meanwhile
    return Committed(head.id, head.id != start.id, tuple(outcomes), start.id)


def _commit_rows(
    connection: sa.Connection,
    repository: Repository,
    work: Session,
    owner: DatasetRow,
    start: StoredCommit,
    head: StoredCommit,
    rows: deque[StagedRow],
    outcomes: list[Outcome],
) -> StoredCommit:
    """Take rows up to one that takes away what only this session has; return the new head."""
    nodes = MemoryNodes(repository.nodes(connection, owner.id))
    old = Tree(nodes, head.commit.tree)
    judge = Judge(connection, owner, old)
    made: list[Outcome] = []
    while rows and not _must_wait(connection, repository, owner.id, judge, rows[0][1], start):
        made.append(_judge_staged(connection, judge, work, head, *rows.popleft()))
    outcomes += made
    return _commit_changes(connection, repository, owner, work, head, nodes, judge, made)


def _commit_changes(
    connection: sa.Connection,
    repository: Repository,
    owner: DatasetRow,
    work: Session,
    head: StoredCommit,
    nodes: MemoryNodes,
    judge: Judge,
    made: Sequence[Outcome],
) -> StoredCommit:
    """Write what a judge noted as a commit; return it, or the head if nothing changes."""
    root = Tree(nodes, head.commit.tree).apply(judge.changes)
    if root == head.commit.tree:
        return head
    indexes = load_indexes(connection, owner.id) if owner.n_indexes else ()
    verdicts = [outcome.judgement.verdict for outcome in made]
    n_rejected = sum(len(one.removed) for one in judge.rejections)
    message = work.message or describe_changes(verdicts, n_rejected)
    head = _write_commit(connection, repository, owner, work, head, nodes, root, message, indexes)
    if indexes:
        index_instances(connection, owner.id, list_written(indexes, Level.INSTANCE), judge.changes)
    if judge.rejections:
        place = (connection, owner.id, work.branch, work.author, head.id, head.commit.time_us)
        record_rejections(*place, judge.rejections)
    return head


def _must_wait(
    connection: sa.Connection,
    repository: Repository,
    dataset_id: int,
    judge: Judge,
    stored: StoredInstance | None,
    start: StoredCommit,
) -> bool:
    """Tell whether what came before an instance needs a commit of its own, lest it be lost."""
    if stored is None:
        return False
    return judge.rejects_pending(stored) or _replaces_new(
        connection, repository, dataset_id, judge, stored, start
    )


def _replaces_new(
    connection: sa.Connection,
    repository: Repository,
    dataset_id: int,
    judge: Judge,
    stored: StoredInstance,
    start: StoredCommit,
) -> bool:
    """Tell whether an instance would replace one that the branch's history does not hold yet."""
    replaced = judge.find_replaced(stored)
    if replaced is None:
        return False
    names = {"dataset_id": dataset_id, "key": replaced.key}
    created_us = _READ_CREATED.fetch_value(connection, names)
    here = (replaced.study_uid, replaced.series_uid, replaced.sop_uid)
    for earlier in walk_first_parents(connection, dataset_id, start.id):
        if earlier.commit.time_us < created_us:
            break  # older than the instance
        entry = repository.tree(connection, dataset_id, earlier.commit.tree).entry(*here)
        if entry is not None and key_of_entry(entry) == replaced.key:
            return False
    return True


def list_abandoned(connection: sa.Connection, node_id: str | None) -> list[str]:
    """Return sessions whose lease ran out, and all that this node left.

    Args:
        node_id: Of a server, whose processes' sessions are its own, or of one of its processes;
            None for neither.
    """
    left = session.c.lease_us < read_clock_us(connection)
    if node_id is not None:
        of_its_processes = session.c.owner.startswith(f"{node_id}/", autoescape=True)
        left = sa.or_(left, session.c.owner == node_id, of_its_processes)
    query = sa.select(session.c.id).where(left).order_by(session.c.lease_us)
    return list(connection.execute(query).scalars())


def commit_abandoned(
    connection: sa.Connection, repository: Repository, session_id: str
) -> Committed | None:
    """Commit a session that its owner left behind; None if another node was first.

    A session that expected a head which moved meanwhile is dropped: its sender was never told
    of success, and its condition does not hold.
    """
    query = (
        sa.select(session, dataset.c.name, dataset.c.default_branch, dataset.c.duplicates)
        .join(dataset, dataset.c.id == session.c.dataset_id)
        .where(session.c.id == session_id)
        .with_for_update(skip_locked=True, of=session)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    owner = DatasetRow(row.dataset_id, row.name, row.default_branch, row.duplicates, 0, 0)
    work = Session(
        owner, row.branch, row.kind, row.author, row.message, row.expected_head, id=session_id
    )
    try:
        return commit_staged(connection, repository, work)
    except RefMoved:
        drop_session(connection, session_id)
        return None
    except RevisionNotFound:
        _queue_stranded(connection, work)
        return None


def _queue_stranded(connection: sa.Connection, work: Session) -> None:
    """Keep acknowledged instances whose branch is gone, for a person to decide."""
    for _, key in _read_staged(connection, work.id):
        if key is not None:
            stored = load_instances(connection, work.dataset.id, [key])[key]
            reason = "The branch was deleted before these instances were committed."
            queue_conflict(connection, work.dataset.id, work.branch, stored, reason, bytes(32))
    drop_session(connection, work.id)


def _read_staged(
    connection: sa.Connection, session_id: str
) -> Sequence[tuple[InstanceKey, bytes | None]]:
    rows = _READ_STAGED.fetch_all(connection, {"session_id": session_id})
    return [((row[0], row[1], row[2]), row[3]) for row in rows]


def _load_staged(connection: sa.Connection, work: Session) -> list[StagedRow]:
    rows = _read_staged(connection, work.id)
    keys = [key for _, key in rows if key is not None]
    instances = load_instances(connection, work.dataset.id, keys)
    return [(names, None if key is None else instances[key]) for names, key in rows]


def _judge_staged(
    connection: sa.Connection,
    judge: Judge,
    work: Session,
    head: StoredCommit,
    names: InstanceKey,
    stored: StoredInstance | None,
) -> Outcome:
    if stored is None:
        return Outcome(*names, "", judge.delete(names))
    judgement = judge.judge(stored)
    if judgement.verdict is Verdict.CONFLICT:
        queue_conflict(connection, work.dataset.id, work.branch, stored, judgement.reason, head.id)
    return Outcome(*names, stored.sop_class_uid, judgement)


def _write_commit(
    connection: sa.Connection,
    repository: Repository,
    owner: DatasetRow,
    work: Session,
    head: StoredCommit,
    nodes: MemoryNodes,
    root: bytes,
    message: str,
    indexes: Sequence[AttributeIndex],
) -> StoredCommit:
    visible_id, visible = write_rows(connection, repository, owner, head, nodes, root, indexes)
    save_nodes(connection, owner.id, nodes)
    repository.keep_nodes(nodes)
    made = Commit(
        tree=root,
        parents=(head.id.hex(),),
        author=work.author,
        committer=COMMITTER,
        time_us=next_log_time(connection, owner.id, work.branch),
        message=message,
        kind=work.kind,
        provenance=work.provenance,
    )
    stored = save_commit(connection, owner.id, made, head.generation + 1, visible_id)
    move_branch(connection, owner.id, work.branch, head.id, stored.id, work.kind, made.time_us)
    if owner.n_subscriptions:
        announce_commit(connection, owner, work.branch, stored.id, head.id)
    repository.commit_rows.put((owner.id, stored.id), visible)
    return stored


def write_rows(
    connection: sa.Connection,
    repository: Repository,
    owner: DatasetRow,
    head: StoredCommit,
    nodes: MemoryNodes,
    root: bytes,
    indexes: Sequence[AttributeIndex],
) -> tuple[int, Visible]:
    """Write the catalog rows and the visible set of a tree that follows a commit.

    Args:
        owner: The dataset, locked.
        head: The commit.
        nodes: Of both trees.
        root: The new tree.
        indexes: That new rows are entered in.

    Returns:
        The id of the visible set, and the set.
    """
    base = repository.commit_rows.get((owner.id, head.id))
    if base is None:
        sets = repository.visible_sets
        base = load_visible(connection, head.visible_id, sets, is_committed=False)
    allocator = RowIds(owner.next_row_id)
    keeper = RowKeeper(connection, owner.id, allocator, base, indexes)
    delta = keeper.follow(Tree(nodes, head.commit.tree), Tree(nodes, root))
    if allocator.next != owner.next_row_id:
        _SAVE_ROW_IDS.run(connection, {"of_dataset": owner.id, "next": allocator.next})
    if not delta:
        return head.visible_id, base
    visible_id = save_delta(connection, owner.id, head.visible_id, base, delta)
    return visible_id, delta.apply_to(base)


class RowIds:
    """Hands out row ids of a dataset whose row is locked."""

    def __init__(self, first: int) -> None:
        self.next = first

    def __call__(self) -> int:
        self.next += 1
        return self.next - 1

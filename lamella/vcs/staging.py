"""Staging: instances that are durable but not yet in a commit.

The unit is a STOW request, an import batch, or one C-STORE instance. Once `stage` returns,
success may be told: whatever happens, the session's instances come into a commit, by its
owner, or after a crash by whoever finds the session's lease run out.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import sqlalchemy as sa

from lamella.archive.database import read_clock_us
from lamella.archive.instances import Received
from lamella.archive.intake import Intake
from lamella.archive.statements import Statement, insert_into
from lamella.archive.upsert import insert_missing
from lamella.vcs.history import load_commit
from lamella.vcs.judgement import Judge, Judgement, Verdict
from lamella.vcs.refs import DatasetRow, read_dataset, read_head
from lamella.vcs.repository import Repository
from lamella.vcs.stored import StoredInstance, load_instances
from lamella.vcs.tables import conflict, session, staged
from lamella.vcs.tree import InstanceKey

T = TypeVar("T")

LEASE_US = 60_000_000

_COUNT_STAGED = Statement(
    sa.select(sa.func.count()).where(staged.c.session_id == sa.bindparam("session_id"))
)
_DROP_STAGED = Statement(sa.delete(staged).where(staged.c.session_id == sa.bindparam("of_session")))
_DROP_SESSION = Statement(sa.delete(session).where(session.c.id == sa.bindparam("of_session")))
_RENEW_LEASE = Statement(
    sa.update(session)
    .where(session.c.id == sa.bindparam("of_session"))
    .values(lease_us=sa.bindparam("until"))
)
_INSERT_SESSION = insert_into(session)
_INSERT_STAGED = insert_into(staged)


@dataclass(slots=True)
class Memory:
    """What a session's one sender knows of it, so that the database need not be asked each time.

    Attributes:
        head: The branch's head when it was last looked at.
        root: The tree of that commit.
        keys: What was staged under each SOP Instance UID.
        firsts: What was staged first of each study.
    """

    head: bytes = b""
    root: bytes = b""
    keys: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    firsts: dict[str, StoredInstance] = field(default_factory=dict)

    def note(self, stored: StoredInstance) -> None:
        """Note that an instance is staged."""
        self.keys[stored.sop_uid] = (*self.keys.get(stored.sop_uid, ()), stored.key)
        self.firsts.setdefault(stored.study_uid, stored)


@dataclass(frozen=True, slots=True)
class Session:
    """Instances of one sender on their way to one commit of one branch.

    Attributes:
        kind: `store`, `import`, `delete`, …: the kind of the commit.
        author: Who sends, as far as the door knows.
        message: The commit's message; empty lets the commit describe itself.
        expected_head: The head that the sender asked for (If-Match), or None.
        provenance: What the commit tells machines; not kept with what is staged.
        memory: For who stages one by one, and nobody else in this session.
    """

    dataset: DatasetRow
    branch: str
    kind: str
    author: str
    message: str = ""
    expected_head: bytes | None = None
    provenance: Mapping[str, object] = field(default_factory=dict)
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    memory: Memory = field(default_factory=Memory, compare=False, repr=False)


async def stage(
    repository: Repository, work: Session, intake: Intake, received: Sequence[Received]
) -> None:
    """Make what an intake took durable, and stage it, in one transaction.

    Raises:
        OutOfResources: No room; nothing is staged.
        RevisionNotFound: The branch is gone.
    """

    await keep_intake(
        repository, intake, lambda c: stage_received(c, repository, work, intake, received)
    )


def stage_received(
    connection: sa.Connection,
    repository: Repository,
    work: Session,
    intake: Intake,
    received: Sequence[Received],
) -> None:
    """Stage what an intake has made durable, in the caller's transaction.

    Raises:
        RevisionNotFound: The branch is gone.
    """
    now_us, _ = _open_session(connection, repository, work)
    intake.record(connection, work.dataset.id, now_us)
    _INSERT_STAGED.run_many(connection, [_stage_received(work, item) for item in received])


async def stage_judged(
    repository: Repository, work: Session, intake: Intake, item: Received
) -> Judgement:
    """Stage one instance unless it is already there, or queue it if it is in conflict.

    For senders that want an answer for each instance before the commit (C-STORE). The commit
    judges again, so a race costs nothing but an entry in the conflict queue.

    Raises:
        OutOfResources: No room; nothing is staged.
        RevisionNotFound: The branch is gone.
    """

    memory, stored = work.memory, StoredInstance.from_facts(item.key, item.facts)

    def record(connection: sa.Connection) -> tuple[Judgement, bytes, bytes]:
        now_us, head = _open_session(connection, repository, work)
        intake.record(connection, work.dataset.id, now_us)
        root = memory.root
        if head != memory.head:
            root = load_commit(connection, work.dataset.id, head).commit.tree
        tree = repository.tree(connection, work.dataset.id, root)
        judge = Judge(connection, read_dataset(connection, work.dataset.id), tree)
        _replay_session(connection, work, judge, stored)
        judgement = judge.judge(stored)
        if judgement.verdict is Verdict.CONFLICT:
            queue_conflict(connection, work.dataset.id, work.branch, stored, judgement.reason, head)
        elif judgement.verdict is not Verdict.UNCHANGED:
            _INSERT_STAGED.run(connection, _stage_received(work, item))
        return judgement, head, root

    judgement, memory.head, memory.root = await keep_intake(repository, intake, record)
    if judgement.verdict in (Verdict.STORED, Verdict.VERSION):
        memory.note(stored)
    return judgement


def stage_deletes(
    connection: sa.Connection, repository: Repository, work: Session, keys: Sequence[InstanceKey]
) -> None:
    """Stage the removal of instances from a branch."""
    _open_session(connection, repository, work)
    _INSERT_STAGED.run_many(connection, [_stage_row(work, *key, None) for key in keys])


def queue_conflict(
    connection: sa.Connection,
    dataset_id: int,
    branch: str,
    stored: StoredInstance,
    reason: str,
    head: bytes,
) -> None:
    """Keep an instance in conflict for a person to decide; the same bytes queue once."""
    row = {
        "dataset_id": dataset_id,
        "branch": branch,
        "study_uid": stored.study_uid,
        "series_uid": stored.series_uid,
        "sop_uid": stored.sop_uid,
        "key": stored.key,
        "reason": reason,
        "head": head,
        "time_us": read_clock_us(connection),
    }
    insert_missing(connection, conflict, [row])


def count_staged(connection: sa.Connection, session_id: str) -> int:
    """Return how many instances a session has staged."""
    return int(_COUNT_STAGED.fetch_value(connection, {"session_id": session_id}))


def drop_session(connection: sa.Connection, session_id: str) -> None:
    """Forget a session and what it staged."""
    drop_staged(connection, session_id)
    _DROP_SESSION.run(connection, {"of_session": session_id})


def drop_staged(connection: sa.Connection, session_id: str) -> None:
    """Forget what a session staged; it may go on."""
    _DROP_STAGED.run(connection, {"of_session": session_id})


async def keep_intake(
    repository: Repository, intake: Intake, record: Callable[[sa.Connection], T]
) -> T:
    """Make an intake's bytes durable, and its rows with them; a failure leaves no bytes behind.

    A cancelled caller leaves them: its transaction may be committing just now.

    Args:
        repository: Where they go.
        intake: What was taken; closed when this returns.
        record: Writes the rows, `Intake.record` among them, in one transaction.

    Returns:
        What `record` returned.
    """
    try:
        await intake.write_packs()
    except BaseException:
        await intake.discard()
        raise
    try:
        result = await repository.archive.database.write(record, intake.record_places)
    except Exception:
        await intake.discard_unrecorded()
        raise
    finally:
        intake.close()
    return result


def _replay_session(
    connection: sa.Connection, work: Session, judge: Judge, stored: StoredInstance
) -> None:
    """Let a judge know what this session staged under the same UID, and whose study it is."""
    first = work.memory.firsts.get(stored.study_uid)
    if first is not None:
        judge.judge(first)
    keys = [
        key for key in work.memory.keys.get(stored.sop_uid, ()) if first is None or key != first.key
    ]
    instances = load_instances(connection, work.dataset.id, keys)
    for key in keys:
        judge.judge(instances[key])


def _open_session(
    connection: sa.Connection, repository: Repository, work: Session
) -> tuple[int, bytes]:
    """Make the session's row or renew its lease; return the database's time in µs, and the head.

    Each time: another server's start may have committed the session and dropped its row.
    """
    now_us = read_clock_us(connection)
    head = read_head(connection, work.dataset.id, work.branch)
    lease_us = now_us + LEASE_US
    if _RENEW_LEASE.run(connection, {"of_session": work.id, "until": lease_us}) == 0:
        row = {
            "id": work.id,
            "dataset_id": work.dataset.id,
            "branch": work.branch,
            "kind": work.kind,
            "author": work.author,
            "message": work.message,
            "owner": repository.archive.node_id,
            "expected_head": work.expected_head,
            "lease_us": lease_us,
        }
        _INSERT_SESSION.run(connection, row)
    return now_us, head


def _stage_received(work: Session, item: Received) -> dict[str, object]:
    facts = item.facts
    return _stage_row(work, facts.study_uid, facts.series_uid, facts.sop_uid, item.key)


def _stage_row(
    work: Session, study_uid: str, series_uid: str, sop_uid: str, key: bytes | None
) -> dict[str, object]:
    return {
        "session_id": work.id,
        "dataset_id": work.dataset.id,
        "study_uid": study_uid,
        "series_uid": series_uid,
        "sop_uid": sop_uid,
        "key": key,
    }

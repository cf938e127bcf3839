"""Who was answered before the commit, and must not be overtaken.

A C-STORE is acknowledged when it is staged, and its commit may have to wait. So that a newer
version of one of its instances does not come before it, whoever commits that commits it first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from lamella.archive.statements import Statement
from lamella.archive.upsert import split_batches
from lamella.vcs.refs import lock_dataset
from lamella.vcs.staging import Session
from lamella.vcs.tables import session, staged

_FIND_WAITING = Statement(
    sa.select(session.c.id, session.c.author, session.c.message).where(
        session.c.dataset_id == sa.bindparam("dataset_id"),
        session.c.branch == sa.bindparam("branch"),
        session.c.kind == "store",
        session.c.expected_head.is_(None),  # others are answered after their commit
    )
)
_READ_ORDER = Statement(
    sa.select(staged.c.sop_uid, sa.func.max(staged.c.id))
    .where(staged.c.session_id == sa.bindparam("session_id"))
    .group_by(staged.c.sop_uid)
)
_FIND_STAGED = Statement(
    sa.select(staged.c.session_id, staged.c.sop_uid, sa.func.min(staged.c.id))
    .where(
        staged.c.session_id.in_(sa.bindparam("session_ids", expanding=True)),
        staged.c.sop_uid.in_(sa.bindparam("sop_uids", expanding=True)),
    )
    .group_by(staged.c.session_id, staged.c.sop_uid)
)


def find_overtaken(
    connection: sa.Connection,
    work: Session,
    sop_uids: Sequence[str] | None,
    ahead_of: frozenset[str],
) -> list[Session]:
    """Return the sessions that staged one of a session's instances before it did.

    The dataset is locked if anybody waits at all.

    Args:
        sop_uids: What the session brings; None for what it has staged, which counts from then.
        ahead_of: Ids of sessions that wait for this one, and do not count.
    """
    names = {"dataset_id": work.dataset.id, "branch": work.branch}
    found = _FIND_WAITING.fetch_all(connection, names)
    waiting = {row[0]: row for row in found if row[0] != work.id and row[0] not in ahead_of}
    if not waiting:
        return []
    lock_dataset(connection, work.dataset.id)
    if sop_uids is None:
        rows = _READ_ORDER.fetch_all(connection, {"session_id": work.id})
        order = {row[0]: row[1] for row in rows}
    else:
        order = dict.fromkeys(sop_uids)  # after all that is staged
    earlier = _find_earlier(connection, list(waiting), order)
    return [
        Session(work.dataset, work.branch, "store", author, message, id=session_id)
        for session_id, author, message in waiting.values()
        if session_id in earlier
    ]


def _find_earlier(
    connection: sa.Connection, session_ids: Sequence[str], order: Mapping[str, int | None]
) -> set[str]:
    """Return the sessions that staged one of these instances first; None comes after all."""
    earlier = set[str]()
    for some_ids in split_batches(session_ids):
        for batch in split_batches(list(order)):
            names = {"session_ids": some_ids, "sop_uids": batch}
            for session_id, sop_uid, staged_id in _FIND_STAGED.fetch_all(connection, names):
                own = order[sop_uid]
                if own is None or staged_id < own:
                    earlier.add(session_id)
    return earlier

"""What became of staged instances, where the commit's own judgements do not say it all."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from lamella.vcs.commits import Committed
from lamella.vcs.history import load_commit
from lamella.vcs.judgement import Judgement, Verdict
from lamella.vcs.refs import read_head
from lamella.vcs.repository import Repository
from lamella.vcs.stored import key_of_entry, load_instances
from lamella.vcs.tables import conflict


def find_net_judgements(
    connection: sa.Connection, repository: Repository, dataset_id: int, committed: Committed
) -> list[Judgement]:
    """Return the judgements of a commit, less the versions that cancel each other out.

    A folder may hold an instance twice, with different headers. Imported again, the first
    replaces the second and the second the first: that stores nothing.
    """
    judgements = [outcome.judgement for outcome in committed.outcomes]
    if all(judgement.verdict is not Verdict.VERSION for judgement in judgements):
        return judgements
    changed: set[str] = set()
    if committed.created:
        made = load_commit(connection, dataset_id, committed.commit_id).commit
        parent = load_commit(connection, dataset_id, committed.start_id).commit
        old = repository.tree(connection, dataset_id, parent.tree)
        new = repository.tree(connection, dataset_id, made.tree)
        changed = {change.sop_uid for change in old.diff(new)}
    return [
        Judgement(Verdict.UNCHANGED)
        if outcome.judgement.verdict is Verdict.VERSION and outcome.sop_uid not in changed
        else outcome.judgement
        for outcome in committed.outcomes
    ]


def find_fates(
    connection: sa.Connection,
    repository: Repository,
    dataset_id: int,
    branch: str,
    keys: Sequence[bytes],
) -> list[Judgement]:
    """Return a judgement for each key that another node committed in this one's place.

    It is read from the branch's head and the conflict queue.

    Raises:
        RevisionNotFound: The branch is gone.
    """
    head = load_commit(connection, dataset_id, read_head(connection, dataset_id, branch))
    tree = repository.tree(connection, dataset_id, head.commit.tree)
    instances = load_instances(connection, dataset_id, keys)
    fates = []
    for key in keys:
        stored = instances[key]
        entry = tree.entry(stored.study_uid, stored.series_uid, stored.sop_uid)
        if entry is not None and key_of_entry(entry) == key:
            fates.append(Judgement(Verdict.STORED))
            continue
        reason = _find_conflict(connection, dataset_id, branch, key)
        verdict = Verdict.UNCHANGED if reason is None else Verdict.CONFLICT
        fates.append(Judgement(verdict, reason or ""))
    return fates


def _find_conflict(
    connection: sa.Connection, dataset_id: int, branch: str, key: bytes
) -> str | None:
    query = sa.select(conflict.c.reason).where(
        conflict.c.dataset_id == dataset_id,
        conflict.c.branch == branch,
        conflict.c.key == key,
    )
    return connection.execute(query).scalar_one_or_none()

"""Refs: branches, tags and the log of moves point at commits that there are, and agree."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import sqlalchemy as sa

from lamella.upkeep.examination import Examination
from lamella.upkeep.report import Finding, Kind
from lamella.vcs.refs import BRANCH, DatasetRow
from lamella.vcs.tables import commit, ref, reflog

Move = tuple[int, bytes | None, bytes | None]
"""(time in µs, old head, new head)."""

ADVICE = "Its last good place is in `lamella log` of another ref, or in a backup."


async def examine_refs(run: Examination, dataset: DatasetRow) -> None:
    """Check all refs of a dataset and their logs; nothing of this can be derived."""
    for branch in await run.read(lambda c: _list_branches(c, dataset.id)):
        work = partial(_examine_branch, dataset=dataset, branch=branch)
        for finding in await run.read(work):
            run.add(finding.kind, finding.name, finding.sentence)
        run.count("refs", 1)
    for finding in await run.read(lambda c: _examine_tags(c, dataset)):
        run.add(finding.kind, finding.name, finding.sentence)


def _list_branches(connection: sa.Connection, dataset_id: int) -> list[str]:
    heads = sa.select(ref.c.name).where(ref.c.dataset_id == dataset_id, ref.c.kind == BRANCH)
    logged = sa.select(reflog.c.branch).where(reflog.c.dataset_id == dataset_id)
    return sorted(connection.execute(sa.union(heads, logged)).scalars())


def _examine_branch(connection: sa.Connection, dataset: DatasetRow, branch: str) -> list[Finding]:
    """Check one branch, head and log in one transaction: both move together."""
    name = f"{dataset.name}@{branch}"
    findings = []
    here = (ref.c.dataset_id == dataset.id) & (ref.c.kind == BRANCH) & (ref.c.name == branch)
    head = connection.execute(sa.select(ref.c.commit_id).where(here)).scalar_one_or_none()
    if head is not None and not _is_known(connection, dataset.id, head):
        sentence = f"Branch {name} points at commit {head.hex()}, which is not there. {ADVICE}"
        findings.append(Finding(Kind.REF_DANGLING, name, sentence))
    if head is None and branch == dataset.default_branch:
        sentence = f"The default branch {name} is missing. {ADVICE}"
        findings.append(Finding(Kind.REF_DANGLING, name, sentence))
    moves = _read_moves(connection, dataset.id, branch)
    last = moves[-1][2] if moves else None
    if last != head:
        sentence = f"The log of branch {name} does not end where the branch stands."
        findings.append(Finding(Kind.REFLOG_WRONG, name, sentence))
    findings += _examine_moves(name, moves)
    return findings + _find_dangling_moves(connection, dataset.id, branch, name)


def _read_moves(connection: sa.Connection, dataset_id: int, branch: str) -> list[Move]:
    query = (
        sa.select(reflog.c.time_us, reflog.c.old, reflog.c.new)
        .where(reflog.c.dataset_id == dataset_id, reflog.c.branch == branch)
        .order_by(reflog.c.time_us)
    )
    return [(time_us, old, new) for time_us, old, new in connection.execute(query)]


def _examine_moves(name: str, moves: list[Move]) -> list[Finding]:
    if moves and moves[0][1] is not None:
        return [Finding(Kind.REFLOG_WRONG, name, f"The log of branch {name} lacks its beginning.")]
    for (_, _, stood), (time_us, left, _) in pairwise(moves):
        if stood != left:
            sentence = f"The log of branch {name} has a gap before its move at {time_us} µs."
            return [Finding(Kind.REFLOG_WRONG, name, sentence)]
    return []


def _find_dangling_moves(
    connection: sa.Connection, dataset_id: int, branch: str, name: str
) -> list[Finding]:
    same = (commit.c.dataset_id == reflog.c.dataset_id) & (commit.c.id == reflog.c.new)
    query = (
        sa.select(reflog.c.new)
        .outerjoin(commit, same)
        .where(
            reflog.c.dataset_id == dataset_id,
            reflog.c.branch == branch,
            reflog.c.new.is_not(None),
            commit.c.id.is_(None),
        )
        .distinct()
    )
    return [
        Finding(
            Kind.REF_DANGLING,
            name,
            f"The log of branch {name} names commit {new.hex()}, which is not there.",
        )
        for new in connection.execute(query).scalars()
    ]


def _examine_tags(connection: sa.Connection, dataset: DatasetRow) -> list[Finding]:
    same = (commit.c.dataset_id == ref.c.dataset_id) & (commit.c.id == ref.c.commit_id)
    query = (
        sa.select(ref.c.kind, ref.c.name, ref.c.commit_id)
        .outerjoin(commit, same)
        .where(ref.c.dataset_id == dataset.id, ref.c.kind != BRANCH, commit.c.id.is_(None))
    )
    return [
        Finding(
            Kind.REF_DANGLING,
            f"{dataset.name}@{name}",
            f"The {kind} {dataset.name}@{name} points at commit {commit_id.hex()}, which is not "
            "there. Delete it, or restore the commit from a backup.",
        )
        for kind, name, commit_id in connection.execute(query)
    ]


def _is_known(connection: sa.Connection, dataset_id: int, commit_id: bytes) -> bool:
    query = sa.select(commit.c.id).where(
        commit.c.dataset_id == dataset_id, commit.c.id == commit_id
    )
    return connection.execute(query).first() is not None

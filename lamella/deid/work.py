"""De-identification as work in the background: asked for once, or by each commit of a branch."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from lamella.archive.outbox import Arguments, Job, Json, enqueue, find_job
from lamella.deid.orders import Order, check_apart, prepare
from lamella.deid.run_rows import find_last_run
from lamella.deid.runs import KIND as DEID
from lamella.errors import RevisionNotFound
from lamella.vcs.refs import find_dataset, read_head
from lamella.vcs.repository import Repository
from lamella.vcs.revision import resolve
from lamella.vcs.view import View, pin_view
from lamella.vcs.work import JobContext, JobKind

NICENESS = 5
"""Of the processes of a job: who waits for an answer of the server goes first."""


def ask_for_run(connection: sa.Connection, dataset: str, revision: str | None, order: Order) -> Job:
    """Ask for a run in the background; what it reads is settled now.

    Args:
        connection: In a transaction.
        dataset: The source.
        revision: Of it; None for its default branch.
        order: How, and where to.

    Raises:
        InvalidRequest, AmbiguousRevision, RevisionNotFound: The revision stands for nothing, or
            the order cannot be met.
    """
    check_apart(order, dataset)
    check_branch(connection, order)
    commit_id = resolve(connection, find_dataset(connection, dataset), revision).commit_id
    arguments = {"dataset": dataset, "commit": commit_id.hex(), "order": describe_order(order)}
    return find_job(connection, enqueue(connection, DEID, arguments))


def check_branch(connection: sa.Connection, order: Order) -> None:
    """Refuse a branch that is not there, of a dataset that is.

    Raises:
        RevisionNotFound: It is not.
    """
    try:
        owner = find_dataset(connection, order.dataset)
    except RevisionNotFound:
        return  # the run makes it
    read_head(connection, owner.id, order.branch or owner.default_branch)


def describe_order(order: Order) -> dict[str, Any]:
    """Return an order as arguments of work have it."""
    described: dict[str, Any] = msgspec.to_builtins(order)
    return described


async def deidentify(context: JobContext, arguments: Arguments) -> Json:
    """De-identify what was asked for; return the report.

    A rule's work reads the branch as it is now, so that of many commits in a row the first run
    covers all: the others find that nothing is left to do.

    Raises:
        InvalidRequest, ResourceNotFound, RevisionNotFound: The order cannot be met any more.
    """
    repository = context.repository
    order = msgspec.convert(arguments["order"], Order)
    is_rule = "subscription" in arguments
    revision = arguments["branch" if is_rule else "commit"]
    source = await pin_view(repository, arguments["dataset"], revision)
    if is_rule:
        report = await _find_report(repository, source, order)
        if report is not None:
            return {**report, "made": 0, "removed": 0, "created": False}
    run = await prepare(
        repository,
        context.settings,
        source,
        order,
        niceness=NICENESS,
        on_progress=lambda done, total: context.report(done, total, "instances"),
    )
    return (await run.run()).describe()


async def _find_report(repository: Repository, source: View, order: Order) -> dict[str, Any] | None:
    """Return what the last run into the branch told, if it did the same and nothing is new."""

    def find(connection: sa.Connection) -> dict[str, Any] | None:
        try:
            owner = find_dataset(connection, order.dataset)
        except RevisionNotFound:
            return None
        branch = order.branch or owner.default_branch
        last = find_last_run(connection, owner.id, branch)
        if last is None or last.report is None:
            return None
        is_same = (last.source_id, last.source_commit.hex()) == (
            source.dataset.id,
            source.commit_id,
        ) and (last.profile.digest, last.report["key"]) == (order.profile.digest, order.key)
        return last.report if is_same else None

    return await repository.archive.database.read(find)


KIND = JobKind(DEID, deidentify, is_long=True)

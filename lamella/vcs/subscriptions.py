"""Subscriptions: which work each commit of a dataset asks for.

The work's row is written in the transaction that makes the commit. Its arguments are those of the
subscription with `dataset`, `branch`, `commit` and `parent` (64 hex digits) and the number of the
`subscription` besides, without its secret; its key is the subscription and the commit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import sqlalchemy as sa

from lamella.archive.database import read_clock_us
from lamella.archive.outbox import Arguments, enqueue
from lamella.archive.tables import dataset
from lamella.errors import ResourceNotFound
from lamella.vcs.refs import DatasetRow, find_dataset, lock_dataset
from lamella.vcs.tables import subscription

SECRET = "secret"
"""The one argument that stays with the subscription: jobs are shown to many."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """What commits ask for.

    Attributes:
        branch: Whose commits; '' for those of every branch.
        kind: Of work.
        arguments: Of that work.
    """

    id: int
    dataset_id: int
    branch: str
    kind: str
    arguments: Arguments
    created_us: int


def subscribe(
    connection: sa.Connection, dataset_name: str, kind: str, arguments: Arguments, branch: str = ""
) -> Subscription:
    """Let each commit from now on ask for work.

    Raises:
        RevisionNotFound: There is no such dataset.
    """
    owner = lock_dataset(connection, find_dataset(connection, dataset_name).id)
    row = {
        "dataset_id": owner.id,
        "branch": branch,
        "kind": kind,
        "arguments": json.dumps(arguments),
        "created_us": read_clock_us(connection),
    }
    made = connection.execute(sa.insert(subscription).values(row)).inserted_primary_key
    assert made is not None
    _count(connection, owner.id)
    return find_subscription(connection, owner.id, int(made[0]))


def unsubscribe(connection: sa.Connection, dataset_id: int, subscription_id: int) -> Subscription:
    """Let commits ask for it no more; what they asked for stays asked for.

    Raises:
        ResourceNotFound: There is no such subscription.
    """
    lock_dataset(connection, dataset_id)
    gone = find_subscription(connection, dataset_id, subscription_id)
    connection.execute(sa.delete(subscription).where(subscription.c.id == subscription_id))
    _count(connection, dataset_id)
    return gone


def list_subscriptions(
    connection: sa.Connection, dataset_id: int, kind: str | None = None
) -> list[Subscription]:
    """Return the subscriptions of a dataset, oldest first."""
    query = sa.select(subscription).where(subscription.c.dataset_id == dataset_id)
    if kind is not None:
        query = query.where(subscription.c.kind == kind)
    return [_read_row(row) for row in connection.execute(query.order_by(subscription.c.id))]


def find_subscription(
    connection: sa.Connection, dataset_id: int, subscription_id: int
) -> Subscription:
    """Return one subscription of a dataset.

    Raises:
        ResourceNotFound: There is none of that number.
    """
    found = [s for s in list_subscriptions(connection, dataset_id) if s.id == subscription_id]
    if not found:
        raise ResourceNotFound(f"There is no subscription {subscription_id}.")
    return found[0]


def announce_commit(
    connection: sa.Connection, owner: DatasetRow, branch: str, commit_id: bytes, parent: bytes
) -> None:
    """Ask for the work that a new commit makes necessary, in its transaction."""
    for wanted in list_subscriptions(connection, owner.id):
        if wanted.branch in ("", branch):
            arguments = {
                **{name: value for name, value in wanted.arguments.items() if name != SECRET},
                "subscription": wanted.id,
                "dataset": owner.name,
                "branch": branch,
                "commit": commit_id.hex(),
                "parent": parent.hex(),
            }
            key = f"{wanted.id}:{branch}:{commit_id.hex()}"
            enqueue(connection, wanted.kind, arguments, key=key)


def _count(connection: sa.Connection, dataset_id: int) -> None:
    """Note in the dataset's row how many there are, so that commits need not look for none."""
    here = subscription.c.dataset_id == dataset_id
    number = sa.select(sa.func.count()).select_from(subscription).where(here).scalar_subquery()
    connection.execute(
        sa.update(dataset).where(dataset.c.id == dataset_id).values(n_subscriptions=number)
    )


def _read_row(row: sa.Row[tuple[object, ...]]) -> Subscription:
    return Subscription(
        row.id, row.dataset_id, row.branch, row.kind, json.loads(row.arguments), row.created_us
    )

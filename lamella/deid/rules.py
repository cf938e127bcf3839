"""Rules: each commit of a branch is de-identified into a branch of another dataset.

A rule is a subscription to commits. Its work is a row of the outbox, written with the commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from lamella.archive.outbox import Job, enqueue, find_job
from lamella.deid.orders import Order, check_apart
from lamella.deid.runs import KIND
from lamella.deid.work import check_branch, describe_order
from lamella.errors import InvalidRequest, ResourceNotFound
from lamella.vcs.refs import find_dataset, list_datasets, read_head
from lamella.vcs.subscriptions import (
    Subscription,
    list_subscriptions,
    subscribe,
    unsubscribe,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """What is de-identified whenever it changes.

    Attributes:
        dataset: The source.
        branch: Of it.
        order: How, and where to.
    """

    id: int
    dataset: str
    branch: str
    order: Order

    def describe(self) -> dict[str, Any]:
        """Return it in the JSON shape of API and `--json`."""
        return {
            "id": self.id,
            "source": {"dataset": self.dataset, "branch": self.branch},
            "destination": {"dataset": self.order.dataset, "branch": self.order.branch or None},
            "profile": {"name": self.order.profile.name, "digest": self.order.profile.digest},
            "key": self.order.key,
            "map": self.order.keeps_map,
        }


def add_rule(
    connection: sa.Connection, dataset: str, branch: str | None, order: Order
) -> tuple[Rule, Job]:
    """De-identify what a branch has, and what commits bring to it from now on.

    Args:
        connection: In a transaction.
        dataset: The source.
        branch: Of it; None for its default branch.
        order: How, and where to; `orders.settle` has seen it.

    Returns:
        The rule, and the work that begins with what is there.

    Raises:
        InvalidRequest: It would go round in a circle, or into its own dataset.
        RevisionNotFound: There is no such dataset or branch.
    """
    check_apart(order, dataset)
    check_branch(connection, order)
    owner = find_dataset(connection, dataset)
    branch = branch or owner.default_branch
    read_head(connection, owner.id, branch)
    if dataset in _follow(list_rules(connection), order.dataset):
        raise InvalidRequest(f"Rules lead from {order.dataset!r} back to {dataset!r} already.")
    made = subscribe(connection, dataset, KIND, {"order": describe_order(order)}, branch)
    now = {**made.arguments, "subscription": made.id, "dataset": dataset, "branch": branch}
    return _read(dataset, made), find_job(connection, enqueue(connection, KIND, now))


def list_rules(connection: sa.Connection, dataset: str | None = None) -> list[Rule]:
    """Return the rules of all datasets, or of one as their source.

    Raises:
        RevisionNotFound: There is no such dataset.
    """
    owners = list_datasets(connection) if dataset is None else [find_dataset(connection, dataset)]
    return [
        _read(owner.name, found)
        for owner in owners
        for found in list_subscriptions(connection, owner.id, KIND)
    ]


def delete_rule(connection: sa.Connection, rule_id: int, dataset: str | None = None) -> Rule:
    """De-identify no more by a rule; what it asked for so far is still done.

    Raises:
        ResourceNotFound: There is no such rule.
    """
    for rule in list_rules(connection, dataset):
        if rule.id == rule_id:
            unsubscribe(connection, find_dataset(connection, rule.dataset).id, rule_id)
            return rule
    raise ResourceNotFound(f"There is no rule {rule_id} of de-identification.")


def _follow(rules: list[Rule], start: str) -> set[str]:
    """Return the datasets that rules lead to from one, itself among them."""
    reached = {start}
    while True:
        further = {rule.order.dataset for rule in rules if rule.dataset in reached} - reached
        if not further:
            return reached
        reached |= further


def _read(dataset: str, found: Subscription) -> Rule:
    order = msgspec.convert(found.arguments["order"], Order)
    return Rule(found.id, dataset, found.branch, order)

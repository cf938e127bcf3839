"""Forwarding: what each commit of a dataset adds or changes goes on to a peer, if it matches.

A rule is a subscription to commits. Its work is a row of the outbox, written with the commit, so
nothing that was committed is forgotten; what the peer acknowledged is on record, so a second
attempt sends what is missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lamella.archive.levels import UNIQUE_KEYS, Level, level_of
from lamella.archive.outbox import Arguments, Json
from lamella.archive.query import Key, Query, UidList, Universal, parse_attribute, parse_condition
from lamella.archive.upsert import split_batches
from lamella.dimse_gateway.peers import find_peer
from lamella.dimse_gateway.pushing import Push, Sender
from lamella.dimse_gateway.stock import Stock
from lamella.dimse_gateway.tls import make_client_context
from lamella.errors import InvalidRequest, PeerUnavailable, ResourceNotFound
from lamella.vcs.finder import find
from lamella.vcs.history import load_commit
from lamella.vcs.refs import find_dataset, list_datasets
from lamella.vcs.repository import Repository
from lamella.vcs.selection import Selected, pick_instance
from lamella.vcs.subscriptions import (
    Subscription,
    list_subscriptions,
    subscribe,
    unsubscribe,
)
from lamella.vcs.tree import InstanceKey
from lamella.vcs.view import View, read_view
from lamella.vcs.work import JobContext, JobKind

FORWARD = "forward"
ATTEMPTS = 40  # with pauses of up to an hour: more than a day


@dataclass(frozen=True, slots=True)
class Rule:
    """What is forwarded, and where to.

    Attributes:
        branch: Whose commits; '' for those of every branch.
        keys: `Keyword=value`, all of which a series has to match; none: everything.
    """

    id: int
    dataset: str
    branch: str
    peer: str
    keys: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """Return it as `--json` shows it."""
        return {
            "id": self.id,
            "dataset": self.dataset,
            "branch": self.branch or None,
            "peer": self.peer,
            "keys": list(self.keys),
        }


def add_rule(
    connection: sa.Connection, dataset: str, branch: str, peer: str, keys: Iterable[str]
) -> Rule:
    """Forward what commits from now on bring.

    Raises:
        InvalidRequest: A key is none of a series, or of what is above it.
        ResourceNotFound: There is no such peer.
        RevisionNotFound: There is no such dataset.
    """
    texts = list(keys)
    parse_keys(texts)
    arguments = {"peer": find_peer(connection, peer).name, "keys": texts}
    return _read_rule(dataset, subscribe(connection, dataset, FORWARD, arguments, branch))


def list_rules(connection: sa.Connection) -> list[Rule]:
    """Return the rules of all datasets."""
    return [
        _read_rule(owner.name, found)
        for owner in list_datasets(connection)
        for found in list_subscriptions(connection, owner.id, FORWARD)
    ]


def delete_rule(connection: sa.Connection, rule_id: int) -> Rule:
    """Forward no more by a rule; what waits to be sent by it still is.

    Raises:
        ResourceNotFound: There is no such rule.
    """
    for rule in list_rules(connection):
        if rule.id == rule_id:
            unsubscribe(connection, find_dataset(connection, rule.dataset).id, rule_id)
            return rule
    raise ResourceNotFound(f"There is no forwarding rule {rule_id}.")


def parse_keys(texts: Iterable[str]) -> tuple[Key, ...]:
    """Return matching keys of series, given as `Keyword=value`.

    Raises:
        InvalidRequest: One is not, or names an attribute of instances, or of none.
    """
    keys = []
    for text in texts:
        keyword, mark, value = text.partition("=")
        attribute = parse_attribute(keyword)
        if not mark or attribute is None:
            raise InvalidRequest(f"{text!r} is no key: write Keyword=value.")
        if level_of(attribute.path[0]) > Level.SERIES:
            raise InvalidRequest(f"{keyword} is not an attribute of patients, studies or series.")
        condition = parse_condition(attribute, value)
        if not isinstance(condition, Universal):
            keys.append(Key(attribute.path, attribute.vr, condition))
    return tuple(keys)


async def forward(context: JobContext, arguments: Arguments) -> Json:
    """Send what a commit added or changed.

    Raises:
        PeerUnavailable: The peer is not there, or did not take all: try again later.
        ResourceNotFound: There is no such peer any more.
    """
    repository, settings = context.repository, context.settings
    peer = await repository.archive.database.read(lambda c: find_peer(c, arguments["peer"]))
    stock = await _open_changes(repository, arguments)
    tls = make_client_context(settings) if peer.is_tls else None
    sender = Sender(settings.aet.strip(), context.decoders.decode_frame, tls)
    outcome = await Push(stock, peer, sender, context.report, sends_all=False).run()
    if outcome.failures:
        count = len(outcome.failures)
        raise PeerUnavailable(f"Peer {peer.name} did not take {count} of {stock.total} instances.")
    return outcome.describe()


async def _open_changes(repository: Repository, arguments: Arguments) -> Stock:
    """Return what a commit has that its parent has not, as far as it matches."""
    keys = parse_keys(arguments["keys"])
    parent = bytes.fromhex(arguments["parent"])

    def read(connection: sa.Connection, view: View) -> Stock:
        new = view.tree(connection, repository)
        root = load_commit(connection, view.dataset.id, parent).commit.tree
        old = repository.tree(connection, view.dataset.id, root)
        changed = [
            (change.study_uid, change.series_uid, change.sop_uid)
            for change in old.diff(new)
            if change.new is not None
        ]
        names = _match(connection, repository, view, changed, keys)
        picked = [pick_instance(new, *name) for name in names]
        return _make_stock(repository, view, picked)

    _, stock = await read_view(repository, arguments["dataset"], arguments["commit"], read)
    return stock


def _match(
    connection: sa.Connection,
    repository: Repository,
    view: View,
    names: Sequence[InstanceKey],
    keys: tuple[Key, ...],
) -> Iterator[InstanceKey]:
    """Yield the instances whose series match."""
    if not keys:
        yield from names
        return
    series = list(dict.fromkeys(series_uid for _, series_uid, _ in names))
    matching: set[tuple[str, str]] = set()
    for batch in split_batches(series):
        one_of = Key((UNIQUE_KEYS[Level.SERIES],), "UI", UidList(tuple(batch)))
        query = Query(level=Level.SERIES, keys=(one_of, *keys), with_defaults=False)
        found = find(connection, repository, view, query)
        matching |= {(match.study_uid, match.series_uid) for match in found.matches}
    yield from (name for name in names if name[:2] in matching)


def _make_stock(repository: Repository, view: View, picked: Sequence[Selected]) -> Stock:
    kinds = frozenset((one.entry.sop_class_uid, one.entry.transfer_syntax_uid) for one in picked)
    return Stock(repository, view, len(picked), kinds, deque(), deque(picked))


def _read_rule(dataset: str, found: Subscription) -> Rule:
    arguments = found.arguments
    return Rule(found.id, dataset, found.branch, arguments["peer"], tuple(arguments["keys"]))


KIND = JobKind(FORWARD, forward, attempts=ATTEMPTS)

"""Storage commitments: instances that a peer was promised to find again.

A commitment is judged once, when it is asked for, by what is durable at the revision then: in its
commit, or staged for it. What is found is kept from then on, whatever becomes of branches. The
report of it is work of the outbox, written with the commitment.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from lamella.archive.database import read_clock_us
from lamella.archive.outbox import enqueue
from lamella.archive.statements import Statement
from lamella.archive.tables import instance, location
from lamella.archive.upsert import insert_missing, split_batches
from lamella.vcs.network_tables import commitment, kept
from lamella.vcs.refs import find_dataset
from lamella.vcs.repository import Repository
from lamella.vcs.stored import find_instances, key_of_entry
from lamella.vcs.tables import session, staged
from lamella.vcs.tree import Entry
from lamella.vcs.view import open_view

REPORT = "report-commitment"
"""The kind of work that tells a peer how its commitment ended."""

_FIND_PLACES = Statement(
    sa.select(instance.c.study_uid, instance.c.series_uid, instance.c.sop_uid)
    .where(
        instance.c.dataset_id == sa.bindparam("dataset_id"),
        instance.c.sop_uid.in_(sa.bindparam("sop_uids", expanding=True)),
    )
    .distinct()
)
_FIND_STAGED = Statement(
    sa.select(staged.c.sop_uid, staged.c.key)
    .join(session, session.c.id == staged.c.session_id)
    .where(
        session.c.dataset_id == sa.bindparam("dataset_id"),
        session.c.branch == sa.bindparam("branch"),
        staged.c.sop_uid.in_(sa.bindparam("sop_uids", expanding=True)),
    )
    .order_by(staged.c.id)
)
_FIND_LOCATIONS = Statement(
    sa.select(location.c.digest).where(
        location.c.digest.in_(sa.bindparam("digests", expanding=True))
    )
)


@dataclass(frozen=True, slots=True)
class Durable:
    """An instance that is there.

    Attributes:
        is_whole: Whether all of its bytes have a place in a pack.
    """

    key: bytes
    sop_class_uid: str
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is told of one instance.

    Attributes:
        reason: Why it is not kept (PS3.3 §C.14.1.1); 0 if it is.
    """

    sop_class_uid: str
    sop_uid: str
    reason: int


@dataclass(frozen=True, slots=True)
class Commitment:
    """What was asked for once, and what was answered.

    Attributes:
        calling: The AE title that asked.
        called: The one that it asked.
    """

    id: int
    transaction_uid: str
    calling: str
    called: str
    outcomes: tuple[Outcome, ...]
    is_reported: bool

    @property
    def has_failures(self) -> bool:
        """Whether something is not kept."""
        return any(outcome.reason for outcome in self.outcomes)


@dataclass(frozen=True, slots=True)
class Promise:
    """A commitment that is about to be made; fields as in `Commitment`.

    Attributes:
        dataset: Name of the dataset.
        keys: Of the instances that are kept from now on.
    """

    dataset: str
    transaction_uid: str
    calling: str
    called: str
    outcomes: Sequence[Outcome]
    keys: Sequence[bytes]


def find_durable(
    connection: sa.Connection,
    repository: Repository,
    dataset: str,
    revision: str,
    sop_uids: Iterable[str],
) -> dict[str, Durable]:
    """Return those instances that are in a revision or staged for it, by SOP Instance UID.

    Raises:
        RevisionNotFound: There is no such revision any more.
    """
    view = open_view(connection, repository, dataset, revision)
    tree = view.tree(connection, repository)
    found: dict[str, tuple[bytes, Entry]] = {}
    for batch in split_batches(list(dict.fromkeys(sop_uids))):
        names = {"dataset_id": view.dataset.id, "sop_uids": batch}
        for study_uid, series_uid, sop_uid in _FIND_PLACES.fetch_all(connection, names):
            entry = tree.entry(study_uid, series_uid, sop_uid)
            if entry is not None:
                found[sop_uid] = (key_of_entry(entry), entry)
        if view.revision.branch is not None:
            names["branch"] = view.revision.branch
            found |= _find_staged(connection, names)
    return _check_bytes(connection, found)


def is_known(connection: sa.Connection, calling: str, transaction_uid: str) -> bool:
    """Tell whether a peer has used a Transaction UID before."""
    query = sa.select(commitment.c.id).where(
        commitment.c.calling == calling, commitment.c.transaction_uid == transaction_uid
    )
    return connection.execute(query.limit(1)).first() is not None


def make_commitment(connection: sa.Connection, promise: Promise, report_after_s: float) -> int:
    """Write a commitment down, and the work of reporting it; return its number.

    Args:
        connection: In a transaction of its own.
        promise: What is promised.
        report_after_s: How long whoever asked may get the report otherwise.

    Raises:
        RevisionNotFound: The dataset is gone.
    """
    owner = find_dataset(connection, promise.dataset)
    outcomes = [[o.sop_class_uid, o.sop_uid, o.reason] for o in promise.outcomes]
    row = {
        "dataset_id": owner.id,
        "transaction_uid": promise.transaction_uid,
        "calling": promise.calling,
        "called": promise.called,
        "outcomes": json.dumps(outcomes),
        "created_us": read_clock_us(connection),
    }
    inserted = connection.execute(sa.insert(commitment).values(row)).inserted_primary_key
    assert inserted is not None
    commitment_id = int(inserted[0])
    rows = [
        {"dataset_id": owner.id, "key": key, "commitment_id": commitment_id}
        for key in dict.fromkeys(promise.keys)
    ]
    insert_missing(connection, kept, rows)
    enqueue(
        connection,
        REPORT,
        {"commitment": commitment_id},
        key=str(commitment_id),
        delay_s=report_after_s,
    )
    return commitment_id


def load_commitment(connection: sa.Connection, commitment_id: int) -> Commitment | None:
    """Return a commitment; None if its dataset was deleted."""
    columns = commitment.c
    row = connection.execute(
        sa.select(
            columns.transaction_uid,
            columns.calling,
            columns.called,
            columns.outcomes,
            columns.reported_us,
        ).where(columns.id == commitment_id)
    ).first()
    if row is None:
        return None
    outcomes = tuple(Outcome(*outcome) for outcome in json.loads(row.outcomes))
    is_reported = row.reported_us is not None
    return Commitment(
        commitment_id, row.transaction_uid, row.calling, row.called, outcomes, is_reported
    )


def note_report(connection: sa.Connection, commitment_id: int) -> None:
    """Note that the peer knows."""
    here = (commitment.c.id == commitment_id) & commitment.c.reported_us.is_(None)
    now_us = read_clock_us(connection)
    connection.execute(sa.update(commitment).where(here).values(reported_us=now_us))


def _find_staged(
    connection: sa.Connection, names: dict[str, object]
) -> dict[str, tuple[bytes, Entry]]:
    """Return what is staged last under each SOP Instance UID."""
    dataset_id = names["dataset_id"]
    assert isinstance(dataset_id, int)
    latest = dict(map(tuple, _FIND_STAGED.fetch_all(connection, names)))
    keys = [key for key in latest.values() if key is not None]  # the others wait to be deleted
    stored = find_instances(connection, dataset_id, keys)
    return {
        sop_uid: (key, stored[key].to_entry()) for sop_uid, key in latest.items() if key in stored
    }


def _check_bytes(
    connection: sa.Connection, found: dict[str, tuple[bytes, Entry]]
) -> dict[str, Durable]:
    wanted = {digest for _, entry in found.values() for digest, _ in entry.segments}
    there: set[bytes] = set()
    for batch in split_batches(sorted(wanted)):
        there |= {row[0] for row in _FIND_LOCATIONS.fetch_all(connection, {"digests": batch})}
    return {
        sop_uid: Durable(
            key, entry.sop_class_uid, all(digest in there for digest, _ in entry.segments)
        )
        for sop_uid, (key, entry) in found.items()
    }

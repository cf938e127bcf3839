"""Rejections on record: which note rejected what, and whether that was lifted.

What notes of two kinds reject is hidden from ordinary reads at every revision of the dataset.
The dataset's row holds the digest of all that is hidden, or nothing in the usual case, so that
readers learn of it without a query; see `masks`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from lamella.archive.statements import Statement
from lamella.archive.tables import dataset
from lamella.archive.upsert import split_batches
from lamella.errors import LamellaError, Rejected, ResourceNotFound
from lamella.vcs.commit_object import format_time
from lamella.vcs.rejection_notes import HIDES_EVERYWHERE, Reason, RejectionNote
from lamella.vcs.tables import rejected, rejection
from lamella.vcs.tree import InstanceKey

LARGEST_ID = 2**63 - 1

_IS_HIDDEN = sa.and_(
    sa.or_(*(rejection.c.code == reason.value for reason in HIDES_EVERYWHERE)),
    rejection.c.lifted_us.is_(None),
)
_HIDING = rejected.join(rejection, rejection.c.id == rejected.c.rejection_id)
_LIST_HIDDEN = Statement(
    sa.select(rejected.c.study_uid, rejected.c.series_uid, rejected.c.sop_uid)
    .select_from(_HIDING)
    .where(rejected.c.dataset_id == sa.bindparam("dataset_id"), _IS_HIDDEN)
    .distinct()
)
_FIND_HIDING = Statement(
    sa.select(rejection.c.code)
    .select_from(_HIDING)
    .where(
        rejected.c.dataset_id == sa.bindparam("dataset_id"),
        rejected.c.study_uid == sa.bindparam("study_uid"),
        rejected.c.series_uid == sa.bindparam("series_uid"),
        rejected.c.sop_uid == sa.bindparam("sop_uid"),
        _IS_HIDDEN,
    )
    .order_by(rejection.c.id)
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class AppliedNote:
    """A rejection note, and what it took out of a branch's head.

    Attributes:
        removed: What it rejects → the key of the instance that was there; None if none was.
    """

    note: RejectionNote
    removed: Mapping[InstanceKey, bytes | None]


@dataclass(frozen=True, slots=True)
class Lift:
    """Who lifted a rejection.

    Attributes:
        commit_id: The commit that brought instances back; None if the branch was gone.
    """

    author: str
    time_us: int
    commit_id: bytes | None

    def describe(self) -> dict[str, object]:
        """Return it in the JSON shape of API and `--json`."""
        return {
            "author": self.author,
            "time": format_time(self.time_us),
            "commit": None if self.commit_id is None else self.commit_id.hex(),
        }


@dataclass(frozen=True, slots=True)
class Rejection:
    """One rejection.

    Attributes:
        note: (Study, Series, SOP) Instance UID of the note.
        key: Under which the note's rows are kept.
        commit_id: The commit that holds the note and not what it rejects.
        instances: What it rejects → the key of what was there; None if nothing was.
        lift: None while it is in force.
    """

    id: int
    dataset_id: int
    dataset: str
    branch: str
    note: InstanceKey
    key: bytes
    reason: Reason
    author: str
    time_us: int
    commit_id: bytes
    lift: Lift | None
    instances: Mapping[InstanceKey, bytes | None]

    def describe(self) -> dict[str, object]:
        """Return it in the JSON shape of API and `--json`."""
        return {
            "id": self.id,
            "dataset": self.dataset,
            "branch": self.branch,
            "code": self.reason.value,
            "meaning": self.reason.meaning,
            "hides": "every revision" if self.reason.hides_everywhere else "head",
            "note": _describe_names(self.note),
            "instances": [_describe_names(names) for names in sorted(self.instances)],
            "author": self.author,
            "time": format_time(self.time_us),
            "commit": self.commit_id.hex(),
            "lifted": None if self.lift is None else self.lift.describe(),
        }


def record_rejections(
    connection: sa.Connection,
    dataset_id: int,
    branch: str,
    author: str,
    commit_id: bytes,
    time_us: int,
    applied: Sequence[AppliedNote],
) -> None:
    """Write what a commit's rejection notes reject.

    Args:
        connection: In the transaction that makes the commit, which has locked the dataset.
        applied: The notes, with what each took out of the branch's head.
    """
    for one in applied:
        study_uid, series_uid, sop_uid = one.note.names
        values = {
            "dataset_id": dataset_id,
            "branch": branch,
            "study_uid": study_uid,
            "series_uid": series_uid,
            "sop_uid": sop_uid,
            "key": one.note.key,
            "code": one.note.reason.value,
            "author": author,
            "time_us": time_us,
            "commit_id": commit_id,
        }
        made = connection.execute(sa.insert(rejection).values(values)).inserted_primary_key
        assert made is not None
        _insert_rejected(connection, dataset_id, int(made[0]), one.removed)
    if any(one.note.reason.hides_everywhere for one in applied):
        save_hidden_digest(connection, dataset_id)


def list_rejections(connection: sa.Connection, dataset_id: int | None = None) -> list[Rejection]:
    """Return rejections, oldest first, whether in force or lifted.

    Args:
        connection: In any transaction.
        dataset_id: One dataset, or None for all.
    """
    query = _SELECT.order_by(rejection.c.id)
    if dataset_id is not None:
        query = query.where(rejection.c.dataset_id == dataset_id)
    return [_make(connection, row) for row in connection.execute(query).all()]


def find_rejection(
    connection: sa.Connection, rejection_id: int, dataset_id: int | None = None
) -> Rejection:
    """Return a rejection.

    Args:
        connection: In any transaction.
        rejection_id: Its id.
        dataset_id: The dataset that it has to be of, or None for any.

    Raises:
        ResourceNotFound: There is none.
    """
    query = _SELECT.where(rejection.c.id == min(rejection_id, LARGEST_ID))
    if dataset_id is not None:
        query = query.where(rejection.c.dataset_id == dataset_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise ResourceNotFound(f"There is no rejection {rejection_id}.")
    return _make(connection, row)


def list_hidden(connection: sa.Connection, dataset_id: int) -> list[InstanceKey]:
    """Return what is hidden at every revision of a dataset, sorted."""
    rows = _LIST_HIDDEN.fetch_all(connection, {"dataset_id": dataset_id})
    return sorted((row[0], row[1], row[2]) for row in rows)


def save_hidden_digest(connection: sa.Connection, dataset_id: int) -> None:
    """Write to the dataset's row what is hidden by now; the dataset is locked."""
    digest = compute_hidden_digest(list_hidden(connection, dataset_id))
    connection.execute(sa.update(dataset).where(dataset.c.id == dataset_id).values(hidden=digest))


def compute_hidden_digest(hidden: Iterable[InstanceKey]) -> bytes | None:
    """Return the digest that stands for hidden instances; None if there are none."""
    text = "".join(f"{'/'.join(names)}\n" for names in hidden)
    return hashlib.sha256(text.encode()).digest() if text else None


def find_hiding_reason(
    connection: sa.Connection, dataset_id: int, names: InstanceKey
) -> Reason | None:
    """Return why an instance is hidden at every revision, or None if it is not."""
    study_uid, series_uid, sop_uid = names
    found = _FIND_HIDING.fetch_value(
        connection,
        {
            "dataset_id": dataset_id,
            "study_uid": study_uid,
            "series_uid": series_uid,
            "sop_uid": sop_uid,
        },
    )
    return None if found is None else Reason(found)


def explain_absence(
    connection: sa.Connection,
    dataset_id: int,
    error: LamellaError,
    study_uid: str,
    series_uid: str | None = None,
    sop_uid: str | None = None,
) -> LamellaError:
    """Return why something is not there: it is hidden, or else the error that says it is not.

    Only where something is hidden is there anything to explain.
    """
    columns = rejected.c.study_uid, rejected.c.series_uid, rejected.c.sop_uid
    query = (
        sa.select(rejection.c.code)
        .select_from(_HIDING)
        .where(rejected.c.dataset_id == dataset_id, _IS_HIDDEN)
        .order_by(rejection.c.id)
        .limit(1)
    )
    for column, uid in zip(columns, (study_uid, series_uid, sop_uid), strict=True):
        if uid is not None:
            query = query.where(column == uid)
    code = connection.execute(query).scalar_one_or_none()
    if code is None:
        return error
    uid = sop_uid or series_uid or study_uid
    return Rejected(f"{uid} was rejected ({code}, DCM, {Reason(code).meaning}) and is hidden.")


def _insert_rejected(
    connection: sa.Connection,
    dataset_id: int,
    rejection_id: int,
    removed: Mapping[InstanceKey, bytes | None],
) -> None:
    rows = [
        {
            "dataset_id": dataset_id,
            "study_uid": names[0],
            "series_uid": names[1],
            "sop_uid": names[2],
            "rejection_id": rejection_id,
            "key": key,
        }
        for names, key in removed.items()
    ]
    for batch in split_batches(rows):
        connection.execute(sa.insert(rejected), batch)


_SELECT = sa.select(rejection, dataset.c.name).join(dataset, dataset.c.id == rejection.c.dataset_id)


def _make(connection: sa.Connection, row: sa.Row[tuple[object, ...]]) -> Rejection:
    found = row._mapping
    lift = None
    if found["lifted_us"] is not None:
        lift = Lift(found["lifted_by"], found["lifted_us"], found["lift_commit_id"])
    return Rejection(
        id=found["id"],
        dataset_id=found["dataset_id"],
        dataset=found["name"],
        branch=found["branch"],
        note=(found["study_uid"], found["series_uid"], found["sop_uid"]),
        key=found["key"],
        reason=Reason(found["code"]),
        author=found["author"],
        time_us=found["time_us"],
        commit_id=found["commit_id"],
        lift=lift,
        instances=_load_instances(connection, found["id"]),
    )


def _load_instances(
    connection: sa.Connection, rejection_id: int
) -> dict[InstanceKey, bytes | None]:
    columns = rejected.c
    query = sa.select(columns.study_uid, columns.series_uid, columns.sop_uid, columns.key).where(
        columns.rejection_id == rejection_id
    )
    return {(row[0], row[1], row[2]): row[3] for row in connection.execute(query)}


def _describe_names(names: InstanceKey) -> dict[str, str]:
    return dict(zip(("study", "series", "instance"), names, strict=True))

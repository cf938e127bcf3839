"""Datasets, branches, tags, and the log of where branches stood.

A branch points at its newest commit and moves; a tag points at one commit and does not. Each
move of a branch is a row of the reflog, with a time that only grows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlalchemy as sa

from lamella.archive.database import read_clock_us
from lamella.archive.statements import Statement, insert_into
from lamella.archive.tables import dataset
from lamella.errors import (
    AlreadyExists,
    Conflict,
    InvalidRequest,
    RefMoved,
    RevisionNotFound,
)
from lamella.vcs.tables import ref, reflog

BRANCH = "branch"
TAG = "tag"
DEFAULT_DATASET = "default"
DEFAULT_BRANCH = "main"
FORMAT = 1
DUPLICATES = ("version", "replace", "reject")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
COMMIT_ID = re.compile(r"[0-9a-f]{64}")
_RESERVED = frozenset({"studies", "series", "instances", "wado", "HEAD"})


DATASET_COLUMNS = (
    dataset.c.id,
    dataset.c.name,
    dataset.c.default_branch,
    dataset.c.duplicates,
    dataset.c.next_row_id,
    dataset.c.created_us,
    dataset.c.coercion,
    dataset.c.n_indexes,
    dataset.c.hidden,
    dataset.c.n_subscriptions,
)
"""What a `DatasetRow` is made of."""

_SELECT_DATASET = sa.select(*DATASET_COLUMNS)
_FIND_DATASET = Statement(_SELECT_DATASET.where(dataset.c.name == sa.bindparam("name")))
_READ_DATASET = Statement(_SELECT_DATASET.where(dataset.c.id == sa.bindparam("dataset_id")))
# NO KEY UPDATE: rows that refer to the dataset are inserted before its lock is taken, and the
# share lock that they take on it must not stand in each other's way
_LOCK_DATASET = Statement(
    _SELECT_DATASET.where(dataset.c.id == sa.bindparam("dataset_id")).with_for_update(
        key_share=True
    )
)
_FIND_REF = Statement(
    sa.select(ref.c.kind, ref.c.name, ref.c.commit_id, ref.c.created_us).where(
        ref.c.dataset_id == sa.bindparam("dataset_id"),
        ref.c.kind == sa.bindparam("kind"),
        ref.c.name == sa.bindparam("name"),
    )
)
_FIND_NAMED = Statement(
    sa.select(ref.c.kind, ref.c.name, ref.c.commit_id, ref.c.created_us).where(
        ref.c.dataset_id == sa.bindparam("dataset_id"),
        sa.or_(ref.c.kind == TAG, ref.c.kind == BRANCH),
        ref.c.name == sa.bindparam("name"),
    )
)
_MOVE_BRANCH = Statement(
    sa.update(ref)
    .where(
        ref.c.dataset_id == sa.bindparam("of_dataset"),
        ref.c.kind == BRANCH,
        ref.c.name == sa.bindparam("branch"),
        ref.c.commit_id == sa.bindparam("old"),
    )
    .values(commit_id=sa.bindparam("new"))
)
_READ_LAST_MOVE = Statement(
    sa.select(sa.func.max(reflog.c.time_us)).where(
        reflog.c.dataset_id == sa.bindparam("dataset_id"),
        reflog.c.branch == sa.bindparam("branch"),
    )
)
_INSERT_MOVE = insert_into(reflog)


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A dataset: a versioned collection with rights of its own.

    Attributes:
        coercion: Rules that change instances on their way in, as JSON; '' for none.
        n_indexes: Attribute indexes that new rows and instances are entered in.
        hidden: Digest of what is hidden at every revision; None, as a rule: nothing is.
        n_subscriptions: What its commits ask for; see `subscriptions`.
    """

    id: int
    name: str
    default_branch: str
    duplicates: str
    next_row_id: int
    created_us: int
    coercion: str = ""
    n_indexes: int = 0
    hidden: bytes | None = None
    n_subscriptions: int = 0


@dataclass(frozen=True, slots=True)
class Ref:
    """A branch or tag and the commit it points at."""

    kind: str
    name: str
    commit_id: bytes
    created_us: int


def check_name(name: str, what: str) -> None:
    """Refuse a name that no URL could carry unambiguously.

    Raises:
        InvalidRequest: The name is not of the form that the contract fixes, or reserved.
    """
    if not NAME.fullmatch(name) or name in _RESERVED or re.fullmatch(r"[0-9A-Fa-f]{64}", name):
        raise InvalidRequest(
            f"{name!r} cannot name a {what}: use up to 128 letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit, and none of "
            "studies, series, instances, wado, HEAD or 64 hex digits."
        )


def find_dataset(connection: sa.Connection, name: str) -> DatasetRow:
    """Return a dataset by name.

    Raises:
        RevisionNotFound: There is none of that name.
    """
    row = _FIND_DATASET.fetch_row(connection, {"name": name})
    if row is None:
        raise RevisionNotFound(f"There is no dataset {name!r}.")
    return DatasetRow(*row)


def read_dataset(connection: sa.Connection, dataset_id: int) -> DatasetRow:
    """Return a dataset as it is now, whatever an earlier transaction read.

    Raises:
        RevisionNotFound: It was deleted meanwhile.
    """
    return _read_row(connection, _READ_DATASET, dataset_id)


def lock_dataset(connection: sa.Connection, dataset_id: int) -> DatasetRow:
    """Lock a dataset's row: one writer of refs, commits and row ids at a time.

    Raises:
        RevisionNotFound: It was deleted meanwhile.
    """
    return _read_row(connection, _LOCK_DATASET, dataset_id)


def _read_row(connection: sa.Connection, statement: Statement, dataset_id: int) -> DatasetRow:
    row = statement.fetch_row(connection, {"dataset_id": dataset_id})
    if row is None:
        raise RevisionNotFound("The dataset was deleted.")
    return DatasetRow(*row)


def list_datasets(connection: sa.Connection) -> list[DatasetRow]:
    """Return all datasets by name."""
    names = connection.execute(sa.select(dataset.c.name).order_by(dataset.c.name)).scalars()
    return [find_dataset(connection, name) for name in names.all()]


def find_ref(connection: sa.Connection, dataset_id: int, kind: str, name: str) -> Ref | None:
    """Return a branch or tag, or None."""
    names = {"dataset_id": dataset_id, "kind": kind, "name": name}
    row = _FIND_REF.fetch_row(connection, names)
    return None if row is None else Ref(*row)


def find_named(connection: sa.Connection, dataset_id: int, name: str) -> Ref | None:
    """Return the tag of a name, or else its branch, or None."""
    rows = _FIND_NAMED.fetch_all(connection, {"dataset_id": dataset_id, "name": name})
    found = {row[0]: Ref(*row) for row in rows}
    return found.get(TAG) or found.get(BRANCH)


def list_refs(connection: sa.Connection, dataset_id: int, kind: str) -> list[Ref]:
    """Return all branches or all tags of a dataset by name."""
    query = (
        sa.select(ref.c.kind, ref.c.name, ref.c.commit_id, ref.c.created_us)
        .where(ref.c.dataset_id == dataset_id, ref.c.kind == kind)
        .order_by(ref.c.name)
    )
    return sorted((Ref(*row) for row in connection.execute(query)), key=lambda found: found.name)


def read_head(connection: sa.Connection, dataset_id: int, branch: str) -> bytes:
    """Return the commit a branch points at.

    Raises:
        RevisionNotFound: There is no such branch.
    """
    found = find_ref(connection, dataset_id, BRANCH, branch)
    if found is None:
        raise RevisionNotFound(f"There is no branch {branch!r}.")
    return found.commit_id


def create_ref(
    connection: sa.Connection, dataset_id: int, kind: str, name: str, commit_id: bytes
) -> Ref:
    """Make a branch or tag.

    Raises:
        InvalidRequest: The name will not do.
        AlreadyExists: There is one of that kind and name.
    """
    check_name(name, kind)
    lock_dataset(connection, dataset_id)
    if find_ref(connection, dataset_id, kind, name) is not None:
        raise AlreadyExists(f"There is a {kind} {name!r} already.")
    now_us = read_clock_us(connection)
    if kind == BRANCH:
        now_us = next_log_time(connection, dataset_id, name)
        log_move(connection, dataset_id, name, None, commit_id, "create", now_us)
    made = Ref(kind, name, commit_id, now_us)
    connection.execute(
        sa.insert(ref).values(
            dataset_id=dataset_id,
            kind=kind,
            name=name,
            commit_id=commit_id,
            created_us=made.created_us,
        )
    )
    return made


def delete_ref(connection: sa.Connection, dataset_id: int, kind: str, name: str) -> None:
    """Delete a branch or tag; its commits stay.

    Raises:
        RevisionNotFound: There is none.
        Conflict: It is the dataset's default branch.
    """
    owner = lock_dataset(connection, dataset_id)
    found = find_ref(connection, dataset_id, kind, name)
    if found is None:
        raise RevisionNotFound(f"There is no {kind} {name!r}.")
    if kind == BRANCH and name == owner.default_branch:
        raise Conflict(f"{name!r} is the default branch and cannot be deleted.")
    if kind == BRANCH:
        time_us = next_log_time(connection, dataset_id, name)
        log_move(connection, dataset_id, name, found.commit_id, None, "delete", time_us)
    connection.execute(
        sa.delete(ref).where(ref.c.dataset_id == dataset_id, ref.c.kind == kind, ref.c.name == name)
    )


def move_branch(
    connection: sa.Connection,
    dataset_id: int,
    branch: str,
    old: bytes,
    new: bytes,
    action: str,
    time_us: int,
) -> None:
    """Move a branch from `old` to `new`.

    Args:
        time_us: The move's, from `next_log_time`. A new commit has the same time, so that the
            branch at the instant which a commit shows is that commit.

    Raises:
        RefMoved: The branch is not at `old` any more.
    """
    names = {"of_dataset": dataset_id, "branch": branch, "old": old, "new": new}
    if _MOVE_BRANCH.run(connection, names) != 1:
        raise RefMoved(f"Branch {branch!r} moved meanwhile.")
    log_move(connection, dataset_id, branch, old, new, action, time_us)


def log_move(
    connection: sa.Connection,
    dataset_id: int,
    branch: str,
    old: bytes | None,
    new: bytes | None,
    action: str,
    time_us: int,
) -> None:
    """Write a reflog row.

    Args:
        time_us: From `next_log_time`: later than any before it, whatever clocks say.
    """
    row = {
        "dataset_id": dataset_id,
        "branch": branch,
        "time_us": time_us,
        "old": old,
        "new": new,
        "action": action,
    }
    _INSERT_MOVE.run(connection, row)


def next_log_time(connection: sa.Connection, dataset_id: int, branch: str) -> int:
    """Return max(database clock, the branch's last move + 1 µs)."""
    names = {"dataset_id": dataset_id, "branch": branch}
    last = _READ_LAST_MOVE.fetch_value(connection, names)
    return max(read_clock_us(connection), (last or 0) + 1)


def read_log_at(
    connection: sa.Connection, dataset_id: int, branch: str, time_us: int
) -> bytes | None:
    """Return where a branch stood at a time; None before it was made or after it was deleted."""
    query = (
        sa.select(reflog.c.new)
        .where(
            reflog.c.dataset_id == dataset_id,
            reflog.c.branch == branch,
            reflog.c.time_us <= time_us,
        )
        .order_by(reflog.c.time_us.desc())
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none()

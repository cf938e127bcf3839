"""Revisions: what a user types, and the commit it resolves to.

revision = base [ "@" instant | "~" N { "~" N } ]
base     = full commit id | tag | branch | commit id prefix of 8 or more, tried in this order
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from lamella.archive.database import read_clock_us
from lamella.archive.statements import Statement
from lamella.errors import AmbiguousRevision, InvalidRequest, RevisionNotFound
from lamella.vcs.history import find_by_prefix, load_commit
from lamella.vcs.refs import BRANCH, COMMIT_ID, DatasetRow, find_named, find_ref, read_log_at
from lamella.vcs.tables import commit

_PREFIX = re.compile(r"[0-9a-f]{8,63}")
_STEPS = re.compile(r"(?:~[0-9]{1,9})+")
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _make_step_back() -> Statement:
    """Return the walk along first parents as one statement; each step reads one row by its key."""
    steps = sa.bindparam("steps", type_=sa.Integer)
    walk = sa.select(
        sa.bindparam("start", type_=commit.c.id.type).label("id"), sa.literal_column("0").label("n")
    ).cte("walk", recursive=True)
    parents = sa.select(commit.c.first_parent, walk.c.n + sa.literal_column("1")).where(
        commit.c.dataset_id == sa.bindparam("dataset_id"),
        commit.c.id == walk.c.id,
        walk.c.n < steps,
    )
    walked = walk.union_all(parents)
    return Statement(
        sa.select(walked.c.id).where(walked.c.n == sa.bindparam("steps", type_=sa.Integer))
    )


_STEP_BACK = _make_step_back()


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a revision stands for now.

    Attributes:
        text: As it was typed.
        commit_id: The commit, 32 bytes.
        branch: The branch it names, so that a store can go there; None for anything else.
        is_commit_id: Whether it was a full commit id, whose answers never change.
    """

    text: str
    commit_id: bytes
    branch: str | None
    is_commit_id: bool


def resolve(connection: sa.Connection, dataset: DatasetRow, text: str | None) -> Resolved:
    """Resolve a revision of a dataset; None means its default branch.

    Raises:
        InvalidRequest: It is no revision, or its instant lies in the future.
        AmbiguousRevision: A prefix fits several commits.
        RevisionNotFound: Nothing of that name, or no such ancestor or instant.
    """
    text = dataset.default_branch if text is None else text
    base, mark, rest = _split(text)
    if mark == "@":
        return Resolved(text, _find_at(connection, dataset.id, base, rest), None, False)
    found = _find_base(connection, dataset.id, base)
    if mark == "~":
        steps = sum(int(step) for step in rest.split("~"))
        ancestor = _step_back(connection, dataset.id, found.commit_id, steps)
        return Resolved(text, ancestor, None, False)
    return Resolved(text, found.commit_id, found.branch, found.is_commit_id)


def _split(text: str) -> tuple[str, str, str]:
    base, mark, rest = text, "", ""
    if "@" in text:
        base, mark, rest = text.partition("@")
    elif "~" in text:
        base, mark, rest = text.partition("~")
        if not _STEPS.fullmatch(f"~{rest}"):
            raise InvalidRequest(f"{text!r} is no revision: ~ is followed by a number.")
    if not base:
        raise InvalidRequest(f"{text!r} is no revision.")
    return base, mark, rest


def _find_base(connection: sa.Connection, dataset_id: int, base: str) -> Resolved:
    if COMMIT_ID.fullmatch(base.lower()):
        query = sa.select(commit.c.id).where(
            commit.c.dataset_id == dataset_id, commit.c.id == bytes.fromhex(base)
        )
        found = connection.execute(query).scalar_one_or_none()
        if found is not None:
            return Resolved(base, found, None, True)
    named = find_named(connection, dataset_id, base)
    if named is not None:
        return Resolved(base, named.commit_id, base if named.kind == BRANCH else None, False)
    if _PREFIX.fullmatch(base.lower()):
        matches = find_by_prefix(connection, dataset_id, base.lower())
        if len(matches) > 1:
            raise AmbiguousRevision(f"Several commits begin with {base}: give more digits.")
        if matches:
            return Resolved(base, matches[0], None, False)
    raise RevisionNotFound(f"There is no tag, branch or commit {base!r} here.")


def _find_at(connection: sa.Connection, dataset_id: int, base: str, instant: str) -> bytes:
    time_us = parse_instant(instant)
    if time_us > read_clock_us(connection):
        raise InvalidRequest(f"{instant} lies in the future.")
    if find_ref(connection, dataset_id, BRANCH, base) is None and _names_fixed(
        connection, dataset_id, base
    ):
        raise InvalidRequest(f"{base!r} is no branch: only branches have moved.")
    found = read_log_at(connection, dataset_id, base, time_us)
    if found is None:
        raise RevisionNotFound(f"There was no branch {base!r} at {instant}.")
    return found


def _names_fixed(connection: sa.Connection, dataset_id: int, base: str) -> bool:
    try:
        return _find_base(connection, dataset_id, base).branch is None
    except RevisionNotFound:
        return False


def _step_back(connection: sa.Connection, dataset_id: int, start: bytes, steps: int) -> bytes:
    generation = load_commit(connection, dataset_id, start).generation
    if steps > generation:
        raise RevisionNotFound(f"The history has no ancestor {steps} commits back.")
    names = {"dataset_id": dataset_id, "start": start, "steps": steps}
    found: bytes = _STEP_BACK.fetch_value(connection, names)
    return found


def parse_instant(text: str) -> int:
    """Return an RFC 3339 instant in microseconds since 1970, UTC.

    Raises:
        InvalidRequest: It is none, or lies outside the years 1970 to 9999.

    Source:
        RFC 3339 §5.6.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise InvalidRequest(f"{text!r} is no instant: write 2026-11-01T12:00:00Z.")
    date, clock, fraction, zone = match.groups()
    offset = "+00:00" if zone in "Zz" else zone
    try:
        moment = datetime.fromisoformat(f"{date}T{clock}{offset}")
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is no instant: {error}.") from error
    micros = int((fraction or ".0")[1:7].ljust(6, "0"))
    time_us = (moment - _EPOCH) // timedelta(microseconds=1) + micros
    if time_us < 0:
        raise InvalidRequest(f"{text!r} lies before 1970.")
    return time_us

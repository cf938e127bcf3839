"""The outbox: a row for each piece of work that is to be done later.

A row is written in the transaction that asks for the work, so that neither is there without the
other. Whoever runs the work claims the row for a while (a lease by the database's clock) and
renews that; a runner that dies loses its lease, and another goes on. The row is the truth about
the work however its runner hears of it.

    waiting ──claim──▶ running ──▶ done
       ▲                  │  └───▶ dead        it failed for good, or too often
       └──── later ◀──────┘  └───▶ cancelled

Work may be run more than once, so a kind of work has to bear that. Arguments, notes and results
name datasets, commits and UIDs; they never hold values of patients.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from lamella.archive.database import read_clock_us
from lamella.archive.tables import outbox
from lamella.errors import Conflict, ResourceNotFound

Json = Any
Arguments = Mapping[str, Json]

LEASE_US = 30_000_000
KEPT_US = 30 * 86_400_000_000
_INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class State(StrEnum):
    """Where a piece of work stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"
    CANCELLED = "cancelled"


ENDED = (State.DONE, State.DEAD, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the outbox.

    Attributes:
        key: What makes it the only one of its kind; None for nothing.
        owner: Who runs it, or ran it last.
        attempts: How often it was begun.
        is_stopped: Whether somebody wants it to end.
        done: How many steps are done, of `total`, if that is known.
        note: What it is at.
        position: What an attempt noted for the next one.
        result: What it came to.
        error: Why it failed, or failed last.
    """

    id: int
    kind: str
    key: str | None
    arguments: Arguments
    state: State
    owner: str
    due_us: int
    attempts: int
    is_stopped: bool
    done: int
    total: int | None
    note: str
    position: Json
    result: Json
    error: str
    created_us: int
    ended_us: int | None


def enqueue(
    connection: sa.Connection,
    kind: str,
    arguments: Arguments,
    *,
    key: str | None = None,
    delay_s: float = 0,
) -> int:
    """Ask for work, in the caller's transaction; return the number of its row.

    Args:
        connection: Within a transaction.
        kind: Which work.
        arguments: JSON.
        key: The same kind and key again, as long as the row is kept, is the same work.
        delay_s: How long to wait first.
    """
    now_us = read_clock_us(connection)
    row = {
        "kind": kind,
        "key": key,
        "arguments": json.dumps(arguments),
        "state": State.WAITING.value,
        "owner": "",
        "due_us": now_us + int(delay_s * 1e6),
        "sent_us": 0,
        "attempts": 0,
        "is_stopped": 0,
        "done": 0,
        "note": "",
        "position": "",
        "result": "",
        "error": "",
        "created_us": now_us,
    }
    insert = _INSERT[connection.dialect.name](outbox).values(row)
    insert = insert.on_conflict_do_nothing().returning(outbox.c.id)
    made = connection.execute(insert).scalar_one_or_none()
    if made is None:
        same = sa.select(outbox.c.id).where(outbox.c.kind == kind, outbox.c.key == key)
        made = connection.execute(same).scalar_one()
    return int(made)


def claim(
    connection: sa.Connection, kinds: Iterable[str], owner: str, job_id: int | None = None
) -> Job | None:
    """Take the work that is due longest, or one piece of it, for `LEASE_US`.

    Returns:
        None if there is none that is due and that nobody else has.
    """
    now_us = read_clock_us(connection)
    query = sa.select(outbox.c.id).where(_is_due(now_us), outbox.c.kind.in_(list(kinds)))
    if job_id is not None:
        query = query.where(outbox.c.id == job_id)
    query = query.order_by(outbox.c.due_us, outbox.c.id).limit(1)
    found = connection.execute(query.with_for_update(skip_locked=True)).scalar_one_or_none()
    if found is None:
        return None
    values = {
        "state": State.RUNNING.value,
        "owner": owner,
        "due_us": now_us + LEASE_US,
        "attempts": outbox.c.attempts + 1,
    }
    connection.execute(sa.update(outbox).where(outbox.c.id == found).values(values))
    return find_job(connection, found)


def has_due(connection: sa.Connection, kinds: Iterable[str]) -> bool:
    """Tell whether there is work to claim."""
    query = sa.select(outbox.c.id).where(
        _is_due(read_clock_us(connection)), outbox.c.kind.in_(list(kinds))
    )
    return connection.execute(query.limit(1)).first() is not None


def list_unsent(
    connection: sa.Connection, again_after_us: int, limit: int, *, locks: bool = False
) -> list[int]:
    """Return work that is due and that no broker was told of lately, what is due longest first.

    Args:
        connection: Within a transaction.
        again_after_us: A message may be lost, so the broker is told again after so long.
        limit: How many at most.
        locks: Whether others do not find the same until the transaction ends.
    """
    now_us = read_clock_us(connection)
    query = (
        sa.select(outbox.c.id)
        .where(_is_due(now_us), outbox.c.sent_us < now_us - again_after_us)
        .order_by(outbox.c.due_us, outbox.c.id)
        .limit(limit)
    )
    if locks:
        query = query.with_for_update(skip_locked=True)
    return list(connection.execute(query).scalars())


def note_sent(connection: sa.Connection, job_ids: Sequence[int], *, is_sent: bool = True) -> None:
    """Note that a broker is told of work now, or that it was not after all."""
    sent_us = read_clock_us(connection) if is_sent else 0
    here = outbox.c.id.in_(job_ids)
    connection.execute(sa.update(outbox).where(here).values(sent_us=sent_us))


def renew(
    connection: sa.Connection, job_id: int, owner: str, progress: Mapping[str, Json]
) -> bool | None:
    """Renew a lease and note how far the work is.

    Args:
        connection: Within a transaction.
        job_id: The work.
        owner: Who has it.
        progress: New values of `done`, `total`, `note` and `position`.

    Returns:
        Whether somebody wants the work to end; None if it is not the owner's any more.
    """
    here = _is_held(job_id, owner)
    values = {**progress, "due_us": read_clock_us(connection) + LEASE_US}
    renewed = sa.update(outbox).where(here).values(values).returning(outbox.c.is_stopped)
    found = connection.execute(renewed).scalar_one_or_none()
    return None if found is None else bool(found)


def is_stopped(connection: sa.Connection, job_id: int, owner: str) -> bool:
    """Tell whether a runner should stop: somebody wants that, or it is not its work any more."""
    query = sa.select(outbox.c.is_stopped).where(_is_held(job_id, owner))
    return connection.execute(query).scalar_one_or_none() != 0


def finish(
    connection: sa.Connection,
    job_id: int,
    owner: str,
    state: State,
    *,
    result: Json = None,
    error: str = "",
) -> bool:
    """Note what work came to; tell whether it still was the owner's."""
    values = {
        "state": state.value,
        "result": "" if result is None else json.dumps(result),
        "error": error,
        "ended_us": read_clock_us(connection),
    }
    done = sa.update(outbox).where(_is_held(job_id, owner)).values(values)
    return connection.execute(done).rowcount > 0


def put_back(
    connection: sa.Connection, job_id: int, owner: str, *, delay_us: int, error: str | None
) -> None:
    """Let work be begun again later.

    Args:
        connection: Within a transaction.
        job_id: The work.
        owner: Who had it.
        delay_us: How much later.
        error: Why it failed; None if it was only interrupted, which is no attempt.
    """
    values: dict[str, Json] = {
        "state": State.WAITING.value,
        "due_us": read_clock_us(connection) + delay_us,
        "sent_us": 0,
    }
    if error is None:
        values["attempts"] = outbox.c.attempts - 1
    else:
        values["error"] = error
    connection.execute(sa.update(outbox).where(_is_held(job_id, owner)).values(values))


def release_left(connection: sa.Connection, owner_prefix: str) -> int:
    """Let what a runner of this name left behind be claimed at once; return how much that was."""
    left = (outbox.c.state == State.RUNNING) & outbox.c.owner.startswith(
        owner_prefix, autoescape=True
    )
    return connection.execute(sa.update(outbox).where(left).values(due_us=0, sent_us=0)).rowcount


def cancel(connection: sa.Connection, job_id: int) -> Job:
    """Cancel work: what waits ends at once, what runs as soon as its runner notices.

    Raises:
        ResourceNotFound: There is no such work.
        Conflict: It has ended.
    """
    job = _lock(connection, job_id)
    if job.state in ENDED:
        raise Conflict(f"Job {job_id} has ended: it is {job.state}.")
    values: dict[str, Json] = {"is_stopped": 1}
    if job.state is State.WAITING:
        values |= {"state": State.CANCELLED.value, "ended_us": read_clock_us(connection)}
    connection.execute(sa.update(outbox).where(outbox.c.id == job_id).values(values))
    return find_job(connection, job_id)


def retry(connection: sa.Connection, job_id: int) -> Job:
    """Let work that failed, was cancelled or waits for another attempt begin now.

    Raises:
        ResourceNotFound: There is no such work.
        Conflict: It runs, or is done.
    """
    job = _lock(connection, job_id)
    if job.state not in (State.DEAD, State.CANCELLED, State.WAITING):
        raise Conflict(f"Job {job_id} is {job.state}.")
    values = {
        "state": State.WAITING.value,
        "due_us": read_clock_us(connection),
        "sent_us": 0,
        "attempts": 0,
        "is_stopped": 0,
        "ended_us": None,
    }
    connection.execute(sa.update(outbox).where(outbox.c.id == job_id).values(values))
    return find_job(connection, job_id)


def find_job(connection: sa.Connection, job_id: int) -> Job:
    """Return one piece of work.

    Raises:
        ResourceNotFound: There is none of that number.
    """
    row = connection.execute(sa.select(outbox).where(outbox.c.id == job_id)).one_or_none()
    if row is None:
        raise ResourceNotFound(f"There is no job {job_id}.")
    return _read_row(row)


def list_jobs(
    connection: sa.Connection,
    *,
    state: State | None = None,
    kind: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Job]:
    """Return work, newest first.

    Args:
        connection: Within a transaction.
        state: Only what stands there.
        kind: Only of this kind.
        before: Only what was asked for before the one of this number.
        limit: How many at most.
    """
    query = sa.select(outbox).order_by(outbox.c.id.desc()).limit(limit)
    if state is not None:
        query = query.where(outbox.c.state == state.value)
    if kind is not None:
        query = query.where(outbox.c.kind == kind)
    if before is not None:
        query = query.where(outbox.c.id < before)
    return [_read_row(row) for row in connection.execute(query)]


def count_jobs(connection: sa.Connection) -> dict[State, int]:
    """Return how much work stands where, of what waits, runs or is dead."""
    open_states = (State.WAITING, State.RUNNING, State.DEAD)
    query = (
        sa.select(outbox.c.state, sa.func.count())
        .where(outbox.c.state.in_([state.value for state in open_states]))
        .group_by(outbox.c.state)
    )
    found = {State(state): int(count) for state, count in connection.execute(query)}
    return {state: found.get(state, 0) for state in open_states}


def forget_ended(connection: sa.Connection, kept_us: int = KEPT_US) -> int:
    """Delete rows of work that is done or cancelled for so long; return how many."""
    old = outbox.c.state.in_([State.DONE.value, State.CANCELLED.value]) & (
        outbox.c.ended_us < read_clock_us(connection) - kept_us
    )
    return connection.execute(sa.delete(outbox).where(old)).rowcount


def _is_due(now_us: int) -> sa.ColumnElement[bool]:
    """What waits until then, or what ran until its lease ended."""
    states = [State.WAITING.value, State.RUNNING.value]
    return outbox.c.state.in_(states) & (outbox.c.due_us <= now_us)


def _is_held(job_id: int, owner: str) -> sa.ColumnElement[bool]:
    is_running = outbox.c.state == State.RUNNING.value
    return (outbox.c.id == job_id) & (outbox.c.owner == owner) & is_running


def _lock(connection: sa.Connection, job_id: int) -> Job:
    connection.execute(sa.select(outbox.c.id).where(outbox.c.id == job_id).with_for_update())
    return find_job(connection, job_id)


def _read_row(row: sa.Row[Any]) -> Job:
    return Job(
        id=row.id,
        kind=row.kind,
        key=row.key,
        arguments=json.loads(row.arguments),
        state=State(row.state),
        owner=row.owner,
        due_us=row.due_us,
        attempts=row.attempts,
        is_stopped=bool(row.is_stopped),
        done=row.done,
        total=row.total,
        note=row.note,
        position=json.loads(row.position) if row.position else None,
        result=json.loads(row.result) if row.result else None,
        error=row.error,
        created_us=row.created_us,
        ended_us=row.ended_us,
    )

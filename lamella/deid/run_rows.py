"""Runs as they are on record: what was to become of what, and the report of those that ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from lamella.archive.database import read_clock_us
from lamella.archive.tables import dataset
from lamella.deid.profiles import Profile
from lamella.errors import Conflict, ResourceNotFound
from lamella.vcs.commit_object import format_time
from lamella.vcs.tables import deid_run


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run.

    Attributes:
        branch: Of the destination.
        source_id: The dataset that was read.
        source: Its name; None if it was deleted since.
        source_commit: What was read.
        profile: How it was done.
        author: Who wanted it.
        report: As `RunReport.describe` tells it; None while the run has not ended.
    """

    id: int
    dataset_id: int
    branch: str
    source_id: int
    source: str | None
    source_commit: bytes
    profile: Profile
    author: str
    report: dict[str, Any] | None
    started_us: int
    ended_us: int | None

    def describe(self) -> dict[str, Any]:
        """Return it in the JSON shape of API and `--json`."""
        ended = None if self.ended_us is None else format_time(self.ended_us)
        return {
            "run": self.id,
            "source": {"dataset": self.source, "commit": self.source_commit.hex()},
            "branch": self.branch,
            "profile": {"name": self.profile.name, "digest": self.profile.digest},
            "author": self.author,
            "started": format_time(self.started_us),
            "ended": ended,
        }


@dataclass(frozen=True, slots=True)
class NewRun:
    """What is on record of a run before it has done anything."""

    dataset_id: int
    branch: str
    source_id: int
    source_commit: bytes
    recipe: bytes
    profile: Profile
    author: str


def begin_run(connection: sa.Connection, new: NewRun) -> int:
    """Put a run on record, or find the one that was stopped in the middle of the same."""
    query = sa.select(deid_run.c.id).where(
        deid_run.c.dataset_id == new.dataset_id,
        deid_run.c.branch == new.branch,
        deid_run.c.source_id == new.source_id,
        deid_run.c.source_commit == new.source_commit,
        deid_run.c.recipe == new.recipe,
        deid_run.c.ended_us.is_(None),
    )
    found = connection.execute(query.order_by(deid_run.c.id).limit(1)).scalar_one_or_none()
    if found is not None:
        return int(found)
    values = {
        "dataset_id": new.dataset_id,
        "branch": new.branch,
        "source_id": new.source_id,
        "source_commit": new.source_commit,
        "recipe": new.recipe,
        "profile": msgspec.json.encode(new.profile).decode(),
        "author": new.author,
        "report": "",
        "started_us": read_clock_us(connection),
    }
    made = connection.execute(sa.insert(deid_run).values(values)).inserted_primary_key
    assert made is not None
    return int(made[0])


def end_run(connection: sa.Connection, run_id: int, report: dict[str, Any]) -> None:
    """Note the report of a run that came to its end."""
    values = {"report": json.dumps(report), "ended_us": read_clock_us(connection)}
    connection.execute(sa.update(deid_run).where(deid_run.c.id == run_id).values(values))


def list_runs(
    connection: sa.Connection, dataset_id: int, *, before: int | None = None, limit: int = 100
) -> list[RunRow]:
    """Return the runs into a dataset, newest first.

    Args:
        connection: In a transaction.
        dataset_id: The destination.
        before: Only those of a lower number.
        limit: How many at most.
    """
    query = _select().where(deid_run.c.dataset_id == dataset_id)
    if before is not None:
        query = query.where(deid_run.c.id < before)
    rows = connection.execute(query.order_by(deid_run.c.id.desc()).limit(limit))
    return [_read(row) for row in rows]


def find_last_run(connection: sa.Connection, dataset_id: int, branch: str) -> RunRow | None:
    """Return the run into a branch that came to its end last; None if none did."""
    query = _select().where(
        deid_run.c.dataset_id == dataset_id,
        deid_run.c.branch == branch,
        deid_run.c.ended_us.is_not(None),
    )
    query = query.order_by(deid_run.c.ended_us.desc(), deid_run.c.id.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else _read(row)


def find_run(connection: sa.Connection, dataset_id: int, run_id: int) -> RunRow:
    """Return one run into a dataset.

    Raises:
        ResourceNotFound: There is none of this number.
    """
    query = _select().where(deid_run.c.dataset_id == dataset_id, deid_run.c.id == run_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise ResourceNotFound(f"No run {run_id} of a de-identification went into this dataset.")
    return _read(row)


def find_ended_run(connection: sa.Connection, dataset_id: int, run_id: int | None) -> RunRow:
    """Return a run into a dataset that has a report; without a number, the last one.

    Raises:
        ResourceNotFound: There is none.
        Conflict: The run of that number has not come to its end.
    """
    if run_id is not None:
        run = find_run(connection, dataset_id, run_id)
        if run.report is None:
            raise Conflict(f"Run {run_id} has not come to its end.")
        return run
    query = _select().where(deid_run.c.dataset_id == dataset_id, deid_run.c.ended_us.is_not(None))
    row = connection.execute(
        query.order_by(deid_run.c.ended_us.desc(), deid_run.c.id.desc())
    ).first()
    if row is None:
        raise ResourceNotFound("No run of a de-identification into this dataset has ended.")
    return _read(row)


def _select() -> sa.Select[Any]:
    source = sa.select(dataset.c.name).where(dataset.c.id == deid_run.c.source_id)
    return sa.select(deid_run, source.scalar_subquery().label("source"))


def _read(row: Any) -> RunRow:
    return RunRow(
        row.id,
        row.dataset_id,
        row.branch,
        row.source_id,
        row.source,
        row.source_commit,
        msgspec.json.decode(row.profile, type=Profile),
        row.author,
        json.loads(row.report) if row.report else None,
        row.started_us,
        row.ended_us,
    )

"""What a person decides about instances that were held back, and what follows from it.

Who accepts an instance, as it is or with more of it blacked, sees it come into the branch at
once, if the source of the last run into the branch has the instance. Else the next run brings it
in. Rejected ones stay out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa

from lamella.archive.database import read_clock_us
from lamella.archive.intake import Intake
from lamella.deid.codes import CLEAN_PIXELS
from lamella.deid.crew import run_apart
from lamella.deid.made import (
    ACCEPTED,
    REDACTED,
    REJECTED,
    WAITING,
    DrawnFrames,
    MadeInstance,
    condense,
    find_made,
    list_boxes,
    list_waiting,
    note_decision,
    replace_result,
)
from lamella.deid.pixels.boxes import Box
from lamella.deid.previews import draw_preview
from lamella.deid.redaction import Redacted, redact
from lamella.deid.results import Verdict
from lamella.deid.run_rows import RunRow, find_last_run, find_run
from lamella.deid.runs import KIND
from lamella.errors import Conflict, ResourceNotFound
from lamella.vcs.commit_object import format_time
from lamella.vcs.commits import Committed, Outcome, commit_decided
from lamella.vcs.judgement import Judge
from lamella.vcs.refs import DatasetRow, find_dataset, lock_dataset
from lamella.vcs.repository import Repository
from lamella.vcs.staging import Session, keep_intake
from lamella.vcs.stored import StoredInstance, find_instances, key_of_entry, load_instances
from lamella.vcs.tree import Tree
from lamella.vcs.view import View, read_view


@dataclass(frozen=True, slots=True)
class Decided:
    """What a decision came to.

    Attributes:
        numbers: The instances.
        decision: `accepted`, `redacted` or `rejected`.
        commits: Commits that it made, 64 hex digits, by branch.
        later: How many the next run brings in.
    """

    numbers: tuple[int, ...]
    decision: str
    commits: Mapping[str, str] = field(default_factory=dict)
    later: int = 0

    def describe(self) -> dict[str, Any]:
        """Return it in the JSON shape of API and `--json`."""
        return {
            "numbers": list(self.numbers),
            "decision": self.decision,
            "commits": dict(self.commits),
            "later": self.later,
        }


@dataclass(frozen=True, slots=True)
class Held:
    """An instance that was held back, with what is known of it besides.

    Attributes:
        row: What was made of it.
        stored: The copy; None where there is none.
    """

    row: MadeInstance
    stored: StoredInstance | None

    def describe(self) -> dict[str, Any]:
        """Return it in the JSON shape of API and `--json`: UIDs are those of the copy."""
        row, copy = self.row, self.stored
        decided = None if row.decided_us is None else format_time(row.decided_us)
        return {
            "number": row.id,
            "verdict": str(row.verdict),
            "reasons": list(row.told.reasons),
            "decision": row.decision or None,
            "author": row.decided_by,
            "decided": decided,
            "run": row.run_id,
            "has_result": copy is not None,
            "study": None if copy is None else copy.study_uid,
            "series": None if copy is None else copy.series_uid,
            "instance": None if copy is None else copy.sop_uid,
            "boxes": [
                {"frame": frame_number, "x": x, "y": y, "width": right - x, "height": bottom - y}
                for frame_number, boxes in row.told.drawn
                for x, y, right, bottom in boxes
            ],
        }


def list_held(
    connection: sa.Connection, dataset: str, *, after: int = 0, limit: int | None = None
) -> list[Held]:
    """Return what waits for a person, oldest first.

    Args:
        connection: In a transaction.
        dataset: Name of the destination.
        after: Only those of a higher number.
        limit: How many at most.

    Raises:
        RevisionNotFound: There is no such dataset.
    """
    owner = find_dataset(connection, dataset)
    rows = list_waiting(connection, owner.id, after=after, limit=limit)
    copies = find_instances(connection, owner.id, [row.made for row in rows if row.made])
    return [Held(row, copies.get(row.made or b"")) for row in rows]


def find_held(connection: sa.Connection, dataset: str, number: int) -> Held:
    """Return one instance that was held back, whether it waits or was decided about.

    Raises:
        ResourceNotFound: None of this number was.
        RevisionNotFound: There is no such dataset.
    """
    owner = find_dataset(connection, dataset)
    row = find_made(connection, owner.id, number)
    if row.verdict is Verdict.PASS:
        raise ResourceNotFound(f"Instance {number} was not held back.")
    return Held(row, find_instances(connection, owner.id, [row.made or b""]).get(row.made or b""))


async def accept(
    repository: Repository, dataset: str, numbers: Sequence[int], author: str
) -> Decided:
    """Release instances as they are, all or none.

    Raises:
        ResourceNotFound: One was not held back.
        Conflict: One does not wait, or there is nothing of it to release.
        RevisionNotFound: There is no such dataset.
    """
    wanted = await _find_wanted(repository, dataset, numbers)

    def write(connection: sa.Connection) -> Decided:
        rows = _note(connection, dataset, numbers, ACCEPTED, author)
        return _release(connection, repository, dataset, rows, wanted, author)

    return await repository.archive.database.write(write)


async def reject(
    repository: Repository, dataset: str, numbers: Sequence[int], author: str
) -> Decided:
    """Keep instances out for good, all or none.

    Raises:
        ResourceNotFound: One was not held back.
        Conflict: One does not wait.
        RevisionNotFound: There is no such dataset.
    """
    await repository.archive.database.write(lambda c: _note(c, dataset, numbers, REJECTED, author))
    return Decided(tuple(numbers), REJECTED)


async def redact_held(
    repository: Repository,
    dataset: str,
    number: int,
    boxes: Mapping[int, Sequence[Box]],
    author: str,
    *,
    text_may_stay: bool = False,
) -> Decided:
    """Release an instance with more of its pixels blacked, once it has passed again.

    Args:
        repository: The installation.
        dataset: Name of the destination.
        number: Of the instance.
        boxes: By frame number from 1; those of frame 0 count for all.
        author: Who decides.
        text_may_stay: Release it although an engine takes something for text that has to go.

    Raises:
        InvalidRequest: A box lies outside of its frame, or the frame is not there.
        ResourceNotFound: It was not held back, or its original is gone.
        Conflict: It does not wait, has no copy, does not pass, or text is left in it.
        RevisionNotFound: There is no such dataset.
    """
    read = repository.archive.database.read
    held = await read(lambda c: find_held(c, dataset, number))
    _check_waiting(held.row, REDACTED)
    assert held.stored is not None
    run = await read(lambda c: _find_run(c, dataset, held.row))
    original = await read(lambda c: _find_original(c, run, held.row))
    files = [await _read_file(repository, one) for one in (held.stored, original)]
    redacted = await run_apart(redact, *files, run.profile, {**boxes})
    if any(redacted.left) and not text_may_stay:
        raise Conflict(f"Text is still read at {_tell_places(redacted)}.")
    wanted = await _find_wanted(repository, dataset, [number])
    intake = Intake(repository.archive)
    try:
        taken = await intake.add(_yield_once(redacted.data))
    except BaseException:
        await intake.discard()
        raise

    def record(connection: sa.Connection) -> Decided:
        owner = lock_dataset(connection, find_dataset(connection, dataset).id)
        intake.record(connection, owner.id, read_clock_us(connection))
        (row,) = _note(connection, dataset, [number], REDACTED, author)
        told = row.told
        told = msgspec.structs.replace(
            told,
            boxes=told.boxes + sum(map(len, redacted.drawn)),
            codes=tuple(sorted({*told.codes, CLEAN_PIXELS.value})),
            drawn=_join(row, redacted),
        )
        replace_result(connection, number, taken.key, told)
        changed = [find_made(connection, owner.id, number)]
        return _release(connection, repository, dataset, changed, wanted, author)

    return await keep_intake(repository, intake, record)


async def show_copy(repository: Repository, dataset: str, number: int, frame_number: int) -> bytes:
    """Return a frame of the copy of an instance that was held back, as PNG with its boxes.

    Raises:
        ResourceNotFound: It was not held back, or has no such frame.
        Conflict: It has no copy, or no pixels that can be shown.
        RevisionNotFound: There is no such dataset.
    """
    held = await repository.archive.database.read(lambda c: find_held(c, dataset, number))
    if held.stored is None:
        raise Conflict(f"There is no copy of instance {number}: only its original can be shown.")
    data = await _read_file(repository, held.stored)
    return await run_apart(draw_preview, data, frame_number, held.row.told.drawn)


async def show_original(
    repository: Repository, source: str | None, dataset: str, number: int, frame_number: int
) -> bytes:
    """Return a frame of the original of an instance that was held back, as PNG with its boxes.

    Args:
        repository: The installation.
        source: Name of the dataset that the original is in; None for wherever it is.
        dataset: Name of the destination.
        number: Of the instance.
        frame_number: From 1.

    Raises:
        ResourceNotFound: It was not held back, is not from there, or has no such frame.
        Conflict: It has no pixels that can be shown.
        RevisionNotFound: There is no such dataset.
    """
    read = repository.archive.database.read
    held = await read(lambda c: find_held(c, dataset, number))
    run = await read(lambda c: _find_run(c, dataset, held.row))
    if source is not None and run.source != source:
        raise ResourceNotFound(f"Instance {number} of {dataset!r} was not made of {source!r}.")
    original = await read(lambda c: _find_original(c, run, held.row))
    data = await _read_file(repository, original)
    return await run_apart(draw_preview, data, frame_number, held.row.told.drawn)


Wanted = Mapping[int, str]
"""Branch that an instance goes into at once, by its number."""


async def _find_wanted(repository: Repository, dataset: str, numbers: Sequence[int]) -> Wanted:
    """Return which instances their source still has where the last run into a branch read it."""

    def read(connection: sa.Connection) -> dict[int, tuple[MadeInstance, RunRow]]:
        owner = find_dataset(connection, dataset)
        rows = [find_made(connection, owner.id, number) for number in numbers]
        return {row.id: (row, run) for row in rows if (run := _find_last(connection, owner, row))}

    found = await repository.archive.database.read(read)
    wanted: dict[int, str] = {}
    for run in {run.id: run for _, run in found.values()}.values():
        rows = [row for row, of in found.values() if of.id == run.id]
        assert run.source is not None

        pick = partial(_pick_there, repository, rows)
        _, there = await read_view(repository, run.source, run.source_commit.hex(), pick)
        wanted |= dict.fromkeys(there, run.branch)
    return wanted


def _find_last(connection: sa.Connection, owner: DatasetRow, row: MadeInstance) -> RunRow | None:
    """Return the last run into the branch that an instance was made for."""
    if row.run_id is None:
        return None
    last = find_last_run(connection, owner.id, find_run(connection, owner.id, row.run_id).branch)
    return last if last is not None and last.source is not None else None


def _pick_there(
    repository: Repository, rows: Sequence[MadeInstance], connection: sa.Connection, view: View
) -> set[int]:
    """Return the numbers of instances whose originals a view has."""
    tree = view.tree(connection, repository)
    originals = find_instances(connection, view.dataset.id, [row.source for row in rows])
    there = set()
    for row in rows:
        original = originals.get(row.source)
        entry = None if original is None else tree.entry(*original.names)
        if entry is not None and key_of_entry(entry) == row.source:
            there.add(row.id)
    return there


def _note(
    connection: sa.Connection, dataset: str, numbers: Sequence[int], decision: str, author: str
) -> list[MadeInstance]:
    """Note a decision about instances that wait; return their rows as they were."""
    owner = lock_dataset(connection, find_dataset(connection, dataset).id)
    now_us = read_clock_us(connection)
    rows = [find_made(connection, owner.id, number) for number in numbers]
    for row in rows:
        _check_waiting(row, decision)
        note_decision(connection, row.id, decision, author, now_us)
    return rows


def _check_waiting(row: MadeInstance, decision: str) -> None:
    if row.verdict is Verdict.PASS:
        raise ResourceNotFound(f"Instance {row.id} was not held back.")
    if row.decision != WAITING:
        raise Conflict(f"Instance {row.id} does not wait: it was {row.decision}.")
    if decision != REJECTED and row.made is None:
        raise Conflict(f"Instance {row.id} is in quarantine: there is nothing to release.")


def _release(
    connection: sa.Connection,
    repository: Repository,
    dataset: str,
    rows: Sequence[MadeInstance],
    wanted: Wanted,
    author: str,
) -> Decided:
    """Commit what may go on now."""
    owner = lock_dataset(connection, find_dataset(connection, dataset).id)
    commits: dict[str, str] = {}
    for branch in sorted(set(wanted.values())):
        own = [row for row in rows if wanted.get(row.id) == branch]
        committed = _commit(connection, repository, owner, branch, own, author)
        commits[branch] = committed.commit_id.hex()
    (decision,) = {find_made(connection, owner.id, row.id).decision for row in rows}
    later = sum(row.id not in wanted for row in rows)
    return Decided(tuple(row.id for row in rows), decision, commits, later)


def _commit(
    connection: sa.Connection,
    repository: Repository,
    owner: DatasetRow,
    branch: str,
    rows: Sequence[MadeInstance],
    author: str,
) -> Committed:
    last = find_last_run(connection, owner.id, branch)
    assert last is not None
    provenance: dict[str, object] = {
        "source": last.source_commit.hex(),
        "profile": last.profile.name,
        "profile_digest": last.profile.digest,
        "reviewed": len(rows),
    }
    message = f"Released {len(rows)} instances after review."
    work = Session(owner, branch, KIND, author, message, provenance=provenance)
    keys = [row.made for row in rows if row.made is not None]

    def decide(judge: Judge, _tree: Tree) -> list[Outcome]:
        stored = load_instances(connection, owner.id, keys).values()
        return [Outcome(*one.names, one.sop_class_uid, judge.accept(one)) for one in stored]

    return commit_decided(connection, repository, work, decide)


def _find_run(connection: sa.Connection, dataset: str, row: MadeInstance) -> RunRow:
    if row.run_id is None:
        raise Conflict(f"Where instance {row.id} came from was not noted: it is of an older run.")
    return find_run(connection, find_dataset(connection, dataset).id, row.run_id)


def _find_original(connection: sa.Connection, run: RunRow, row: MadeInstance) -> StoredInstance:
    found = find_instances(connection, run.source_id, [row.source])
    if row.source not in found:
        raise ResourceNotFound(f"The original of instance {row.id} is gone.")
    return found[row.source]


async def _read_file(repository: Repository, stored: StoredInstance) -> bytes:
    entry = stored.to_entry()
    return await repository.blobs.read(entry.segments, 0, entry.size_bytes)


def _tell_places(redacted: Redacted) -> str:
    """Name what is left, as boxes are typed."""
    places = [
        f"{frame_number}:{box.left},{box.top},{box.right - box.left},{box.height}"
        for frame_number, boxes in enumerate(redacted.left, 1)
        for box in boxes
    ]
    more = f" and {len(places) - 5} more" if len(places) > 5 else ""
    return " ".join(places[:5]) + more


def _join(row: MadeInstance, redacted: Redacted) -> DrawnFrames:
    """Return all boxes of an instance, those drawn before and those drawn now."""
    return condense(
        [
            sorted({*list_boxes(row.told.drawn, frame_number), *boxes})
            for frame_number, boxes in enumerate(redacted.drawn, 1)
        ]
    )


async def _yield_once(data: bytes) -> AsyncIterator[bytes]:
    yield data

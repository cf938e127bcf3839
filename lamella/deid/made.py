"""What de-identification has made, by what it was made of: so that nothing is made twice.

A row stands for one source instance under one recipe (profile, key, engines). It names the result
by its key, which is durable before any commit shows it, and never the source but by the digest of
its bytes. A run that was stopped goes on from here; the next one makes what is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from lamella.archive.upsert import insert_missing, split_batches
from lamella.deid.results import Verdict
from lamella.errors import Conflict, ResourceNotFound
from lamella.vcs.tables import deid_made

WAITING, ACCEPTED, REJECTED = "", "accepted", "rejected"


class Told(msgspec.Struct, array_like=True, frozen=True):
    """What a report says of one instance; no value of it.

    Attributes:
        reasons: Codes of why it may not go on.
        changes: (path, action, how often).
        boxes: Rectangles that were blacked.
        codes: Values of (0012,0064).
    """

    reasons: tuple[str, ...] = ()
    changes: tuple[tuple[str, str, int], ...] = ()
    boxes: int = 0
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MadeInstance:
    """One row.

    Attributes:
        source: Key of the source instance.
        made: Key of the result in the destination's dataset; None where there is none.
        decision: What a person decided; empty while nobody has.
    """

    id: int
    source: bytes
    verdict: Verdict
    decision: str
    made: bytes | None
    told: Told

    @property
    def is_released(self) -> bool:
        """Whether the result may be in a commit."""
        if self.made is None or self.decision == REJECTED:
            return False
        return self.verdict is Verdict.PASS or self.decision == ACCEPTED


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Told)


def load_made(
    connection: sa.Connection, dataset_id: int, recipe: bytes, sources: Sequence[bytes]
) -> dict[bytes, MadeInstance]:
    """Return what has been made of these sources under a recipe, by source."""
    found: dict[bytes, MadeInstance] = {}
    for batch in split_batches(list(sources)):
        query = sa.select(deid_made).where(
            deid_made.c.dataset_id == dataset_id,
            deid_made.c.recipe == recipe,
            deid_made.c.source.in_(batch),
        )
        found.update((row.source, _read(row)) for row in connection.execute(query))
    return found


def load_made_keys(connection: sa.Connection, dataset_id: int) -> set[bytes]:
    """Return the keys of all results in a dataset, by whatever recipe."""
    query = sa.select(deid_made.c.made).where(
        deid_made.c.dataset_id == dataset_id, deid_made.c.made.is_not(None)
    )
    return set(connection.execute(query).scalars())


def save_made(
    connection: sa.Connection,
    dataset_id: int,
    recipe: bytes,
    rows: Iterable[tuple[bytes, Verdict, bytes | None, Told]],
) -> None:
    """Note results: source, verdict, key of the result, what is told; those known stay."""
    values: list[dict[str, object]] = [
        {
            "dataset_id": dataset_id,
            "recipe": recipe,
            "source": source,
            "verdict": str(verdict),
            "decision": WAITING,
            "made": made,
            "told": _ENCODER.encode(told),
        }
        for source, verdict, made, told in rows
    ]
    for batch in split_batches(values):
        insert_missing(connection, deid_made, batch)


def list_waiting(connection: sa.Connection, dataset_id: int) -> list[MadeInstance]:
    """Return what waits for a person, oldest first."""
    query = (
        sa.select(deid_made)
        .where(deid_made.c.dataset_id == dataset_id, deid_made.c.verdict != str(Verdict.PASS))
        .where(deid_made.c.decision == WAITING)
        .order_by(deid_made.c.id)
    )
    return [_read(row) for row in connection.execute(query)]


def decide_all(
    connection: sa.Connection, dataset_id: int, numbers: Sequence[int], decision: str
) -> None:
    """Note what a person decided about instances, all or none.

    Raises:
        ResourceNotFound: One of them does not wait.
        Conflict: One is to be accepted that has no result.
    """
    waiting = {one.id: one for one in list_waiting(connection, dataset_id)}
    for number in numbers:
        one = waiting.get(number)
        if one is None:
            raise ResourceNotFound(f"No instance {number} waits for a decision.")
        if decision == ACCEPTED and one.made is None:
            raise Conflict(f"Instance {number} is in quarantine: there is nothing to release.")
    change = sa.update(deid_made).where(deid_made.c.id.in_(numbers)).values(decision=decision)
    connection.execute(change)


def _read(row: Any) -> MadeInstance:
    told = _DECODER.decode(row.told)
    return MadeInstance(row.id, row.source, Verdict(row.verdict), row.decision, row.made, told)


def count_changes(rows: Iterable[MadeInstance]) -> Mapping[tuple[str, str], int]:
    """Return how often what was done to which attribute, over all rows."""
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        for path, action, count in row.told.changes:
            counts[path, action] = counts.get((path, action), 0) + count
    return counts

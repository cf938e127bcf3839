"""What de-identification has made, by what it was made of: so that nothing is made twice.

A row stands for one source instance under one recipe (profile, key, engines). It names the result
by its key, which is durable before any commit shows it, and never the source but by the digest of
its bytes. A run that was stopped goes on from here; the next one makes what is new.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from lamella.archive.upsert import insert_missing, split_batches
from lamella.deid.pixels.boxes import Box
from lamella.deid.results import Verdict
from lamella.errors import ResourceNotFound
from lamella.vcs.tables import deid_made

WAITING, ACCEPTED, REDACTED, REJECTED = "", "accepted", "redacted", "rejected"

DrawnFrames = tuple[tuple[int, tuple[tuple[int, int, int, int], ...]], ...]
"""Frame number, and boxes (left, top, right, bottom) from it up to the next one named."""


class Told(msgspec.Struct, array_like=True, frozen=True):
    """What a report says of one instance; no value of it.

    Attributes:
        reasons: Codes of why it may not go on.
        changes: (path, action, how often).
        boxes: Rectangles that were blacked.
        codes: Values of (0012,0064).
        drawn: Where these are, of an instance that a person has to look at.
    """

    reasons: tuple[str, ...] = ()
    changes: tuple[tuple[str, str, int], ...] = ()
    boxes: int = 0
    codes: tuple[str, ...] = ()
    drawn: DrawnFrames = ()


@dataclass(frozen=True, slots=True)
class MadeInstance:
    """One row.

    Attributes:
        source: Key of the source instance.
        verdict: Of the pipeline.
        decision: What a person decided; empty while nobody has.
        made: Key of the result in the destination's dataset; None where there is none.
        run_id: The run that made it; None for one of before runs were noted.
        decided_by: The person.
        decided_us: When.
    """

    id: int
    source: bytes
    verdict: Verdict
    decision: str
    made: bytes | None
    told: Told
    run_id: int | None = None
    decided_by: str | None = None
    decided_us: int | None = None

    @property
    def is_released(self) -> bool:
        """Whether the result may be in a commit."""
        if self.made is None or self.decision == REJECTED:
            return False
        return self.verdict is Verdict.PASS or self.decision in (ACCEPTED, REDACTED)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Told)
_WAITS = sa.and_(deid_made.c.verdict != sa.literal_column("'PASS'"), deid_made.c.decision == "")
"""As the index of those that wait has it."""


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


def pick_ours(
    connection: sa.Connection, dataset_id: int, keys: Collection[bytes]
) -> frozenset[bytes]:
    """Return those of these keys that are results, by whatever recipe."""
    if not keys:
        return frozenset()
    query = sa.select(deid_made.c.made).where(
        deid_made.c.dataset_id == dataset_id, deid_made.c.made.is_not(None)
    )
    rows = connection.execute(query.execution_options(yield_per=1_000)).scalars()
    return frozenset(key for key in rows if key in keys)


def save_made(
    connection: sa.Connection,
    dataset_id: int,
    recipe: bytes,
    run_id: int,
    rows: Iterable[MadeInstance],
) -> None:
    """Note results; those known stay."""
    values: list[dict[str, object]] = [
        {
            "dataset_id": dataset_id,
            "recipe": recipe,
            "source": row.source,
            "verdict": str(row.verdict),
            "decision": row.decision,
            "made": row.made,
            "told": _ENCODER.encode(row.told),
            "run_id": run_id,
            "decided_by": None,
            "decided_us": None,
        }
        for row in rows
    ]
    for batch in split_batches(values):
        insert_missing(connection, deid_made, batch)


def list_waiting(
    connection: sa.Connection, dataset_id: int, *, after: int = 0, limit: int | None = None
) -> list[MadeInstance]:
    """Return what waits for a person, oldest first.

    Args:
        connection: In a transaction.
        dataset_id: The destination.
        after: Only those of a higher number.
        limit: How many at most.
    """
    query = (
        sa.select(deid_made)
        .where(deid_made.c.dataset_id == dataset_id, _WAITS, deid_made.c.id > after)
        .order_by(deid_made.c.id)
        .limit(limit)
    )
    return [_read(row) for row in connection.execute(query)]


def find_made(connection: sa.Connection, dataset_id: int, number: int) -> MadeInstance:
    """Return one row.

    Raises:
        ResourceNotFound: There is none of this number.
    """
    query = sa.select(deid_made).where(
        deid_made.c.dataset_id == dataset_id, deid_made.c.id == number
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise ResourceNotFound(f"De-identification has made no instance {number} here.")
    return _read(row)


def note_decision(
    connection: sa.Connection, number: int, decision: str, author: str, now_us: int
) -> None:
    """Note what a person decided about an instance."""
    values = {"decision": decision, "decided_by": author, "decided_us": now_us}
    connection.execute(sa.update(deid_made).where(deid_made.c.id == number).values(values))


def replace_result(connection: sa.Connection, number: int, made: bytes, told: Told) -> None:
    """Put another result in the place of the one that an instance had."""
    values = {"made": made, "told": _ENCODER.encode(told)}
    connection.execute(sa.update(deid_made).where(deid_made.c.id == number).values(values))


def condense(frames: Sequence[Sequence[Box]]) -> DrawnFrames:
    """Return the boxes of each frame without saying the same of the next one again."""
    drawn: list[tuple[int, tuple[tuple[int, int, int, int], ...]]] = []
    for frame_number, own in enumerate(frames, 1):
        boxes = tuple((box.left, box.top, box.right, box.bottom) for box in own)
        if not drawn or drawn[-1][1] != boxes:
            drawn.append((frame_number, boxes))
    return tuple(drawn) if any(boxes for _, boxes in drawn) else ()


def list_boxes(drawn: DrawnFrames, frame_number: int) -> tuple[Box, ...]:
    """Return the boxes of one frame."""
    found: tuple[tuple[int, int, int, int], ...] = ()
    for first, boxes in drawn:
        if first > frame_number:
            break
        found = boxes
    return tuple(Box(*box) for box in found)


def _read(row: Any) -> MadeInstance:
    return MadeInstance(
        row.id,
        row.source,
        Verdict(row.verdict),
        row.decision,
        row.made,
        _DECODER.decode(row.told),
        row.run_id,
        row.decided_by,
        row.decided_us,
    )

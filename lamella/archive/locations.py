"""Rows of packs and of where blobs lie in them: what makes bytes exist.

A blob exists iff a committed row of `location` names its pack, offset and length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from lamella.archive.statements import Statement
from lamella.archive.tables import location, pack
from lamella.archive.upsert import insert_missing, split_batches
from lamella.errors import OutOfResources

_FIND_KNOWN = Statement(
    sa.select(location.c.digest).where(
        location.c.digest.in_(sa.bindparam("digests", expanding=True))
    )
)
_TOUCH = Statement(
    sa.update(location)
    .where(location.c.digest.in_(sa.bindparam("digests", expanding=True)))
    .values(used_us=sa.bindparam("now"))
    .returning(location.c.digest)
)


def _build_pack_growth(insert: Any) -> Statement:
    """Return what notes a pack, or that it has grown, and returns its id."""
    adding = insert(pack)
    end = adding.excluded.size_bytes
    growth = sa.case((pack.c.size_bytes < end, end), else_=pack.c.size_bytes)
    adding = adding.on_conflict_do_update(index_elements=["name"], set_={"size_bytes": growth})
    return Statement(adding.returning(pack.c.id), ["name", "size_bytes", "created_us"])


_GROW_PACK = {
    "sqlite": _build_pack_growth(sqlite.insert),
    "postgresql": _build_pack_growth(postgresql.insert),
}


@dataclass(frozen=True, slots=True)
class NewBlob:
    """A blob that no row names yet, and the range of a pack that it fills."""

    digest: bytes
    pack_name: str
    offset_bytes: int
    length_bytes: int


def find_known(connection: sa.Connection, digests: Sequence[bytes]) -> set[bytes]:
    """Return those digests that have a location."""
    known: set[bytes] = set()
    for batch in split_batches(digests):
        known.update(_FIND_KNOWN.fetch_values(connection, {"digests": batch}))
    return known


def touch(connection: sa.Connection, digests: Sequence[bytes], now_us: int) -> None:
    """Mark blobs as used now, which keeps gc away from them; all must still be there."""
    for batch in split_batches(digests):
        touched = _TOUCH.fetch_all(connection, {"digests": batch, "now": now_us})
        if len(touched) != len(batch):
            raise OutOfResources("Stored bytes were collected meanwhile: send again.")


def record_locations(
    connection: sa.Connection, ends: Mapping[str, int], new: Iterable[NewBlob], now_us: int
) -> None:
    """Note packs, how far they are filled, and where in them new blobs lie.

    The bytes are durable already; the caller commits.

    Args:
        ends: Packs by name, and how many bytes of each are filled.
        new: What lies in them.
    """
    grow = _GROW_PACK[connection.dialect.name]
    ids: dict[str, int] = {}
    for name, end_bytes in ends.items():
        values = {"name": name, "size_bytes": end_bytes, "created_us": now_us}
        ids[name] = grow.fetch_values(connection, values)[0]
    rows = [
        {
            "digest": blob.digest,
            "pack_id": ids[blob.pack_name],
            "offset_bytes": blob.offset_bytes,
            "length_bytes": blob.length_bytes,
            "used_us": now_us,
        }
        for blob in sorted(new, key=lambda blob: blob.digest)
    ]
    insert_missing(connection, location, rows)

"""Locations: every blob lies inside a pack that there is."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from lamella.archive.tables import location, pack
from lamella.upkeep.examination import Examination, Row
from lamella.upkeep.report import Kind

PAGE_ROWS = 5_000


async def examine_locations(run: Examination) -> None:
    """Check each location against its pack's row."""
    query = sa.select(
        location.c.digest,
        location.c.offset_bytes,
        location.c.length_bytes,
        location.c.pack_id,
        pack.c.name,
        pack.c.size_bytes,
    ).outerjoin(pack, pack.c.id == location.c.pack_id)
    pages = run.scan(query, [location.c.digest], _find_faults, page_rows=PAGE_ROWS)
    async for _, (count, faults) in pages:
        for digest, sentence in faults:
            run.bad_blobs.add(digest)
            run.add(Kind.LOCATION_WRONG, digest.hex(), sentence)
        run.count("locations", count)


def _find_faults(
    _connection: sa.Connection, rows: Sequence[Row]
) -> tuple[int, list[tuple[bytes, str]]]:
    faults = []
    for digest, offset_bytes, length_bytes, pack_id, name, size_bytes in rows:
        if name is None:
            sentence = f"Stored bytes {digest.hex()} are said to lie in pack {pack_id}, unknown."
            faults.append((digest, sentence))
        elif offset_bytes < 0 or length_bytes < 0 or offset_bytes + length_bytes > size_bytes:
            sentence = (
                f"Stored bytes {digest.hex()} are said to lie at {offset_bytes} + {length_bytes}"
                f" of pack {name}, which has {size_bytes} bytes."
            )
            faults.append((digest, sentence))
    return len(rows), faults

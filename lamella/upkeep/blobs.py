"""Stored bytes: every blob of every pack still has its digest (`--bytes`)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

import sqlalchemy as sa

from lamella.archive.packs.store import CHUNK_BYTES, PackStore
from lamella.archive.tables import location, pack
from lamella.archive.threads import run_in_thread
from lamella.errors import IntegrityError
from lamella.upkeep.examination import Examination, Row
from lamella.upkeep.pack_window import PackWindow
from lamella.upkeep.report import Kind
from lamella.upkeep.resume import Bookmark

PACKS_AT_ONCE = 2


async def examine_blobs(run: Examination, bookmark: Bookmark) -> None:
    """Read and hash all blobs, pack by pack, from where the bookmark is."""
    position = bookmark.position
    for pack_id in list(position.damaged_pack_ids):
        await _examine_pack(run, bookmark, pack_id)
    query = sa.select(pack.c.id).where(pack.c.id > position.pack_id)
    pages = run.scan(query, [pack.c.id], lambda _, rows: [row[0] for row in rows])
    async for _, pack_ids in pages:
        for start in range(0, len(pack_ids), PACKS_AT_ONCE):
            group = pack_ids[start : start + PACKS_AT_ONCE]
            await asyncio.gather(*(_examine_pack(run, bookmark, pack_id) for pack_id in group))
            position.pack_id = group[-1]
            bookmark.note()


async def _examine_pack(run: Examination, bookmark: Bookmark, pack_id: int) -> None:
    if pack_id in run.held_bytes:
        return  # missing or short, which is said already
    rows = await run.read(lambda c: _read_locations(c, pack_id))
    rows = [row for row in rows if row.digest not in run.bad_blobs]
    damaged = await run_in_thread(_find_damaged, run.archive.packs, rows)
    for row in damaged:
        run.bad_blobs.add(row.digest)
        run.add(
            Kind.BYTES_DAMAGED,
            row.name,
            f"Pack {row.name} is damaged: its {row.length_bytes} bytes at {row.offset_bytes} do "
            f"not have the digest {row.digest.hex()} any more.",
        )
    if damaged and pack_id not in bookmark.position.damaged_pack_ids:
        bookmark.position.damaged_pack_ids.append(pack_id)
    run.count("blobs", len(rows))


def _read_locations(connection: sa.Connection, pack_id: int) -> Sequence[Row]:
    query = (
        sa.select(location.c.digest, location.c.offset_bytes, location.c.length_bytes, pack.c.name)
        .join(pack, pack.c.id == location.c.pack_id)
        .where(location.c.pack_id == pack_id)
        .order_by(location.c.offset_bytes)
    )
    return connection.execute(query).all()


def _find_damaged(packs: PackStore, rows: Sequence[Row]) -> list[Row]:
    """Read blobs that lie in one pack, in its order; return those that are not what they were."""
    if not rows:
        return []
    window = PackWindow(
        packs, rows[0].name, max(row.offset_bytes + row.length_bytes for row in rows)
    )
    return [row for row in rows if not _is_whole(window, row)]


def _is_whole(window: PackWindow, row: Row) -> bool:
    digest = hashlib.sha256()
    end = row.offset_bytes + row.length_bytes
    try:
        for start in range(row.offset_bytes, end, CHUNK_BYTES):
            digest.update(window.read(start, min(CHUNK_BYTES, end - start)))
    except IntegrityError:
        return False
    return digest.digest() == bytes(row.digest)

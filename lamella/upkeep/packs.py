"""Packs: every pack that a row knows is in the store, as long as it should be.

It may be longer: behind what rows know, a growing pack has what is on its way, or was cut off.
"""

from __future__ import annotations

from array import array

import numpy as np
import sqlalchemy as sa

from lamella.archive.packs.store import PackStore
from lamella.archive.tables import pack
from lamella.archive.threads import run_in_thread
from lamella.errors import IntegrityError
from lamella.upkeep.examination import Examination
from lamella.upkeep.report import Kind

NAME_CHARACTERS = 32  # `name_pack` makes no others
PROBE_BYTES = 1


class PackListing:
    """What a store lists, in 40 bytes a pack: a big archive has a million."""

    def __init__(self, names: bytes, sizes_bytes: array[int], foreign: list[str]) -> None:
        unordered = np.frombuffer(names, dtype=f"S{NAME_CHARACTERS}")
        order = np.argsort(unordered)
        self._names = unordered[order]
        self._sizes = np.frombuffer(sizes_bytes, dtype=np.int64)[order]
        self._known = np.zeros(len(order), dtype=bool)
        self.foreign = foreign

    def claim(self, name: str) -> int | None:
        """Return a pack's size in bytes, and remember that a row knows it; None if not listed."""
        key = name.encode()
        index = int(np.searchsorted(self._names, key))
        if index == len(self._names) or self._names[index] != key:
            return None
        self._known[index] = True
        return int(self._sizes[index])

    def list_unclaimed(self) -> list[str]:
        """Return the names that nobody claimed."""
        return self.foreign + [name.decode() for name in self._names[~self._known]]


async def list_store(store: PackStore) -> PackListing:
    """Read a store's whole listing."""
    names, sizes, foreign = bytearray(), array("q"), list[str]()
    async for info in store.list():
        if len(info.name) == NAME_CHARACTERS and info.name.isascii():
            names += info.name.encode()
            sizes.append(info.size_bytes)
        else:
            foreign.append(info.name)
    return PackListing(bytes(names), sizes, foreign)


async def examine_packs(run: Examination) -> None:
    """Compare the table of packs with the store's listing; note packs that are gone or short.

    The listing is older than the rows by the time they are compared, so a pack that seems lost
    or short is looked at again before it is called so.
    """
    listing = await list_store(run.archive.packs)
    query = sa.select(pack.c.id, pack.c.name, pack.c.size_bytes)
    async for _, rows in run.scan(query, [pack.c.id], lambda _, rows: rows):
        for pack_id, name, size_bytes in rows:
            held = listing.claim(name)
            if held is None or held < size_bytes:
                await _examine_pack(run, pack_id, name, size_bytes, held)
        run.count("packs", len(rows))
    for name in await _confirm_unknown(run, listing.list_unclaimed()):
        run.add(
            Kind.PACK_UNKNOWN,
            name,
            f"Pack {name} belongs to no row: a store that is under way, or one that was cut off.",
        )


async def _examine_pack(
    run: Examination, pack_id: int, name: str, size_bytes: int, held_bytes: int | None
) -> None:
    try:
        last = max(size_bytes - PROBE_BYTES, 0)
        await run_in_thread(run.archive.packs.read_stored, name, last, PROBE_BYTES)
    except IntegrityError:
        if held_bytes is not None:
            sentence = f"Pack {name} has {held_bytes} bytes instead of {size_bytes}."
            run.held_bytes[pack_id] = held_bytes
            run.add(Kind.PACK_SIZE, name, sentence)
        elif await run.read(lambda c: _has_row(c, pack_id)):
            run.held_bytes[pack_id] = 0
            run.add(Kind.PACK_MISSING, name, f"Pack {name} with {size_bytes} bytes is missing.")


async def _confirm_unknown(run: Examination, names: list[str]) -> list[str]:
    """Return those packs that have no row by now either."""

    def find_unknown(connection: sa.Connection) -> list[str]:
        query = sa.select(pack.c.id)
        return [
            name
            for name in names
            if connection.execute(query.where(pack.c.name == name)).first() is None
        ]

    return await run.read(find_unknown) if names else []


def _has_row(connection: sa.Connection, pack_id: int) -> bool:
    return connection.execute(sa.select(pack.c.id).where(pack.c.id == pack_id)).first() is not None

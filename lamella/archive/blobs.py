"""Reading stored bytes: from (digest, length) segments to ranges of packs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from lamella.archive.database import Database
from lamella.archive.packs.store import PackStore
from lamella.archive.statements import Statement
from lamella.archive.tables import location, pack
from lamella.archive.upsert import split_batches
from lamella.errors import IntegrityError

CACHED_LOCATIONS = 8_192


_FIND_LOCATIONS = Statement(
    sa.select(location.c.digest, pack.c.name, location.c.offset_bytes, location.c.length_bytes)
    .join(pack, pack.c.id == location.c.pack_id)
    .where(location.c.digest.in_(sa.bindparam("digests", expanding=True)))
)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a blob lies."""

    pack_name: str
    offset_bytes: int
    length_bytes: int


class Blobs:
    """Reads ranges of instances; keeps the locations it has looked up."""

    def __init__(self, database: Database, packs: PackStore) -> None:
        self._database = database
        self._packs = packs
        self._locations: OrderedDict[bytes, Location] = OrderedDict()

    async def locate(self, segments: Sequence[tuple[bytes, int]]) -> list[Location]:
        """Return where each segment lies.

        Raises:
            IntegrityError: A segment has no location, or one of another length.
        """
        known = {d: self._locations[d] for d, _ in segments if d in self._locations}
        missing = [digest for digest, _ in segments if digest not in known]
        if missing:
            fetched = await self._database.read(lambda c: find_locations(c, missing))
            known |= fetched
            self.keep(fetched)
        found = []
        for digest, length in segments:
            place = known.get(digest)
            if place is None or place.length_bytes != length:
                raise IntegrityError(f"Stored bytes {digest.hex()[:16]} have no location.")
            found.append(place)
        return found

    async def stream(
        self, segments: Sequence[tuple[bytes, int]], offset_bytes: int = 0, length_bytes: int = -1
    ) -> AsyncIterator[bytes]:
        """Yield a range of the concatenated segments in chunks of at most 1 MiB.

        Args:
            segments: (digest, length) of the whole instance.
            offset_bytes: Start of the range.
            length_bytes: Its length; -1 means to the end.
        """
        sent = 0
        try:
            async for chunk in self._stream(segments, offset_bytes, length_bytes):
                sent += len(chunk)
                yield chunk
        except IntegrityError:
            if not await self._find_moved(segments):
                raise
            rest = length_bytes if length_bytes < 0 else length_bytes - sent
            async for chunk in self._stream(segments, offset_bytes + sent, rest):
                yield chunk

    async def _stream(
        self, segments: Sequence[tuple[bytes, int]], offset_bytes: int, length_bytes: int
    ) -> AsyncIterator[bytes]:
        for part in _cut_ranges(await self.locate(segments), offset_bytes, length_bytes):
            async for chunk in self._packs.stream(
                part.pack_name, part.offset_bytes, part.length_bytes
            ):
                yield chunk

    async def read(
        self, segments: Sequence[tuple[bytes, int]], offset_bytes: int, length_bytes: int
    ) -> bytes:
        """Return a range of the concatenated segments as one piece."""
        try:
            return await self._read(segments, offset_bytes, length_bytes)
        except IntegrityError:
            if not await self._find_moved(segments):
                raise
            return await self._read(segments, offset_bytes, length_bytes)

    async def _read(
        self, segments: Sequence[tuple[bytes, int]], offset_bytes: int, length_bytes: int
    ) -> bytes:
        pieces = [
            await self._packs.read(part.pack_name, part.offset_bytes, part.length_bytes)
            for part in _cut_ranges(await self.locate(segments), offset_bytes, length_bytes)
        ]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _find_moved(self, segments: Sequence[tuple[bytes, int]]) -> bool:
        """Look where segments lie now; tell whether that is news.

        Bytes are moved to other packs, or go and come again, while locations are kept here.
        """
        before = {digest: self._locations.pop(digest, None) for digest, _ in segments}
        await self.locate(segments)
        return any(self._locations.get(digest) != place for digest, place in before.items())

    async def open(self, segments: Sequence[tuple[bytes, int]]) -> StoredSource:
        """Return the instance as a `ByteSource` for parsers and codecs that run in a thread."""

        def find_again() -> list[Location]:
            digests = [digest for digest, _ in segments]
            found = self._database.read_now(lambda c: find_locations(c, digests))
            return [found[digest] for digest in digests if digest in found]

        return StoredSource(self._packs, await self.locate(segments), find_again)

    def keep(self, found: Mapping[bytes, Location]) -> None:
        """Keep locations, by digest, that `find_locations` found."""
        self._locations.update(found)
        while len(self._locations) > CACHED_LOCATIONS:
            self._locations.popitem(last=False)


class StoredSource:
    """A stored instance as a `ByteSource`; reads in the calling thread.

    Args:
        packs: Where it lies.
        places: Of its segments.
        find_again: Looks where they lie now: they may have been moved.
    """

    def __init__(
        self,
        packs: PackStore,
        places: Sequence[Location],
        find_again: Callable[[], Sequence[Location]],
    ) -> None:
        self._packs = packs
        self._places = places
        self._find_again = find_again
        self.size = sum(place.length_bytes for place in places)

    def read_at(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        try:
            return self._read(offset, length)
        except IntegrityError:
            places = self._find_again()
            if len(places) != len(self._places) or places == self._places:
                raise
            self._places = places
            return self._read(offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        pieces = [
            self._packs.read_now(part.pack_name, part.offset_bytes, part.length_bytes)
            for part in _cut_ranges(self._places, offset, length)
        ]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def find_locations(connection: sa.Connection, digests: Sequence[bytes]) -> dict[bytes, Location]:
    """Return the locations of those digests that have one."""
    found: dict[bytes, Location] = {}
    for batch in split_batches(list(dict.fromkeys(digests))):
        rows = _FIND_LOCATIONS.fetch_all(connection, {"digests": batch})
        for digest, name, offset, length in rows:
            found[digest] = Location(name, offset, length)
    return found


def _cut_ranges(places: Sequence[Location], offset_bytes: int, length_bytes: int) -> list[Location]:
    """Return where a range lies; what lies one after the other in a pack is one piece.

    Args:
        places: Of all segments of an instance.
        offset_bytes: Start of the range in it.
        length_bytes: Of the range; -1 means to the end.

    Raises:
        IntegrityError: It lies outside the instance.
    """
    total = sum(place.length_bytes for place in places)
    end = total if length_bytes < 0 else offset_bytes + length_bytes
    if not 0 <= offset_bytes <= end <= total:
        raise IntegrityError("A range lies outside its instance.")
    cuts: list[Location] = []
    base = 0
    for place in places:
        start = max(offset_bytes, base)
        stop = min(end, base + place.length_bytes)
        if start < stop:
            cut = Location(place.pack_name, place.offset_bytes + start - base, stop - start)
            if cuts and _is_adjacent(cuts[-1], cut):
                before = cuts.pop()
                length = before.length_bytes + cut.length_bytes
                cut = Location(cut.pack_name, before.offset_bytes, length)
            cuts.append(cut)
        base += place.length_bytes
    return cuts


def _is_adjacent(first: Location, second: Location) -> bool:
    behind = first.offset_bytes + first.length_bytes
    return first.pack_name == second.pack_name and behind == second.offset_bytes

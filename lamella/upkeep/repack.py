"""Repacking: packs that are small, or mostly dead, are written together into large ones.

    repacked = await repack(archive, older_than_s=86_400)

C-STORE makes a pack of each instance where packs cannot grow, so that a series is as many
requests as it has instances. Here the blobs of such packs go into packs as large as the store
likes them, those of a series one after the other.

A new pack is durable before one transaction lets the rows of its blobs point into it. An old one
that no row points into any more is noted as unused since then, and gc deletes it a day later:
whoever had looked up a place goes on reading there. Killed at any point, a run leaves at most a
pack that no row names, which gc finds. Packs that still grow, and those that a published index
names, are left alone.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import IO

import sqlalchemy as sa

from lamella.archive.database import read_clock_us
from lamella.archive.installation import Archive
from lamella.archive.packs.store import CHUNK_BYTES, PackStore, name_pack
from lamella.archive.spool import create_spool
from lamella.archive.tables import location, pack
from lamella.archive.threads import run_in_thread
from lamella.archive.upsert import split_batches
from lamella.errors import IntegrityError, OutOfResources
from lamella.upkeep.pack_window import PackWindow
from lamella.upkeep.series_of_blobs import SeriesOfBlobs, read_series_of_blobs
from lamella.vcs.tables import published_pack

logger = logging.getLogger("lamella.gc")

FEWEST_PACKS = 8
"""Small packs that are worth being joined although they do not fill half a large one."""

PACKS_AT_ONCE = 10_000
"""Of which the blobs are put in order together."""

PAGE_ROWS = 1_000

Progress = Callable[[str, int], None]


@dataclass(slots=True)
class Repacked:
    """What a run rewrote, or would.

    Attributes:
        repacked: Packs whose blobs were moved.
        into: Packs that were made for them.
        moved_bytes: Of blobs.
    """

    repacked: int = 0
    into: int = 0
    moved_bytes: int = 0

    def describe(self) -> dict[str, int]:
        """Return it in the shape of `--json`."""
        return asdict(self)


async def repack(
    archive: Archive,
    *,
    older_than_s: float,
    dry_run: bool = False,
    progress: Progress = lambda what, count: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Repacked:
    """Join small packs, and leave dead room behind; reads and stores go on meanwhile.

    Args:
        archive: Of the installation; servers may be running on it.
        older_than_s: Packs that were made since are left alone.
        dry_run: Only count what would be rewritten.
        progress: Told the name of a step, and how far it is.
        is_stopped: Whether to end before the next pack.

    Raises:
        OutOfResources: The database or the pack store does not answer, or has no room.
    """
    cutoff_us = await archive.database.read(read_clock_us) - int(older_than_s * 1e6)
    run = _Run(archive, cutoff_us, dry_run, progress, is_stopped)
    await run.rewrite_all()
    return run.repacked


@dataclass(frozen=True, slots=True)
class _Pack:
    """A pack that may be rewritten."""

    id: int
    name: str
    size_bytes: int
    live_bytes: int

    @property
    def is_wasteful(self) -> bool:
        """Whether half of it is dead."""
        return self.live_bytes * 2 < self.size_bytes


@dataclass(frozen=True, slots=True)
class _Blob:
    """A blob, and where it lies."""

    digest: bytes
    pack_id: int
    offset_bytes: int
    length_bytes: int

    @property
    def end_bytes(self) -> int:
        return self.offset_bytes + self.length_bytes


class _Run:
    """One run.

    Args:
        archive: Of the installation.
        cutoff_us: Packs that were made since, by the database's clock, are left alone.
        dry_run: Whether nothing is written.
        progress: Told how far it is.
        is_stopped: Whether to end.
    """

    def __init__(
        self,
        archive: Archive,
        cutoff_us: int,
        dry_run: bool,
        progress: Progress,
        is_stopped: Callable[[], bool],
    ) -> None:
        self._archive = archive
        self._cutoff_us = cutoff_us
        self._dry_run = dry_run
        self._progress = progress
        self._is_stopped = is_stopped
        self._series: SeriesOfBlobs | None = None
        self.repacked = Repacked()

    async def rewrite_all(self) -> None:
        """Rewrite what is worth it, some thousand packs at a time."""
        last_id, packs = 0, list[_Pack]()
        while True:
            rows = await self._archive.database.read(lambda c, last=last_id: self._list(c, last))  # type: ignore[misc]
            for row in rows:
                if not await self._archive.packs.is_growing(row.name):
                    packs.append(row)
            if len(packs) >= PACKS_AT_ONCE or (packs and not rows):
                await self._rewrite(packs)
                packs = []
            if not rows or self._is_stopped():
                return
            last_id = rows[-1].id

    def _list(self, connection: sa.Connection, last_id: int) -> list[_Pack]:
        """Return the next packs that are small or mostly dead, but for those without any blob."""
        live = sa.func.sum(location.c.length_bytes)
        is_small = pack.c.size_bytes * 4 < self._archive.packs.pack_bytes
        is_published = sa.exists().where(published_pack.c.pack_id == pack.c.id)
        query = (
            sa.select(pack.c.id, pack.c.name, pack.c.size_bytes, sa.cast(live, sa.BigInteger))
            .join(location, location.c.pack_id == pack.c.id)
            .where(pack.c.id > last_id, pack.c.created_us < self._cutoff_us)
            .where(pack.c.unused_us.is_(None), sa.not_(is_published))
            .group_by(pack.c.id, pack.c.name, pack.c.size_bytes)
            .having(sa.or_(is_small, live * 2 < pack.c.size_bytes))
            .order_by(pack.c.id)
            .limit(PAGE_ROWS)
        )
        return [_Pack(*row) for row in connection.execute(query)]

    async def _rewrite(self, packs: Sequence[_Pack]) -> None:
        most_bytes = self._archive.packs.pack_bytes
        live_bytes = sum(one.live_bytes for one in packs)
        is_worth = len(packs) >= FEWEST_PACKS or (live_bytes * 2 >= most_bytes and len(packs) > 1)
        if not is_worth:
            packs = [one for one in packs if one.is_wasteful]
        blobs = await self._order_blobs(packs) if packs else []
        names = {one.id: one.name for one in packs}
        for group in _split(blobs, most_bytes):
            if self._is_stopped():
                return
            if not self._dry_run:
                group = await self._move(group, names)
            if group:
                self.repacked.into += 1
                self.repacked.moved_bytes += sum(blob.length_bytes for blob in group)
                self._progress("repacked", self.repacked.into)
        self.repacked.repacked += len(packs)

    async def _order_blobs(self, packs: Sequence[_Pack]) -> list[_Blob]:
        """Return what is in packs, series by series in the order in which they came."""
        if self._series is None:
            self._series = await read_series_of_blobs(self._archive.database)
        found: list[tuple[int, _Blob]] = []
        first: dict[int, int] = {}
        for batch in split_batches([one.id for one in packs]):
            query = sa.select(
                location.c.digest,
                location.c.pack_id,
                location.c.offset_bytes,
                location.c.length_bytes,
            ).where(location.c.pack_id.in_(batch))
            rows = await self._archive.database.read(lambda c, q=query: c.execute(q).all())  # type: ignore[misc]
            for row in rows:
                series = self._series.find(row.digest)
                first[series] = min(first.get(series, row.pack_id), row.pack_id)
                found.append((series, _Blob(*row)))
        found.sort(key=lambda one: (first[one[0]], one[0], one[1].pack_id, one[1].offset_bytes))
        return [blob for _, blob in found]

    async def _move(self, blobs: Sequence[_Blob], names: dict[int, str]) -> list[_Blob]:
        """Copy blobs into a new pack, and let their rows point there; return what was copied."""
        name, packs = name_pack(), self._archive.packs
        try:
            path, file = create_spool(self._archive.spool_folder)
            try:
                with file:
                    copied = await run_in_thread(_copy, packs, blobs, names, file)
                    size_bytes = file.tell()
                    if copied:
                        await packs.adopt(name, path)
            finally:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutOfResources(f"Packs cannot be rewritten: {error.strerror}.") from error
        if copied:
            await self._archive.database.write(lambda c: _point(c, name, size_bytes, copied))
        return copied


def _split(blobs: Sequence[_Blob], most_bytes: int) -> Iterator[list[_Blob]]:
    """Yield blobs in groups of about as many bytes as a pack should have; none is empty."""
    group, size_bytes = list[_Blob](), 0
    for blob in blobs:
        if group and size_bytes + blob.length_bytes > most_bytes:
            yield group
            group, size_bytes = [], 0
        group.append(blob)
        size_bytes += blob.length_bytes
    if group:
        yield group


def _copy(
    packs: PackStore, blobs: Sequence[_Blob], names: dict[int, str], file: IO[bytes]
) -> list[_Blob]:
    """Write blobs one after the other; one that is damaged stays where it is, for fsck to find."""
    ends: dict[int, int] = {}
    for blob in blobs:
        ends[blob.pack_id] = max(ends.get(blob.pack_id, 0), blob.end_bytes)
    window, pack_id, copied = None, 0, list[_Blob]()
    for blob in blobs:
        if window is None or blob.pack_id != pack_id:
            pack_id = blob.pack_id
            window = PackWindow(packs, names[pack_id], ends[pack_id])
        start = file.tell()
        if _copy_blob(window, blob, file):
            copied.append(blob)
        else:
            logger.error("damaged bytes are left where they are", extra={"pack": names[pack_id]})
            file.seek(start)
            file.truncate()
    file.flush()
    return copied


def _copy_blob(window: PackWindow, blob: _Blob, file: IO[bytes]) -> bool:
    """Write a blob; tell whether it is what its digest says."""
    digest = hashlib.sha256()
    try:
        for offset_bytes in range(blob.offset_bytes, blob.end_bytes, CHUNK_BYTES):
            length_bytes = min(CHUNK_BYTES, blob.end_bytes - offset_bytes)
            chunk = window.read(offset_bytes, length_bytes)
            digest.update(chunk)
            file.write(chunk)
    except IntegrityError:
        return False
    return digest.digest() == blob.digest


def _point(connection: sa.Connection, name: str, size_bytes: int, copied: Sequence[_Blob]) -> None:
    """Let the rows of blobs point into a new pack, where they lie one after the other.

    A row that is gone or points elsewhere by now is left as it is.
    """
    now_us = read_clock_us(connection)
    row = {"name": name, "size_bytes": size_bytes, "created_us": now_us}
    new_id = connection.execute(sa.insert(pack).values(row).returning(pack.c.id)).scalar_one()
    moves, offset_bytes = [], 0
    for blob in copied:
        moves.append(
            {
                "moved": blob.digest,
                "old_id": blob.pack_id,
                "old_offset": blob.offset_bytes,
                "new_id": new_id,
                "new_offset": offset_bytes,
            }
        )
        offset_bytes += blob.length_bytes
    move = sa.update(location).where(
        location.c.digest == sa.bindparam("moved"),
        location.c.pack_id == sa.bindparam("old_id"),
        location.c.offset_bytes == sa.bindparam("old_offset"),
    )
    moves.sort(key=lambda one: one["moved"])  # as stores lock these rows, too
    connection.execute(
        move.values(pack_id=sa.bindparam("new_id"), offset_bytes=sa.bindparam("new_offset")), moves
    )
    is_empty = sa.not_(sa.exists().where(location.c.pack_id == pack.c.id))
    for batch in split_batches(sorted({new_id, *(blob.pack_id for blob in copied)})):
        left = sa.update(pack).where(pack.c.id.in_(batch), is_empty)
        connection.execute(left.values(unused_us=now_us))

"""gc: gives back the room of bytes that nothing uses.

    collected = await collect(archive, older_than_s=86_400)

A blob is used if any instance row names it, be the instance in a commit, staged, in conflict,
rejected, or promised to its sender. First the locations of blobs that are not used and that no
store has asked for lately go; then packs without a location; then packs in the store that no row
names, which stores left that were cut off.

It may be killed at any point. A location goes under its row's lock, only if it was not used since
before the instances were read: a store that wants the blob at the same time finds it gone and says
so to its sender, or has used it, and it stays. A pack's row goes before the pack, and a pack that
lost its row but not its bytes is found by the next run. A pack that still grows, in whatever
process, is left alone; so is all that is young, for its rows may be on their way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from lamella.archive.database import read_clock_us
from lamella.archive.installation import Archive
from lamella.archive.outbox import Arguments, Json, forget_ended
from lamella.archive.packs.store import PackInfo
from lamella.archive.tables import location, pack
from lamella.archive.upsert import split_batches
from lamella.errors import Conflict, InvalidRequest
from lamella.upkeep.examination import Row
from lamella.upkeep.holds import find_hold
from lamella.upkeep.packs import NAME_CHARACTERS
from lamella.upkeep.repack import repack
from lamella.upkeep.used_blobs import UsedBlobs, read_used
from lamella.vcs.tables import published_pack
from lamella.vcs.work import JobContext, JobKind

DAY_S = 86_400
LEAST_AGE_S = 3_600
"""A store that takes longer than this from its bytes to its rows may lose them."""

PAGE_ROWS = 1_000

Progress = Callable[[str, int], None]


@dataclass(slots=True)
class Collected:
    """What a run took away, or would.

    Attributes:
        locations: Blobs that nothing uses.
        packs: Packs without any blob that is used.
        strays: Packs that no row knew.
        freed_bytes: Of packs and strays together.
    """

    locations: int = 0
    packs: int = 0
    strays: int = 0
    freed_bytes: int = 0

    def describe(self) -> dict[str, int]:
        """Return it in the shape of `--json`."""
        return asdict(self)


def ignore_progress(_what: str, _count: int) -> None:
    """Show nothing."""


async def collect(
    archive: Archive,
    *,
    older_than_s: float = DAY_S,
    dry_run: bool = False,
    progress: Progress = ignore_progress,
) -> Collected:
    """Give back the room of bytes that nothing uses.

    Args:
        archive: Of the installation; servers may be running on it.
        older_than_s: What was stored or asked for since is left alone.
        dry_run: Only count what would go.
        progress: Told the name of a step, and how far it is.

    Raises:
        InvalidRequest: `older_than_s` is less than an hour.
        Conflict: A backup is being made.
        OutOfResources: The database or the pack store does not answer.
    """
    if older_than_s < LEAST_AGE_S:
        raise InvalidRequest("gc leaves alone what is younger than an hour: stores may be at it.")
    cutoff_us = await archive.database.read(read_clock_us) - int(older_than_s * 1e6)
    run = _Run(archive, cutoff_us, dry_run, progress)
    used = await read_used(archive.database, lambda count: progress("instances", count))
    await run.drop_locations(used)
    await run.drop_packs()
    await run.drop_strays(time.time_ns() // 1000 - int(older_than_s * 1e6))
    return run.collected


async def run_job(context: JobContext, arguments: Arguments) -> Json:
    """Collect, and then repack, as a job; `older_than_s` may be given."""
    archive, older_than_s = context.repository.archive, float(arguments.get("older_than_s", DAY_S))

    def show(what: str, count: int) -> None:
        context.report(count, note=what)

    collected = await collect(archive, older_than_s=older_than_s, progress=show)
    repacked = await repack(
        archive, older_than_s=older_than_s, progress=show, is_stopped=lambda: context.is_stopped
    )
    await archive.database.write(forget_ended)
    return collected.describe() | repacked.describe()


KIND = JobKind("gc", run_job)


class _Run:
    """One run of gc.

    Args:
        archive: Of the installation.
        cutoff_us: What was used since, by the database's clock, stays.
        dry_run: Whether everything stays.
        progress: Told how far it is.
    """

    def __init__(self, archive: Archive, cutoff_us: int, dry_run: bool, progress: Progress) -> None:
        self._archive = archive
        self._cutoff_us = cutoff_us
        self._dry_run = dry_run
        self._progress = progress
        self._doomed: dict[int, int] = {}  # of a dry run: how many locations of a pack would go
        self.collected = Collected()

    async def drop_locations(self, used: UsedBlobs) -> None:
        """Drop the locations of blobs that are not used; note packs that are left without any."""
        last, seen = b"", 0
        while True:
            rows = await self._archive.database.read(lambda c, last=last: self._read_old(c, last))  # type: ignore[misc]
            if not rows:
                return
            unused = [row.digest for row in rows if row.digest not in used]
            for row in rows:
                if row.digest not in used:
                    self._doomed[row.pack_id] = self._doomed.get(row.pack_id, 0) + 1
            for batch in split_batches(unused):
                self.collected.locations += await self._drop_batch(batch)
            last, seen = rows[-1].digest, seen + len(rows)
            self._progress("blobs", seen)

    def _read_old(self, connection: sa.Connection, last: bytes) -> Sequence[Row]:
        query = (
            sa.select(location.c.digest, location.c.pack_id)
            .where(location.c.digest > last, location.c.used_us < self._cutoff_us)
            .order_by(location.c.digest)
            .limit(PAGE_ROWS)
        )
        return connection.execute(query).all()

    async def _drop_batch(self, digests: Sequence[bytes]) -> int:
        if self._dry_run:
            return len(digests)
        here = location.c.digest.in_(digests) & (location.c.used_us < self._cutoff_us)

        def drop(connection: sa.Connection) -> int:
            _check_hold(connection)
            return connection.execute(sa.delete(location).where(here)).rowcount

        return await self._archive.database.write(drop)

    async def drop_packs(self) -> None:
        """Delete packs that have no location."""
        for pack_id, name, size_bytes in await self._list_empty():
            if await self._drop_pack(pack_id, name):
                self.collected.packs += 1
                self.collected.freed_bytes += size_bytes
                self._progress("packs", self.collected.packs)

    async def _list_empty(self) -> list[tuple[int, str, int]]:
        """Return id, name and size of packs without location; of a dry run, as they would be."""
        n_locations = (
            sa.select(sa.func.count())
            .where(location.c.pack_id == pack.c.id)
            .correlate(pack)
            .scalar_subquery()
        )
        columns = (pack.c.id, pack.c.name, pack.c.size_bytes)
        empty = sa.select(*columns).where(n_locations == 0, *self._conditions())

        def read(connection: sa.Connection) -> list[tuple[int, str, int]]:
            found = [tuple(row) for row in connection.execute(empty)]
            for batch in split_batches(sorted(self._doomed) if self._dry_run else []):
                query = sa.select(*columns, n_locations)
                query = query.where(pack.c.id.in_(batch), *self._conditions())
                rows = connection.execute(query).all()
                found += [tuple(row[:3]) for row in rows if row[3] == self._doomed[row[0]]]
            return found

        return await self._archive.database.read(read)

    def _conditions(self) -> list[sa.ColumnElement[bool]]:
        """What a pack has to be besides empty."""
        is_left = sa.or_(pack.c.unused_us.is_(None), pack.c.unused_us < self._cutoff_us)
        is_published = sa.exists().where(published_pack.c.pack_id == pack.c.id)
        return [pack.c.created_us < self._cutoff_us, is_left, sa.not_(is_published)]

    async def _drop_pack(self, pack_id: int, name: str) -> bool:
        if await self._archive.packs.is_growing(name):
            return False
        if self._dry_run:
            return True
        is_used = sa.exists().where(location.c.pack_id == pack_id)
        gone = sa.delete(pack).where(pack.c.id == pack_id, sa.not_(is_used), *self._conditions())

        def drop(connection: sa.Connection) -> bool:
            _check_hold(connection)
            return connection.execute(gone).rowcount > 0

        if not await self._archive.database.write(drop):
            return False
        await self._archive.packs.delete(name)
        return True

    async def drop_strays(self, modified_before_us: int) -> None:
        """Delete packs in the store that no row names; none where no row names any.

        Args:
            modified_before_us: By the store's clock; younger ones are left.
        """
        known, strays = 0, list[PackInfo]()
        batch = list[PackInfo]()
        async for info in self._archive.packs.list():
            batch.append(info)
            if len(batch) == PAGE_ROWS:
                known += await self._sort(batch, strays)
                batch = []
        known += await self._sort(batch, strays)
        for info in strays if known else []:  # else the database may be another installation's
            if info.modified_us < modified_before_us:
                await self._drop_stray(info)

    async def _sort(self, listed: Sequence[PackInfo], strays: list[PackInfo]) -> int:
        """Take aside what no row names; return how much is known."""
        known = set[str]()
        for batch in split_batches([info.name for info in listed]):
            query = sa.select(pack.c.name).where(pack.c.name.in_(batch))
            known |= await self._archive.database.read(lambda c, q=query: set(c.scalars(q)))  # type: ignore[misc]
        strays += [
            one for one in listed if one.name not in known and len(one.name) == NAME_CHARACTERS
        ]
        return len(known)

    async def _drop_stray(self, info: PackInfo) -> None:
        if await self._archive.packs.is_growing(info.name):
            return
        if not self._dry_run:
            await self._archive.packs.delete(info.name)
        self.collected.strays += 1
        self.collected.freed_bytes += info.size_bytes


def _check_hold(connection: sa.Connection) -> None:
    reason = find_hold(connection)
    if reason is not None:
        raise Conflict(f"gc waits for {reason}: it takes nothing away meanwhile.")

"""Putting instances: bytes into a pack, facts into rows. The only way bytes come to stay.

    intake = Intake(archive)                  one a staging unit (STOW request, import batch, …)
    taken = await intake.take(chunks)         bytes spooled
    await intake.read_taken()                 parsed, hashed; refused ones dropped
    received = taken.result()
    await intake.write_packs()                new bytes are on their way into one pack
    intake.record(connection, dataset_id, …)  instance rows, derived data
    intake.record_places(connection)          last: waits for their fsync; packs and locations

Bytes that are known already are not written again: an instance whose header changed costs its
header.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import accumulate

import sqlalchemy as sa

from lamella.archive.blobs import find_locations
from lamella.archive.blocks import Lease
from lamella.archive.coercions import Coercer, First, find_first, record_coercions
from lamella.archive.database import read_clock_us
from lamella.archive.facts import InstanceFacts, Segment, read_facts
from lamella.archive.installation import Archive
from lamella.archive.instances import (
    Received,
    compress_document,
    key_of,
    make_derived_row,
    make_instance_row,
)
from lamella.archive.locations import NewBlob, find_known, record_locations, touch
from lamella.archive.packs.store import PackRange, name_pack
from lamella.archive.spool import Chunk, Spool
from lamella.archive.tables import derived, instance
from lamella.archive.threads import find_caller, outwait, release_locals, run_in_thread
from lamella.archive.upsert import insert_missing
from lamella.errors import OutOfResources, TooLarge

MOST_UNREAD = 64  # instances in a block that are read together

Placed = tuple[Segment, int]
"""A segment, and where it lies in its spool."""


@dataclass(slots=True)
class Taken:
    """One instance that an intake has taken, or refuses once it has read it.

    Attributes:
        start: Where in its spool it begins.
        stop: Where it ends.
        check: Raises InstanceRefused where the door does not want it.
        coerced: Keywords of the attributes that were changed on the way in.
        received: What it is, once it has been read.
        error: Why it was not taken after all.
    """

    start: int
    stop: int
    check: Callable[[InstanceFacts], None] | None
    coerced: tuple[str, ...]
    received: Received | None = None
    error: BaseException | None = None

    def result(self) -> Received:
        """Return what it is; it has been read.

        Raises:
            InstanceRefused: It is refused; nothing of it is kept.
            OutOfResources: There is no room.
        """
        if self.error is not None:
            raise self.error
        assert self.received is not None, "read_taken comes first"
        return self.received


@dataclass(frozen=True, slots=True)
class _Append:
    """What of a block goes into a pack with others.

    Attributes:
        future: Has the place once it is durable; until then the block must stay as it is.
        fresh: What lies there, one after the other.
    """

    future: Future[PackRange]
    fresh: list[Placed]


class Intake:
    """Takes the instances of one staging unit; not to be shared between tasks.

    Attributes:
        coercer: Changes instances once they are there; None leaves them as they came.
    """

    def __init__(self, archive: Archive, coercer: Coercer | None = None) -> None:
        self.coercer = coercer
        self._archive = archive
        self._coerced: dict[bytes, First] = {}
        self._lease: Lease | None = None
        self._spools: list[Spool] = []  # the last has the block, the others are sealed
        self._placed: list[list[Placed]] = []  # of each spool
        self._unread: list[Taken] = []  # in the last spool
        self._fresh: list[list[Placed]] | None = None
        self._facts: dict[bytes, InstanceFacts] = {}
        self._documents: dict[bytes, bytes] = {}
        self._adopted: dict[str, int] = {}
        self._append: _Append | None = None
        self._new: list[NewBlob] = []
        self._known: set[bytes] = set()

    async def add(
        self,
        chunks: AsyncIterator[Chunk],
        check: Callable[[InstanceFacts], None] | None = None,
        *,
        is_last: bool = False,
    ) -> Received:
        """Take one instance and read it at once.

        Args:
            chunks: The Part 10 file.
            check: Raises InstanceRefused where the door does not want this instance.
            is_last: No more will come, which spares `write_packs` a thread.

        Raises:
            InstanceRefused: It is refused; nothing of it is kept.
            TooLarge: It is longer than this installation takes.
            OutOfResources: There is no room, or too many store at once.
        """
        taken = await self.take(chunks, check)
        await self._work_on_block(self._read_rest if is_last else self._read_unread)
        return taken.result()

    async def take(
        self, chunks: AsyncIterator[Chunk], check: Callable[[InstanceFacts], None] | None = None
    ) -> Taken:
        """Take one instance from a stream of bytes of any length, in flat memory.

        It is read later, together with others: each time that a thread is handed something to
        do costs as much as reading a small instance.

        Args:
            chunks: The Part 10 file.
            check: Raises InstanceRefused where the door does not want this instance.

        Raises:
            TooLarge: It is longer than this installation takes.
            OutOfResources: There is no room, or too many store at once.
        """
        spool, lease = await self._open_spool()
        most_bytes, size_bytes = self._archive.max_instance_bytes, 0
        try:
            async for chunk in chunks:
                size_bytes += len(chunk)
                if most_bytes is not None and size_bytes > most_bytes:
                    raise TooLarge(f"An instance may have {most_bytes:,} bytes at most.")
                await lease.begin()
                rest = spool.take(chunk)
                if rest:
                    await run_in_thread(self._write_on, spool, rest)
                lease.pause(len(chunk))
            await lease.begin()
            coerced = await self._coerce(spool, self.coercer) if self.coercer else ()
        except BaseException:
            await lease.settle()
            spool.drop()
            lease.pause()
            raise
        start = spool.keep()
        lease.pause()
        taken = Taken(start, spool.size_bytes, check, coerced)
        self._unread.append(taken)
        self._fresh = None
        if len(self._unread) >= MOST_UNREAD:
            await self._work_on_block(self._read_unread)
        return taken

    async def read_taken(self) -> None:
        """Read what has been taken, and see what of it is stored already; no more will come.

        What became of each, its `result` tells.
        """
        if self._lease is not None:
            await self._work_on_block(self._read_rest)

    async def write_packs(self) -> None:
        """Have what is new written into packs; it is durable when `record_places` returns.

        Where a transaction cannot wait for that, it is durable when this returns.

        Raises:
            OutOfResources: There is no room.
        """
        if self._fresh is None:
            await self.read_taken()
        if self._lease is not None:
            await self._lease.begin()
        writes = [pair for pair in zip(self._spools, self._fresh or [], strict=True) if pair[1]]
        if len(writes) == 1:
            await self._write_pack(*writes[0])
        elif writes:
            await self._write_several(writes)
        if self._append is None:
            self.close()

    def record(self, connection: sa.Connection, dataset_id: int, now_us: int) -> None:
        """Write instance rows and derived data, in the caller's transaction.

        Raises:
            OutOfResources: Bytes that were known a moment ago are gone (gc): send again.
        """
        touch(connection, sorted(self._known), now_us)
        taken = sorted(self._facts.items())  # in one order, so that rivals do not deadlock
        rows = [make_instance_row(dataset_id, key, facts, now_us) for key, facts in taken]
        made = [
            make_derived_row(dataset_id, key, facts, self._documents[key]) for key, facts in taken
        ]
        insert_missing(connection, instance, rows)
        insert_missing(connection, derived, made)
        if self._coerced:
            record_coercions(connection, dataset_id, self._coerced)

    def record_places(self, connection: sa.Connection) -> None:
        """Note packs, how far they are filled, and where in them the new blobs lie.

        The last thing to do in the transaction: nothing may be committed before the bytes are
        durable, and this waits until they are.

        Raises:
            OutOfResources: There is no room for them.
        """
        place = self._wait_for_place()
        now_us = read_clock_us(connection)
        ends = (
            self._adopted if place is None else {**self._adopted, place.pack_name: place.end_bytes}
        )
        record_locations(connection, ends, self._list_new(place), now_us)

    async def discard(self) -> None:
        """Drop what was taken, before any row could name it."""
        place = await self._settle()
        self.close()
        for name in self._adopted:
            await self._archive.packs.discard(name)
        if place is not None:
            await self._archive.packs.release(place)

    async def discard_unrecorded(self) -> None:
        """Drop what was taken after its transaction failed, unless that committed after all.

        On PostgreSQL a lost connection leaves that open, so bytes stay there and gc frees them.
        """
        place = await self._settle()
        if self._archive.database.dialect != "sqlite":
            self.close()
            return
        new = self._list_new(place)
        digests = [blob.digest for blob in new]
        places = await self._archive.database.read(lambda c: find_locations(c, digests))
        recorded = {(place.pack_name, place.offset_bytes) for place in places.values()}
        if not any((blob.pack_name, blob.offset_bytes) in recorded for blob in new):
            await self.discard()

    def close(self) -> None:
        """Remove spool files that no pack store adopted, and let others have the block."""
        spools, self._spools, self._placed = self._spools, [], []

        def close_spools() -> None:
            for spool in spools:
                spool.close()

        lease, self._lease = self._lease, None
        if lease is None:
            return
        if self._append is None or self._append.future.done():
            lease.end(close_spools)
        else:
            call = find_caller()
            self._append.future.add_done_callback(lambda _: call(lease.end, close_spools))

    async def _open_spool(self) -> tuple[Spool, Lease]:
        """Return the spool that the next instance goes to, and the lease of its block."""
        if self._lease is None:
            return await self._begin_spool()
        spool = self._spools[-1]
        await self._lease.begin()
        if spool.size_bytes >= self._archive.packs.pack_bytes:
            await run_in_thread(self._seal, spool)
            self._lease.end(lambda: None)
            return await self._begin_spool()
        if spool.is_short_of_room:
            await run_in_thread(self._make_room, spool)
        return spool, self._lease

    async def _begin_spool(self) -> tuple[Spool, Lease]:
        block = await self._archive.blocks.take()
        spool = Spool(self._archive.spool_folder, block)
        self._lease = Lease(self._archive.blocks, block, spool.leave_block)
        self._spools.append(spool)
        self._placed.append([])
        return spool, self._lease

    async def _coerce(self, spool: Spool, coercer: Coercer) -> tuple[str, ...]:
        """Change the instance under way as it should be; return which attributes changed."""
        coercion = await run_in_thread(
            coercer.plan, spool.source(spool.size_bytes, spool.end_bytes)
        )
        if coercion is None:
            return ()
        digest = coercion.digest
        first = self._coerced.get(digest)
        if first is None:
            read = self._archive.database.read
            first = await read(lambda c: find_first(c, coercer, digest))
        await run_in_thread(spool.rewrite, coercion.write(first))
        self._coerced[digest] = first
        return coercion.keywords

    async def _work_on_block(self, work: Callable[[], None]) -> None:
        """Do something in a thread while nobody takes the block away."""
        assert self._lease is not None
        lease = self._lease
        await lease.begin()
        try:
            await run_in_thread(work)
        finally:
            lease.pause()

    def _seal(self, spool: Spool) -> None:
        self._read_unread()
        spool.seal()

    def _make_room(self, spool: Spool) -> None:
        self._read_unread()
        spool.make_room()

    def _write_on(self, spool: Spool, rest: memoryview) -> None:
        self._read_unread()  # before it leaves the block
        spool.write(rest)

    def _read_rest(self) -> None:
        self._read_unread()
        self._fresh = self._find_fresh()

    def _read_unread(self) -> None:
        """Read what waits, and forget refused ones if nothing has come behind them."""
        unread, self._unread = self._unread, []
        spool = self._spools[-1]
        for taken in unread:
            try:
                taken.received = self._read(spool, taken)
            except Exception as error:  # noqa: BLE001 - it belongs to who asks for the result
                release_locals(error)
                taken.error = error
        for taken in reversed(unread):
            if taken.error is None or not spool.drop_last(taken.start, taken.stop):
                break

    def _read(self, spool: Spool, taken: Taken) -> Received:
        facts = read_facts(spool.source(taken.start, taken.stop))
        if taken.check is not None:
            taken.check(facts)
        self._placed[-1] += [(segment, taken.start + segment.offset) for segment in facts.segments]
        key = key_of([(segment.digest, segment.length) for segment in facts.segments])
        document = compress_document(facts.dicom_json)  # here, not in the writers' line
        facts = replace(facts, dicom_json=b"")  # 50 slices of each of 16 senders are 7 MB
        self._documents.setdefault(key, document)
        self._facts.setdefault(key, facts)
        return Received(facts, key, taken.coerced)

    def _find_fresh(self) -> list[list[Placed]]:
        """Return what of each spool is not stored yet, nor in an earlier one."""
        digests = sorted({s.digest for placed in self._placed for s, _ in placed})
        self._known = self._archive.database.read_now(lambda c: find_known(c, digests))
        taken = set(self._known)
        found: list[list[Placed]] = []
        for placed in self._placed:
            fresh: list[Placed] = []
            for segment, offset in placed:
                if segment.digest not in taken:
                    taken.add(segment.digest)
                    fresh.append((segment, offset))
            found.append(fresh)
        return found

    async def _write_several(self, writes: Sequence[tuple[Spool, list[Placed]]]) -> None:
        """Write packs, as many at once as their store likes; what one meets, all stop for."""
        turns = asyncio.Semaphore(self._archive.packs.adopts_at_once)

        async def write_in_turn(spool: Spool, fresh: list[Placed]) -> None:
            async with turns:
                await self._write_pack(spool, fresh)

        try:
            async with asyncio.TaskGroup() as group:
                for write in writes:
                    group.create_task(write_in_turn(*write))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _write_pack(self, spool: Spool, fresh: list[Placed]) -> None:
        if spool.is_in_memory:
            await self._append_block(spool, fresh)
        else:
            await self._adopt(spool, fresh)

    async def _append_block(self, spool: Spool, fresh: list[Placed]) -> None:
        """Let a pack that holds others, too, have what a short unit brings."""
        spool.compact([(offset, segment.length) for segment, offset in fresh])
        assert spool.block is not None
        archive = self._archive
        future = None
        if archive.database.works_in_threads:
            future = archive.packs.begin_append(spool.block, spool.size_bytes)
        if future is None:
            future = Future()
            future.set_result(await archive.packs.append(spool.block, spool.size_bytes))
        self._append = _Append(future, fresh)

    def _wait_for_place(self) -> PackRange | None:
        """Return where the block's bytes are, once they are durable there.

        Raises:
            OutOfResources: They cannot be made durable.
        """
        if self._append is None:
            return None
        try:
            return self._append.future.result()
        except OSError as error:
            raise OutOfResources(f"The pack store cannot write: {error.strerror}.") from error

    async def _settle(self) -> PackRange | None:
        """Wait until nothing is written any more; return the place of what was, if it was."""
        if self._append is None:
            return None
        future = self._append.future
        await outwait(future)
        return None if future.exception() else future.result()

    async def _adopt(self, spool: Spool, fresh: list[Placed]) -> None:
        """Make a pack of a spool's file, or of a copy without what is known or was refused."""
        await run_in_thread(spool.seal)
        path, size_bytes = spool.path, spool.size_bytes
        offsets = [offset for _, offset in fresh]
        needed = sum(segment.length for segment, _ in fresh)
        kept = sum(segment.length for segment, _ in self._placed[self._spools.index(spool)])
        if kept < size_bytes or needed < 0.75 * size_bytes:
            ranges = [(offset, segment.length) for segment, offset in fresh]
            path, size_bytes = await run_in_thread(spool.copy_ranges, ranges), needed
            offsets = list(accumulate([length for _, length in ranges], initial=0))[:-1]
        name = name_pack()
        try:
            self._adopted[name] = size_bytes
            await self._archive.packs.adopt(name, path)
        finally:
            path.unlink(missing_ok=True)
            spool.close()
        self._new += _name_places(name, fresh, offsets)

    def _list_new(self, place: PackRange | None) -> list[NewBlob]:
        """Return what is new and where it lies; of the block, if it has a place."""
        if self._append is None or place is None:
            return self._new
        fresh = self._append.fresh
        starts = accumulate([segment.length for segment, _ in fresh], initial=place.offset_bytes)
        return self._new + _name_places(place.pack_name, fresh, list(starts)[:-1])


def _name_places(name: str, fresh: list[Placed], offsets: list[int]) -> list[NewBlob]:
    return [
        NewBlob(segment.digest, name, offset, segment.length)
        for (segment, _), offset in zip(fresh, offsets, strict=True)
    ]

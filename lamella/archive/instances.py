"""Putting instances: bytes into a pack, facts into rows. The only way bytes come to stay.

    intake = Intake(archive)                  one a staging unit (STOW request, import batch, …)
    facts = await intake.add(chunks)          bytes spooled, parsed, hashed; refused ones dropped
    await intake.make_durable()               new bytes are one pack, fsynced
    intake.record(connection, dataset_id, …)  locations, instance rows, derived data

Bytes that are known already are not written again: an instance whose header changed costs its
header.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
import zstandard

from lamella.archive.facts import InstanceFacts, Segment, read_facts
from lamella.archive.installation import Archive
from lamella.archive.packs.store import name_pack
from lamella.archive.source import ByteSource, MemorySource
from lamella.archive.spool import Spool
from lamella.archive.statements import Statement, insert_into
from lamella.archive.tables import derived, instance, location, pack
from lamella.archive.threads import run_in_thread
from lamella.archive.upsert import insert_missing, split_batches
from lamella.errors import OutOfResources

DERIVED_FORMAT = 1
BUFFER_BYTES = 1 << 20
PACK_BYTES = 64 << 20  # a longer unit makes several packs, so that gc can free parts of it


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
_INSERT_PACK = insert_into(pack)


@dataclass(frozen=True, slots=True)
class Received:
    """One instance that an intake took.

    Attributes:
        key: Identity of its bytes: SHA-256 over its segments' digests and lengths.
    """

    facts: InstanceFacts
    key: bytes


@dataclass(frozen=True, slots=True)
class _NewBlob:
    digest: bytes
    pack_name: str
    offset_bytes: int
    length_bytes: int


def key_of(segments: Sequence[tuple[bytes, int]]) -> bytes:
    """Return the key of an instance that consists of these (digest, length) segments."""
    return hashlib.sha256(msgspec.msgpack.encode(list(segments))).digest()


def encode_segments(segments: Sequence[Segment]) -> bytes:
    """Return an instance's segments as its row holds them."""
    return msgspec.msgpack.encode([(segment.digest, segment.length) for segment in segments])


class Intake:
    """Takes the instances of one staging unit; not to be shared between tasks."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._spools: list[Spool] = []
        self._placed: list[list[tuple[Segment, int]]] = []  # per spool: segment, file offset
        self._facts: dict[bytes, InstanceFacts] = {}
        self._packs: dict[str, int] = {}
        self._new: list[_NewBlob] = []
        self._known: set[bytes] = set()

    async def add(
        self, chunks: AsyncIterator[bytes], check: Callable[[InstanceFacts], None] | None = None
    ) -> Received:
        """Take one instance from a stream of bytes of any length, in flat memory.

        Args:
            chunks: The Part 10 file.
            check: Raises InstanceRefused where the door does not want this instance.

        Raises:
            InstanceRefused: It is refused; nothing of it is kept.
            OutOfResources: There is no room.
        """
        spool = self._open_spool()
        try:
            buffer = bytearray()
            spilled = False
            async for chunk in chunks:
                buffer += chunk
                if len(buffer) >= BUFFER_BYTES:
                    await run_in_thread(spool.write, buffer)
                    buffer, spilled = bytearray(), True
            return await run_in_thread(self._finish, spool, buffer, spilled, check)
        except BaseException:
            spool.drop()
            raise

    async def make_durable(self) -> None:
        """Turn what is new into packs that survive a power cut.

        Raises:
            OutOfResources: There is no room.
        """
        digests = sorted({s.digest for placed in self._placed for s, _ in placed})
        found = await self._archive.database.read(lambda c: find_known(c, digests))
        taken = set(found)
        self._known = found
        for spool, placed in zip(self._spools, self._placed, strict=True):
            fresh: list[tuple[Segment, int]] = []
            for segment, offset in placed:
                if segment.digest not in taken:
                    taken.add(segment.digest)
                    fresh.append((segment, offset))
            if fresh:
                await self._adopt(spool, fresh)

    def record(self, connection: sa.Connection, dataset_id: int, now_us: int) -> None:
        """Write locations, instance rows and derived data, in the caller's transaction.

        Raises:
            OutOfResources: Bytes that were known a moment ago are gone (gc): send again.
        """
        _touch(connection, sorted(self._known), now_us)
        self._record_packs(connection, now_us)
        taken = sorted(self._facts.items())  # in one order, so that rivals do not deadlock
        rows = [make_instance_row(dataset_id, key, facts, now_us) for key, facts in taken]
        documents = [make_derived_row(dataset_id, key, facts) for key, facts in taken]
        insert_missing(connection, instance, rows)
        insert_missing(connection, derived, documents)

    async def discard(self) -> None:
        """Drop what was taken, before any row could name it."""
        self.close()
        for name in self._packs:
            await self._archive.packs.delete(name)

    async def discard_unrecorded(self) -> None:
        """Drop what was taken after its transaction failed, unless that committed after all.

        On PostgreSQL a lost connection leaves that open, so packs stay there and gc frees them.
        """
        self.close()
        if self._archive.database.dialect != "sqlite":
            return
        names = list(self._packs)
        query = sa.select(pack.c.name).where(pack.c.name.in_(names))
        recorded = await self._archive.database.read(lambda c: set(c.execute(query).scalars()))
        for name in names:
            if name not in recorded:
                await self._archive.packs.delete(name)

    def close(self) -> None:
        """Remove spool files that no pack store adopted."""
        for spool in self._spools:
            spool.remove()
        self._spools = []
        self._placed = []

    def _open_spool(self) -> Spool:
        if not self._spools or self._spools[-1].size_bytes >= PACK_BYTES:
            self._spools.append(Spool(self._archive.spool_folder))
            self._placed.append([])
        return self._spools[-1]

    def _finish(
        self,
        spool: Spool,
        buffer: bytearray,
        spilled: bool,
        check: Callable[[InstanceFacts], None] | None,
    ) -> Received:
        source: ByteSource = MemorySource(buffer)
        spool_rest = bool(buffer)
        if spilled:
            spool.write(buffer)
            spool_rest = False
            source = spool.source()
        facts = read_facts(source)
        if check is not None:
            check(facts)
        if spool_rest:
            spool.write(buffer)
        start = spool.keep()
        self._placed[-1] += [(segment, start + segment.offset) for segment in facts.segments]
        key = key_of([(segment.digest, segment.length) for segment in facts.segments])
        self._facts.setdefault(key, facts)
        return Received(facts, key)

    async def _adopt(self, spool: Spool, fresh: list[tuple[Segment, int]]) -> None:
        needed = sum(segment.length for segment, _ in fresh)
        source = spool
        offsets = [offset for _, offset in fresh]
        if needed < 0.75 * spool.size_bytes:
            ranges = [(offset, segment.length) for segment, offset in fresh]
            source = await run_in_thread(spool.copy_ranges, self._archive.spool_folder, ranges)
            offsets = _accumulate([segment.length for segment, _ in fresh])
        name = name_pack()
        size = source.size_bytes
        try:
            self._packs[name] = size
            await self._archive.packs.adopt(name, source.path)
        finally:
            source.remove()
        self._new += [
            _NewBlob(segment.digest, name, offset, segment.length)
            for (segment, _), offset in zip(fresh, offsets, strict=True)
        ]

    def _record_packs(self, connection: sa.Connection, now_us: int) -> None:
        ids: dict[str, int] = {}
        for name, size in self._packs.items():
            values = {"name": name, "size_bytes": size, "created_us": now_us}
            ids[name] = _INSERT_PACK.run_for_id(connection, values)
        rows = [
            {
                "digest": blob.digest,
                "pack_id": ids[blob.pack_name],
                "offset_bytes": blob.offset_bytes,
                "length_bytes": blob.length_bytes,
                "used_us": now_us,
            }
            for blob in sorted(self._new, key=lambda blob: blob.digest)
        ]
        insert_missing(connection, location, rows)


def find_known(connection: sa.Connection, digests: Sequence[bytes]) -> set[bytes]:
    """Return those digests that have a location."""
    known: set[bytes] = set()
    for batch in split_batches(digests):
        known.update(_FIND_KNOWN.fetch_values(connection, {"digests": batch}))
    return known


def _touch(connection: sa.Connection, digests: Sequence[bytes], now_us: int) -> None:
    """Mark blobs as used now, which keeps gc away from them; all must still be there."""
    for batch in split_batches(digests):
        touched = _TOUCH.fetch_all(connection, {"digests": batch, "now": now_us})
        if len(touched) != len(batch):
            raise OutOfResources("Stored bytes were collected meanwhile: send again.")


def make_instance_row(
    dataset_id: int, key: bytes, facts: InstanceFacts, now_us: int
) -> dict[str, object]:
    """Return the row of `instance` for these facts."""
    return {
        "dataset_id": dataset_id,
        "key": key,
        "study_uid": facts.study_uid,
        "series_uid": facts.series_uid,
        "sop_uid": facts.sop_uid,
        "sop_class_uid": facts.sop_class_uid,
        "transfer_syntax_uid": facts.transfer_syntax_uid,
        "size_bytes": facts.size_bytes,
        "patient_id": facts.patient_id,
        "issuer_of_patient_id": facts.issuer_of_patient_id,
        "content_digest": facts.content_digest,
        "bulk_digest": facts.bulk_digest,
        "segments": encode_segments(facts.segments),
        "created_us": now_us,
    }


def make_derived_row(dataset_id: int, key: bytes, facts: InstanceFacts) -> dict[str, object]:
    """Return the row of `derived` for these facts."""
    return {
        "dataset_id": dataset_id,
        "key": key,
        "format": DERIVED_FORMAT,
        "instance_number": facts.instance_number,
        "frames": facts.frames.to_bytes() if facts.frames is not None else None,
        "dicom_json": zstandard.compress(facts.dicom_json, 3),
    }


def _accumulate(lengths: Sequence[int]) -> list[int]:
    offsets, total = [], 0
    for length in lengths:
        offsets.append(total)
        total += length
    return offsets

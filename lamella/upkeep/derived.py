"""Derived data: what is kept beside an instance is what its bytes say when parsed again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa
import zstandard

from lamella.archive.database import read_clock_us
from lamella.archive.facts import InstanceFacts, read_facts
from lamella.archive.instances import compress_document, key_of, make_derived_row, make_instance_row
from lamella.archive.tables import derived, instance
from lamella.archive.threads import run_in_thread
from lamella.errors import IntegrityError, InvalidInstance
from lamella.upkeep.examination import Examination, Row
from lamella.upkeep.report import Kind
from lamella.upkeep.resume import Bookmark

PAGE_ROWS = 50
PARSED_AT_ONCE = 2

Segments = Sequence[tuple[bytes, int]]

_SEGMENTS = msgspec.msgpack.Decoder(tuple[tuple[bytes, int], ...])
_INSTANCE_COLUMNS = [
    column.name
    for column in instance.columns
    if column.name not in ("dataset_id", "key", "created_us", "segments")
]


@dataclass(frozen=True, slots=True)
class Faulty:
    """Derived data that want making again, and how to put it into a finding."""

    dataset_id: int
    key: bytes
    sop_uid: str
    segments: Segments
    kind: Kind
    sentence: str


def read_segments(encoded: bytes) -> tuple[tuple[bytes, int], ...]:
    """Return what a row's `segments` column holds; nothing if that cannot be decoded."""
    try:
        return _SEGMENTS.decode(encoded)
    except msgspec.MsgspecError:
        return ()  # whose key is no row's


async def parse_again(run: Examination, segments: Segments) -> InstanceFacts:
    """Return what an instance's bytes say; they are checked against their digests on the way.

    Raises:
        IntegrityError: Bytes are missing, short, or of another digest.
        InvalidInstance: This version cannot read them.
    """
    source = await run.blobs.open(segments)
    facts = await run_in_thread(read_facts, source)
    if key_of([(part.digest, part.length) for part in facts.segments]) != key_of(segments):
        raise IntegrityError("the bytes do not have their digests")
    return facts


async def mend_derived(run: Examination, faulty: Faulty) -> None:
    """Report derived data that are wrong; with `--repair`, make them again from the bytes."""
    repaired = False
    sentence = faulty.sentence
    if run.repair:
        try:
            facts = await parse_again(run, faulty.segments)
            await run.write(lambda c: save_again(c, faulty.dataset_id, faulty.key, facts))
            repaired = True
        except (IntegrityError, InvalidInstance) as error:
            sentence = f"{sentence} They cannot be made again: {error.detail.rstrip('.')}."
    if not repaired:
        run.said.add((faulty.dataset_id, faulty.key))
    run.add(faulty.kind, faulty.sop_uid, sentence, repaired=repaired)


async def examine_derived(run: Examination, bookmark: Bookmark) -> None:
    """Parse every instance again and compare (`--bytes`), from where the bookmark is."""
    position = bookmark.position
    for dataset_id, key in list(position.faulty):
        rows = await run.read(partial(_read_row, dataset_id=dataset_id, key=bytes.fromhex(key)))
        await _compare_again(run, bookmark, rows)
    keys = [instance.c.dataset_id, instance.c.key]
    after = (position.dataset_id, bytes.fromhex(position.key)) if position.key else None
    pages = run.scan(_select_rows(), keys, lambda _, rows: rows, after=after, page_rows=PAGE_ROWS)
    async for (dataset_id, key), rows in pages:
        for start in range(0, len(rows), PARSED_AT_ONCE):
            group = rows[start : start + PARSED_AT_ONCE]
            await asyncio.gather(*(_compare_again(run, bookmark, [row]) for row in group))
        position.dataset_id, position.key = dataset_id, key.hex()
        bookmark.note()
        run.count("reparsed", len(rows))


async def _compare_again(run: Examination, bookmark: Bookmark, rows: Sequence[Row]) -> None:
    for row in rows:
        segments = read_segments(row.segments)
        if (
            (row.dataset_id, row.key) in run.said
            or key_of(segments) != row.key
            or any(digest in run.bad_blobs for digest, _ in segments)
        ):
            continue  # said already
        name = (row.dataset_id, row.key.hex())
        if await _compare(run, row, segments) and name not in bookmark.position.faulty:
            bookmark.position.faulty.append(name)


async def _compare(run: Examination, row: Row, segments: Segments) -> bool:
    """Compare one instance; tell whether there was something to say."""
    try:
        facts = await parse_again(run, segments)
    except IntegrityError:
        return False  # its bytes are gone, which is said already
    except InvalidInstance as error:
        sentence = f"Instance {row.sop_uid} cannot be parsed again: {error.detail}"
        run.add(Kind.DERIVED_ALTERED, row.sop_uid, sentence)
        return True
    columns = _find_altered(row, make_instance_row(row.dataset_id, row.key, facts, 0))
    if columns:
        sentence = f"The row of instance {row.sop_uid} is not what its bytes say: {columns}."
        await _mend_row(run, row, facts, Kind.INSTANCE_ALTERED, sentence)
    what = _find_altered_derived(row, facts)
    if what:
        sentence = f"The derived data of {row.sop_uid} are not what its bytes say: {what}."
        await _mend_row(run, row, facts, Kind.DERIVED_ALTERED, sentence)
    return bool(columns or what)


async def _mend_row(
    run: Examination, row: Row, facts: InstanceFacts, kind: Kind, sentence: str
) -> None:
    if run.repair:
        await run.write(lambda c: save_again(c, row.dataset_id, row.key, facts))
    run.add(kind, facts.sop_uid, sentence, repaired=run.repair)


def save_again(
    connection: sa.Connection, dataset_id: int, key: bytes, facts: InstanceFacts
) -> None:
    """Write an instance's row and its derived data anew; its age stays."""
    made = make_instance_row(dataset_id, key, facts, read_clock_us(connection))
    here = (instance.c.dataset_id == dataset_id) & (instance.c.key == key)
    kept = {name: made[name] for name in _INSTANCE_COLUMNS}
    if connection.execute(sa.update(instance).where(here).values(kept)).rowcount == 0:
        connection.execute(sa.insert(instance).values(made))
    there = (derived.c.dataset_id == dataset_id) & (derived.c.key == key)
    connection.execute(sa.delete(derived).where(there))
    made = make_derived_row(dataset_id, key, facts, compress_document(facts.dicom_json))
    connection.execute(sa.insert(derived).values(made))


def _select_rows() -> sa.Select[Any]:
    columns = [instance.c[name] for name in _INSTANCE_COLUMNS]
    return sa.select(
        instance.c.dataset_id,
        instance.c.key,
        instance.c.segments,
        *columns,
        derived.c.instance_number,
        derived.c.frames,
        derived.c.dicom_json,
    ).join(
        derived,
        (derived.c.dataset_id == instance.c.dataset_id) & (derived.c.key == instance.c.key),
    )


def _read_row(connection: sa.Connection, dataset_id: int, key: bytes) -> Sequence[Row]:
    here = (instance.c.dataset_id == dataset_id) & (instance.c.key == key)
    return connection.execute(_select_rows().where(here)).all()


def _find_altered(row: Row, made: Mapping[str, object]) -> str:
    """Return the columns of `instance` that are not as made from the bytes."""
    return ", ".join(name for name in _INSTANCE_COLUMNS if row._mapping[name] != made[name])


def _find_altered_derived(row: Row, facts: InstanceFacts) -> str:
    """Return the columns of `derived` that are not as made from the bytes."""
    document = compress_document(facts.dicom_json)
    made = make_derived_row(row.dataset_id, row.key, facts, document)
    names = [name for name in ("instance_number", "frames") if row._mapping[name] != made[name]]
    try:
        document = zstandard.decompress(row.dicom_json)
    except zstandard.ZstdError:
        document = b""
    if document != facts.dicom_json:
        names.append("dicom_json")
    return ", ".join(names)

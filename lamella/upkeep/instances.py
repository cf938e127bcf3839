"""Instances: each row is named by its segments, and its bytes and derived data are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import sqlalchemy as sa
import zstandard

from lamella.archive.instances import DERIVED_FORMAT, key_of
from lamella.archive.tables import derived, instance, location
from lamella.archive.upsert import split_batches
from lamella.upkeep.derived import Faulty, mend_derived, read_segments
from lamella.upkeep.examination import Examination, Row
from lamella.upkeep.report import Kind

PAGE_ROWS = 400

Segments = tuple[tuple[bytes, int], ...]
Places = Mapping[bytes, tuple[int, int, int]]
"""Digest to (pack id, offset in bytes, length in bytes)."""


class _Named(msgspec.Struct):
    """What a cheap look at a document checks: that it is JSON, and of this instance."""

    sop: _Uid = msgspec.field(name="00080018")
    study: _Uid = msgspec.field(name="0020000D")
    series: _Uid = msgspec.field(name="0020000E")


class _Uid(msgspec.Struct):
    values: Annotated[list[str], msgspec.Meta(min_length=1)] = msgspec.field(name="Value")


@dataclass(frozen=True, slots=True)
class _Fault:
    kind: Kind
    sop_uid: str
    sentence: str


_NAMED = msgspec.json.Decoder(_Named)


async def examine_instances(run: Examination) -> None:
    """Check every row of `instance` and what belongs to it; mend derived data that is gone."""
    query = (
        sa.select(
            instance.c.dataset_id,
            instance.c.key,
            instance.c.sop_uid,
            instance.c.study_uid,
            instance.c.series_uid,
            instance.c.size_bytes,
            instance.c.segments,
            derived.c.format,
            derived.c.dicom_json,
        )
        .outerjoin(
            derived,
            (derived.c.dataset_id == instance.c.dataset_id) & (derived.c.key == instance.c.key),
        )
    )  # fmt: skip

    def examine_page(
        connection: sa.Connection, rows: Sequence[Row]
    ) -> tuple[int, list[_Fault], list[Faulty]]:
        return _examine_page(connection, rows, run.held_bytes, run.bad_blobs)

    keys = [instance.c.dataset_id, instance.c.key]
    async for _, (count, faults, faulty) in run.scan(
        query, keys, examine_page, page_rows=PAGE_ROWS
    ):
        for fault in faults:
            run.add(fault.kind, fault.sop_uid, fault.sentence)
        for item in faulty:
            await mend_derived(run, item)
        run.count("instances", count)


def _examine_page(
    connection: sa.Connection,
    rows: Sequence[Row],
    held_bytes: Mapping[int, int],
    bad_blobs: set[bytes],
) -> tuple[int, list[_Fault], list[Faulty]]:
    segments = [read_segments(row.segments) for row in rows]
    places = _find_places(connection, [digest for one in segments for digest, _ in one])
    faults: list[_Fault] = []
    faulty: list[Faulty] = []
    for row, own in zip(rows, segments, strict=True):
        if key_of(own) != row.key or sum(length for _, length in own) != row.size_bytes:
            sentence = f"The row of instance {row.sop_uid} does not match its own key."
            faults.append(_Fault(Kind.INSTANCE_ALTERED, row.sop_uid, sentence))
            continue
        reason = _find_loss(own, places, held_bytes, bad_blobs)
        if reason:
            sentence = f"Instance {row.sop_uid} cannot be read whole: {reason}."
            faults.append(_Fault(Kind.INSTANCE_LOST, row.sop_uid, sentence))
        finding = _examine_derived(row)
        if finding is not None:
            kind, sentence = finding
            faulty.append(Faulty(row.dataset_id, row.key, row.sop_uid, own, kind, sentence))
    return len(rows), faults, faulty


def _find_places(connection: sa.Connection, digests: Sequence[bytes]) -> Places:
    places: dict[bytes, tuple[int, int, int]] = {}
    for batch in split_batches(list(dict.fromkeys(digests))):
        query = sa.select(
            location.c.digest, location.c.pack_id, location.c.offset_bytes, location.c.length_bytes
        ).where(location.c.digest.in_(batch))
        for digest, pack_id, offset_bytes, length_bytes in connection.execute(query):
            places[digest] = pack_id, offset_bytes, length_bytes
    return places


def _find_loss(
    segments: Segments, places: Places, held_bytes: Mapping[int, int], bad_blobs: set[bytes]
) -> str:
    for digest, length in segments:
        place = places.get(digest)
        if place is None:
            return f"no location has its bytes {digest.hex()}"
        pack_id, offset_bytes, length_bytes = place
        if length_bytes != length:
            return f"its bytes {digest.hex()} have {length_bytes} bytes instead of {length}"
        if digest in bad_blobs:
            return f"its bytes {digest.hex()} are damaged"
        if offset_bytes + length_bytes > held_bytes.get(pack_id, offset_bytes + length_bytes):
            return f"its bytes {digest.hex()} lie in a pack that is missing or short"
    return ""


def _examine_derived(row: Row) -> tuple[Kind, str] | None:
    if row.dicom_json is None:
        return Kind.DERIVED_MISSING, f"Instance {row.sop_uid} has no derived data."
    if row.format != DERIVED_FORMAT:
        sentence = f"The derived data of instance {row.sop_uid} have format {row.format}."
        return Kind.DERIVED_ALTERED, sentence
    try:
        named = _NAMED.decode(zstandard.decompress(row.dicom_json))
    except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError):
        return Kind.DERIVED_ALTERED, f"The derived data of {row.sop_uid} cannot be decoded."
    uids = [field.values[0].strip() for field in (named.sop, named.study, named.series)]
    if uids != [row.sop_uid, row.study_uid, row.series_uid]:
        sentence = f"The row and the derived data of instance {row.sop_uid} have other UIDs."
        return Kind.DERIVED_ALTERED, sentence
    return None

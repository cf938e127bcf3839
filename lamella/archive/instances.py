"""What a stored instance is in the database: its key, its row, and what was read from it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import zstandard

from lamella.archive.facts import InstanceFacts, Segment

DERIVED_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Received:
    """One instance that an intake took.

    Attributes:
        facts: All but its DICOM JSON, which is kept compressed.
        key: Identity of its bytes: SHA-256 over its segments' digests and lengths.
        coerced: Keywords of the attributes that were changed on the way in.
    """

    facts: InstanceFacts
    key: bytes
    coerced: tuple[str, ...] = ()


def key_of(segments: Sequence[tuple[bytes, int]]) -> bytes:
    """Return the key of an instance that consists of these (digest, length) segments."""
    return hashlib.sha256(msgspec.msgpack.encode(list(segments))).digest()


def encode_segments(segments: Sequence[Segment]) -> bytes:
    """Return an instance's segments as its row holds them."""
    return msgspec.msgpack.encode([(segment.digest, segment.length) for segment in segments])


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


class _Compressors(threading.local):
    """zstd contexts: making one costs as much as using it, and threads cannot share them."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=3)


_COMPRESSORS = _Compressors()


def compress_document(dicom_json: bytes) -> bytes:
    """Return a DICOM JSON document as it is kept."""
    return _COMPRESSORS.compressor.compress(dicom_json)


def make_derived_row(
    dataset_id: int, key: bytes, facts: InstanceFacts, document: bytes
) -> dict[str, object]:
    """Return the row of `derived` for these facts and their compressed document."""
    return {
        "dataset_id": dataset_id,
        "key": key,
        "format": DERIVED_FORMAT,
        "instance_number": facts.instance_number,
        "frames": facts.frames.to_bytes() if facts.frames is not None else None,
        "dicom_json": document,
    }

"""What is known of one instance at put: identity, segments, digests, DICOM JSON, frames.

Source:
    PS3.10 §7.1 (Part 10 files); PS3.18 §F (DICOM JSON); PS3.5 §9.1 (UIDs).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from lamella.archive.canonical import (
    Span,
    digest_bulk,
    digest_content,
    hash_range,
    hash_span,
)
from lamella.archive.cut import cut
from lamella.archive.database import UNSTORABLE
from lamella.archive.dicom_json import encode_attributes
from lamella.archive.frames import DoubtfulFrames, FrameTable, build_frame_table
from lamella.archive.header import Header, has_preamble, read_header
from lamella.archive.recorder import Attributes
from lamella.archive.source import ByteSource, MemorySource
from lamella.archive.values import is_uid
from lamella.errors import InvalidInstance

__all__ = ["InstanceFacts", "Segment", "has_preamble", "read_facts"]


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of a file.

    Attributes:
        digest: SHA-256, 32 bytes.
        offset: In the file, in bytes.
        length: In bytes.
    """

    digest: bytes
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What is known of one instance.

    Attributes:
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        sop_uid: SOP Instance UID.
        sop_class_uid: SOP Class UID, '' if absent.
        transfer_syntax_uid: Of the file.
        patient_id: Stripped, '' if absent.
        issuer_of_patient_id: Stripped, '' if absent.
        instance_number: None if absent or no integer.
        segments: In order; their concatenation is the file.
        size_bytes: Of the file.
        dicom_json: The JSON document, UTF-8; see `dicom_json`.
        content_digest: Equal for files that differ by re-encoding only; see `canonical`.
        bulk_digest: Over the values of the cut tags; equal after edits of the header alone.
        frames: Where frames lie; None without pixel data or if that is not certain.
        frames_reason: Why `frames` is None although there are pixel data.
        fast: Whether the header path read it, not pydicom.
        fallback_reason: Why pydicom did.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    patient_id: str
    issuer_of_patient_id: str
    instance_number: int | None
    segments: tuple[Segment, ...]
    size_bytes: int
    dicom_json: bytes
    content_digest: bytes
    bulk_digest: bytes
    frames: FrameTable | None
    frames_reason: str | None
    fast: bool
    fallback_reason: str | None


def read_facts(source: ByteSource, *, fallback_charset: str | None = None) -> InstanceFacts:
    """Read one Part 10 file.

    Args:
        source: The whole file.
        fallback_charset: A defined term of (0008,0005) for files that declare none.

    Raises:
        InvalidInstance: The file cannot be read, or lacks one of its three UIDs.
    """
    header = read_header(source, fallback_charset=fallback_charset)
    attributes = header.attributes
    study_uid = _read_uid(attributes, "0020000D", "Study Instance UID")
    series_uid = _read_uid(attributes, "0020000E", "Series Instance UID")
    sop_uid = _read_uid(attributes, "00080018", "SOP Instance UID")
    segments = hash_segments(source)
    digests = _SpanDigests(header, segments)
    frames, frames_reason = _find_frames(header)
    return InstanceFacts(
        study_uid=study_uid,
        series_uid=series_uid,
        sop_uid=sop_uid,
        sop_class_uid=_read_text(attributes, "00080016"),
        transfer_syntax_uid=header.transfer_syntax_uid,
        patient_id=_read_text(attributes, "00100020"),
        issuer_of_patient_id=_read_text(attributes, "00100021"),
        instance_number=_read_number(attributes, "00200013"),
        segments=segments,
        size_bytes=source.size,
        content_digest=digest_content(header.parts, digests.resolve),
        bulk_digest=digest_bulk(header.cut_values, digests.resolve),
        dicom_json=encode_attributes(attributes),
        frames=frames,
        frames_reason=frames_reason,
        fast=header.fallback_reason is None,
        fallback_reason=header.fallback_reason,
    )


def hash_segments(source: ByteSource) -> tuple[Segment, ...]:
    """Cut a file and hash its segments, in chunks of up to 1 MiB."""
    bounds = cut(source)
    if isinstance(source, MemorySource):
        return tuple(
            Segment(sha256(source.view[offset : offset + length]).digest(), offset, length)
            for offset, length in bounds
        )
    return tuple(
        Segment(hash_range(source, offset, length), offset, length) for offset, length in bounds
    )


class _SpanDigests:
    """Digests of spans; a segment's own digest where the span is one."""

    def __init__(self, header: Header, segments: tuple[Segment, ...]) -> None:
        self._source = header.source
        self._known: dict[Span, bytes] = {}
        if not header.deflated:
            self._known = {
                Span(segment.offset, segment.length): segment.digest
                for segment in segments
                if segment.length % 2 == 0
            }

    def resolve(self, span: Span) -> bytes:
        digest = self._known.get(span)
        if digest is None:
            digest = self._known[span] = hash_span(self._source, span)
        return digest


def _find_frames(header: Header) -> tuple[FrameTable | None, str | None]:
    if header.deflated:
        return None, "frames of a deflated file are not byte ranges of it"
    try:
        table = build_frame_table(
            header.source, header.attributes, header.bulk_values, header.transfer_syntax_uid
        )
    except DoubtfulFrames as doubt:
        return None, str(doubt)
    return table, None


def _read_uid(attributes: Attributes, key: str, name: str) -> str:
    uid = _read_text(attributes, key)
    if not uid:
        raise InvalidInstance(f"{name} is missing.")
    if not is_uid(uid):
        raise InvalidInstance(f"{name} is not a UID.")
    return uid


def _read_text(attributes: Attributes, key: str) -> str:
    values = attributes.get(key, {}).get("Value")
    if not values or not isinstance(values[0], str):
        return ""
    return values[0].strip().replace("\0", UNSTORABLE)


def _read_number(attributes: Attributes, key: str) -> int | None:
    values = attributes.get(key, {}).get("Value")
    return values[0] if values and isinstance(values[0], int) else None

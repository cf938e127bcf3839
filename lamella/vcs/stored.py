"""Facts of stored instances, read back from their rows."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
import zstandard

from lamella.archive.facts import InstanceFacts
from lamella.archive.frames import FrameTable
from lamella.archive.instances import encode_segments, key_of
from lamella.archive.statements import Statement
from lamella.archive.tables import derived, instance
from lamella.archive.upsert import split_batches
from lamella.errors import IntegrityError
from lamella.vcs.tree import Entry, InstanceKey


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """What a decision about an instance needs to know of it."""

    key: bytes
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    size_bytes: int
    patient_id: str
    issuer_of_patient_id: str
    content_digest: bytes
    bulk_digest: bytes
    segments: bytes

    @classmethod
    def from_facts(cls, key: bytes, facts: InstanceFacts) -> StoredInstance:
        """Return what the row of an instance with these facts says."""
        return cls(
            key,
            facts.study_uid,
            facts.series_uid,
            facts.sop_uid,
            facts.sop_class_uid,
            facts.transfer_syntax_uid,
            facts.size_bytes,
            facts.patient_id,
            facts.issuer_of_patient_id,
            facts.content_digest,
            facts.bulk_digest,
            encode_segments(facts.segments),
        )

    @property
    def names(self) -> InstanceKey:
        """(Study, Series, SOP) Instance UID."""
        return self.study_uid, self.series_uid, self.sop_uid

    @property
    def patient(self) -> tuple[str, str]:
        """PatientID with its issuer."""
        return self.patient_id, self.issuer_of_patient_id

    def to_entry(self) -> Entry:
        """Return the tree entry of this instance."""
        segments = msgspec.msgpack.decode(self.segments, type=tuple[tuple[bytes, int], ...])
        return Entry(segments, self.size_bytes, self.transfer_syntax_uid, self.sop_class_uid)


@dataclass(frozen=True, slots=True)
class Document:
    """Derived data of one instance.

    Attributes:
        dicom_json: UTF-8 JSON of all attributes (PS3.18 Annex F).
        frames: An encoded `FrameTable`, or None.
        instance_number: (0020,0013), or None.
    """

    dicom_json: bytes
    frames: bytes | None
    instance_number: int | None


@dataclass(frozen=True, slots=True)
class PackedDocument:
    """A document as it is kept.

    Attributes:
        dicom_json: Compressed (zstd).
        instance_number: As in `Document`.
    """

    dicom_json: bytes
    instance_number: int | None

    @property
    def length_bytes(self) -> int:
        """Length of the JSON, by the header of the compressed form."""
        return int(zstandard.frame_content_size(self.dicom_json))


_LOAD_INSTANCES = Statement(
    sa.select(*(instance.c[name] for name in StoredInstance.__slots__)).where(
        instance.c.dataset_id == sa.bindparam("dataset_id"),
        instance.c.key.in_(sa.bindparam("keys", expanding=True)),
    )
)
_LOAD_DOCUMENTS = Statement(
    sa.select(
        derived.c.key, derived.c.dicom_json, derived.c.frames, derived.c.instance_number
    ).where(
        derived.c.dataset_id == sa.bindparam("dataset_id"),
        derived.c.key.in_(sa.bindparam("keys", expanding=True)),
    )
)


_LOAD_PACKED = Statement(
    sa.select(derived.c.key, derived.c.dicom_json, derived.c.instance_number).where(
        derived.c.dataset_id == sa.bindparam("dataset_id"),
        derived.c.key.in_(sa.bindparam("keys", expanding=True)),
    )
)
_LOAD_FRAME_TABLES = Statement(
    sa.select(derived.c.key, derived.c.frames).where(
        derived.c.dataset_id == sa.bindparam("dataset_id"),
        derived.c.key.in_(sa.bindparam("keys", expanding=True)),
        sa.func.length(derived.c.frames) <= sa.bindparam("longest"),
    )
)
_ANY_LENGTH = (1 << 31) - 1


def key_of_entry(entry: Entry) -> bytes:
    """Return the key under which an entry's rows are kept."""
    return key_of(entry.segments)


def place_in_series(sop_uid: str, instance_number: int | None) -> tuple[bool, int, str]:
    """Return what instances of a series are sorted by: number, then UID; the unnumbered last."""
    return instance_number is None, instance_number or 0, sop_uid


def load_instances(
    connection: sa.Connection, dataset_id: int, keys: Sequence[bytes]
) -> dict[bytes, StoredInstance]:
    """Return instances by key.

    Raises:
        IntegrityError: One has no row.
    """
    found = find_instances(connection, dataset_id, keys)
    for key in keys:
        if key not in found:
            raise IntegrityError(f"instance {key.hex()[:16]} has no row")
    return found


def find_instances(
    connection: sa.Connection, dataset_id: int, keys: Sequence[bytes]
) -> dict[bytes, StoredInstance]:
    """Return those instances that have a row, by key."""
    found: dict[bytes, StoredInstance] = {}
    for batch in split_batches(list(dict.fromkeys(keys))):
        names = {"dataset_id": dataset_id, "keys": batch}
        for row in _LOAD_INSTANCES.fetch_all(connection, names):
            stored = StoredInstance(*row)
            found[stored.key] = stored
    return found


def load_documents(
    connection: sa.Connection, dataset_id: int, keys: Sequence[bytes]
) -> dict[bytes, Document]:
    """Return derived data by key.

    Raises:
        IntegrityError: One has none (`lamella fsck --repair` makes it again).
    """
    found: dict[bytes, Document] = {}
    decompress = zstandard.ZstdDecompressor().decompress  # making one costs as much as using it
    for batch in split_batches(list(dict.fromkeys(keys))):
        names = {"dataset_id": dataset_id, "keys": batch}
        for key, document, frames, number in _LOAD_DOCUMENTS.fetch_all(connection, names):
            found[key] = Document(decompress(document), frames, number)
    _check_complete(found, keys)
    return found


def load_packed_documents(
    connection: sa.Connection, dataset_id: int, keys: Sequence[bytes]
) -> dict[bytes, PackedDocument]:
    """Return documents by key, compressed.

    Raises:
        IntegrityError: One is missing (`lamella fsck --repair` makes it again).
    """
    found: dict[bytes, PackedDocument] = {}
    for batch in split_batches(list(dict.fromkeys(keys))):
        names = {"dataset_id": dataset_id, "keys": batch}
        for key, document, number in _LOAD_PACKED.fetch_all(connection, names):
            found[key] = PackedDocument(document, number)
    _check_complete(found, keys)
    return found


def _check_complete(found: Container[bytes], keys: Sequence[bytes]) -> None:
    for key in keys:
        if key not in found:
            raise IntegrityError(f"instance {key.hex()[:16]} has no derived data")


def load_frame_tables(
    connection: sa.Connection,
    dataset_id: int,
    keys: Sequence[bytes],
    longest_bytes: int | None = None,
) -> dict[bytes, FrameTable]:
    """Return frame tables by key, of those instances that have one.

    Args:
        connection: In a transaction.
        dataset_id: Of the dataset.
        keys: Of instances.
        longest_bytes: Leave out tables whose encoded form is longer.
    """
    found: dict[bytes, FrameTable] = {}
    longest = _ANY_LENGTH if longest_bytes is None else longest_bytes
    for batch in split_batches(list(dict.fromkeys(keys))):
        names = {"dataset_id": dataset_id, "keys": batch, "longest": longest}
        for key, frames in _LOAD_FRAME_TABLES.fetch_all(connection, names):
            found[key] = FrameTable.from_bytes(frames)
    return found

"""All documents of one series, read at once and in the order of answers.

A series node never changes and neither do the documents of its instances, so what is read for one
is kept in the derived cache by (dataset, node) and is right for every commit, revision and URL:
the documents have holes where those go (see `dicomweb.bulk_uris`). Small series are read from the
database in less time than a file is opened, and are not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
import zstandard

from lamella.archive.derived_cache import DerivedCache
from lamella.archive.instances import DERIVED_FORMAT
from lamella.archive.upsert import split_batches
from lamella.vcs.stored import (
    PackedDocument,
    key_of_entry,
    load_packed_documents,
    place_in_series,
)
from lamella.vcs.tree import Entry, Subtree

FORMAT = 1
KEPT_FROM_INSTANCES = 32
LONGEST_TEXT_BYTES = 16 << 20
"""A longer series is read in parts by whoever asks for it: memory is bounded before speed."""

_BATCH = 200


class SeriesDocuments(msgspec.Struct, array_like=True, frozen=True):
    """The documents of a series.

    Attributes:
        sop_uids: By Instance Number, then UID; those without a number last.
        ends: Where in `text` each document ends, in bytes.
        text: The documents (JSON with holes), each after a comma but the first.
    """

    sop_uids: tuple[str, ...]
    ends: tuple[int, ...]
    text: bytes

    @property
    def length_bytes(self) -> int:
        """Length of all documents."""
        return len(self.text)

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Yield (SOP Instance UID, document)."""
        start = 0
        for sop_uid, end in zip(self.sop_uids, self.ends, strict=True):
            yield sop_uid, self.text[start:end]
            start = end + 1


@dataclass(frozen=True, slots=True)
class PackedDocuments:
    """The documents of a series as the database has them: each is unpacked when it is needed.

    Unpacked at once they would fill megabytes of fresh memory, which takes longer than all else
    that is done with them.

    Attributes:
        sop_uids: As in `SeriesDocuments`.
        packed: Documents, each compressed by itself, in the same order.
        length_bytes: Length of all documents, unpacked.
    """

    sop_uids: tuple[str, ...]
    packed: tuple[bytes, ...]
    length_bytes: int

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Yield (SOP Instance UID, document)."""
        decompress = zstandard.ZstdDecompressor().decompress
        for sop_uid, packed in zip(self.sop_uids, self.packed, strict=True):
            yield sop_uid, decompress(packed)

    def unpack(self) -> SeriesDocuments:
        """Return all documents in one piece."""
        texts = [text for _, text in self]
        ends, end = [], -1
        for text in texts:
            end += len(text) + 1
            ends.append(end)
        return SeriesDocuments(self.sop_uids, tuple(ends), b",".join(texts))


Documents = SeriesDocuments | PackedDocuments


class SeriesShelf:
    """Keeps the documents of series between requests and restarts."""

    def __init__(self, cache: DerivedCache) -> None:
        self._cache = cache
        self._decoder = msgspec.msgpack.Decoder(SeriesDocuments)

    def find(self, dataset_id: int, series: Subtree) -> SeriesDocuments | None:
        """Return the documents of a series if they are kept; reads a file."""
        if series.summary.n_instances < KEPT_FROM_INSTANCES:
            return None
        data = self._cache.read(_name(dataset_id, series))
        if data is None:
            return None
        try:
            documents = self._decoder.decode(data)
        except msgspec.MsgspecError:
            return None  # not what this module writes; it is written again
        return documents

    def keep(self, dataset_id: int, series: Subtree, documents: PackedDocuments) -> None:
        """Keep the documents of a series, if it is large enough to be worth a file."""
        if series.summary.n_instances >= KEPT_FROM_INSTANCES:
            data = msgspec.msgpack.encode(documents.unpack())
            self._cache.write(_name(dataset_id, series), data)

    def clear(self) -> None:
        """Forget everything: what it was made from has been mended."""
        self._cache.clear()


def name_folder() -> str:
    """Return the name of the cache folder, which holds one version of documents."""
    return f"series-{DERIVED_FORMAT}.{FORMAT}"


def _name(dataset_id: int, series: Subtree) -> str:
    return f"{dataset_id}-{series.root.hex()}"


def load_series(
    connection: sa.Connection, dataset_id: int, entries: Mapping[str, Entry]
) -> PackedDocuments | None:
    """Read the documents of a series from the database; None if they are too long for that.

    Args:
        connection: In a transaction.
        dataset_id: Of the dataset.
        entries: SOP Instance UID → entry, of all its instances.

    Raises:
        IntegrityError: An instance has no derived data.
    """
    keys = {sop_uid: key_of_entry(entry) for sop_uid, entry in entries.items()}
    found: dict[bytes, PackedDocument] = {}
    length = 0
    for batch in split_batches(list(keys.values()), _BATCH):
        read = load_packed_documents(connection, dataset_id, batch)
        length += sum(document.length_bytes + 1 for document in read.values())
        if length > LONGEST_TEXT_BYTES:
            return None
        found |= read
    ordered = sorted(keys, key=lambda uid: place_in_series(uid, found[keys[uid]].instance_number))
    packed = tuple(found[keys[sop_uid]].dicom_json for sop_uid in ordered)
    return PackedDocuments(tuple(ordered), packed, length)

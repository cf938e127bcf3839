"""Entries of instances in declared indexes of attributes, made from their documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from lamella.archive.attribute_index import (
    AttributeIndex,
    instance_entry,
    list_instance_entries,
    write_entries,
)
from lamella.archive.upsert import split_batches
from lamella.vcs.series_attributes import AttributePicker
from lamella.vcs.stored import key_of_entry, load_documents
from lamella.vcs.tree import Entry, InstanceKey

DOCUMENTS_AT_A_TIME = 100


class InstanceIndexer:
    """Makes the entries of instances of one dataset in some indexes of that level."""

    def __init__(self, dataset_id: int, indexes: Sequence[AttributeIndex]) -> None:
        self._dataset_id = dataset_id
        self._indexes = indexes
        is_private = any(index.creators and index.creators[0] for index in indexes)
        tags = frozenset(index.path[0] for index in indexes)
        self._decode = msgspec.json.decode if is_private else AttributePicker(tags)

    def list_entries(self, key: bytes, document: bytes) -> list[dict[str, Any]]:
        """Return the entries of one instance.

        Args:
            key: Of the instance.
            document: Its DICOM JSON.
        """
        attributes = self._decode(document)
        return list_instance_entries(self._dataset_id, key, attributes, self._indexes)


def index_instances(
    connection: sa.Connection,
    dataset_id: int,
    indexes: Sequence[AttributeIndex],
    changes: Mapping[InstanceKey, Entry | None],
) -> None:
    """Enter the instances that a commit brings into declared indexes.

    Args:
        connection: The commit's transaction, which holds the dataset's lock.
        dataset_id: Of the dataset.
        indexes: Those that instances are entered in; may be none.
        changes: Instance → its new entry in the tree; None where it is deleted.
    """
    if not indexes:
        return
    indexer = InstanceIndexer(dataset_id, indexes)
    keys = [key_of_entry(entry) for entry in changes.values() if entry is not None]
    for batch in split_batches(sorted(keys), DOCUMENTS_AT_A_TIME):
        documents = load_documents(connection, dataset_id, batch)
        entries = [
            entry for key in batch for entry in indexer.list_entries(key, documents[key].dicom_json)
        ]
        write_entries(connection, instance_entry, entries)

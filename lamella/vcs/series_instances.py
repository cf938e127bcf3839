"""The instances of a series with what a search looks at, in the order of answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from lamella.archive.levels import SOP_INSTANCE_UID
from lamella.archive.query import Query, UidList
from lamella.archive.results import list_tags
from lamella.archive.statements import Statement
from lamella.archive.tables import derived
from lamella.archive.upsert import split_batches
from lamella.vcs.repository import Repository
from lamella.vcs.series_attributes import AttributePicker
from lamella.vcs.series_documents import Documents, load_series
from lamella.vcs.stored import key_of_entry, load_documents, place_in_series
from lamella.vcs.tree import Entry
from lamella.vcs.view import View

DOCUMENTS_AT_A_TIME = 100
MOST_IN_PARTS = 32
"""Instances that are read one by one; where a quarter of a series is asked for, it is read whole,
as others have read it before."""

_READ_NUMBERS = Statement(
    sa.select(derived.c.key, derived.c.instance_number).where(
        derived.c.dataset_id == sa.bindparam("dataset_id"),
        derived.c.key.in_(sa.bindparam("keys", expanding=True)),
    )
)

Candidates = dict[tuple[str, str], dict[str, None]]
"""(Study, Series Instance UID) → SOP Instance UIDs."""

Instance = tuple[str, Mapping[str, Any]]
"""SOP Instance UID and attributes as DICOM JSON."""


class InstanceReader:
    """Reads instances for one query, within one transaction.

    Args:
        connection: The transaction.
        repository: What to read.
        view: The commit.
        query: What is searched for.
        candidates: The only instances that can match; None if all may.
    """

    def __init__(
        self,
        connection: sa.Connection,
        repository: Repository,
        view: View,
        query: Query,
        candidates: Candidates | None = None,
    ) -> None:
        self._connection = connection
        self._repository = repository
        self._dataset_id = view.dataset.id
        self._tree = view.tree(connection, repository)
        self._candidates = candidates
        self._tags = list_tags(query)

    def pick(self, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return those attributes of a series that the query looks at.

        The others must not be taken for an instance's: its own may differ, and are not read.
        """
        if self._tags is None:
            return attributes
        return {tag: element for tag, element in attributes.items() if tag in self._tags}

    def read(self, study_uid: str, series_uid: str) -> Iterable[Instance]:
        """Return the instances of a series that the query may match.

        They have at least the attributes that the query looks at.
        """
        series = self._tree.find_series(study_uid, series_uid)
        if series is None:
            return ()
        if self._candidates is not None:
            uids = self._candidates.get((study_uid, series_uid), {})
            if len(uids) < max(MOST_IN_PARTS, series.summary.n_instances // 4):
                named = ((uid, self._tree.entry(study_uid, series_uid, uid)) for uid in uids)
                return self._read_in_parts({uid: e for uid, e in named if e is not None})
        if self._tags is not None:
            cache = self._repository.series_attributes
            known = cache.find(self._dataset_id, series.root, self._tags)
            if known is not None:
                return known
        documents: Documents | None = self._repository.shelf.find(self._dataset_id, series)
        if documents is None:
            entries = dict(self._tree.instances(study_uid, series_uid))
            documents = load_series(self._connection, self._dataset_id, entries)
            if documents is None:
                return self._read_in_parts(entries)
        if self._tags is None:
            return ((uid, msgspec.json.decode(document)) for uid, document in documents)
        return self._repository.series_attributes.decode(
            self._dataset_id, series.root, self._tags, documents
        )

    def _read_in_parts(self, entries: Mapping[str, Entry]) -> Iterator[Instance]:
        decode = msgspec.json.decode if self._tags is None else AttributePicker(self._tags)
        keys = {uid: key_of_entry(entry) for uid, entry in entries.items()}
        ordered = order_instances(self._connection, self._dataset_id, keys)
        for batch in split_batches(ordered, DOCUMENTS_AT_A_TIME):
            found = load_documents(self._connection, self._dataset_id, [keys[uid] for uid in batch])
            for uid in batch:
                yield uid, decode(found[keys[uid]].dicom_json)


def list_sop_uids(query: Query) -> tuple[str, ...] | None:
    """Return the only SOP Instance UIDs that a query can match; None if it names none."""
    if query.sop_uid:
        return (query.sop_uid,)
    for key in query.keys:
        if key.path == (SOP_INSTANCE_UID,) and isinstance(key.condition, UidList):
            return tuple(dict.fromkeys(key.condition.uids))
    return None


def order_instances(
    connection: sa.Connection, dataset_id: int, keys: Mapping[str, bytes]
) -> list[str]:
    """Return SOP Instance UIDs by Instance Number, then UID; those without a number last.

    Args:
        keys: SOP Instance UID → instance key.
    """
    numbers: dict[bytes, int | None] = {}
    for batch in split_batches(list(keys.values())):
        names = {"dataset_id": dataset_id, "keys": batch}
        numbers.update(map(tuple, _READ_NUMBERS.fetch_all(connection, names)))
    return sorted(keys, key=lambda uid: place_in_series(uid, numbers.get(keys[uid])))

"""Derivation: which catalog rows a commit's trees ask for, worked out anew.

What `vcs.rows` does when it makes a commit, without writing: the attributes of every series and
study that a commit changed, from the instance with the lowest SOP Instance UID, and the rows
that hold them. Documents may be wrong; `truth` has those that were parsed again from bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import msgspec
import sqlalchemy as sa
import zstandard
from pyroaring import BitMap

from lamella.archive.catalog import (
    make_series_values,
    make_study_values,
    series_attributes,
    series_row,
    study_attributes,
    study_row,
)
from lamella.archive.tables import derived
from lamella.archive.upsert import split_batches
from lamella.errors import IntegrityError, InvalidInstance
from lamella.vcs.cache import LeastRecent
from lamella.vcs.nodes import Node, Summary
from lamella.vcs.repository import DatabaseNodes
from lamella.vcs.stored import key_of_entry
from lamella.vcs.tree import (
    INSTANCES_LEVEL,
    SERIES_LEVEL,
    Entry,
    StudyChange,
    Subtree,
    Tree,
)
from lamella.vcs.trie import Trie

STUDIES_A_CHUNK: Final = 100
NODE_CACHE_BYTES: Final = 16 << 20
REMEMBERED: Final = 8_000
"""Series and studies that later commits ask again; each takes about 2 KB."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class First:
    """The instance that speaks for a series or study."""

    key: bytes
    entry: Entry
    sop_uid: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A catalog row that a commit's tree asks for.

    Attributes:
        uid: Of the study or series.
        digest: Digest of the row's attributes.
        first: The instance that its attributes are from.
        study_uid: The study that it is, or belongs to.
        modalities: Of a study's series.
        sop_classes: Of a study's instances.
    """

    table: sa.Table
    uid: str
    digest: bytes
    first: First
    study_uid: str
    modalities: tuple[str, ...] = ()
    sop_classes: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[str, str, bytes]:
        """What a row is unique by within its dataset."""
        return self.table.name, self.uid, self.digest


@dataclass(slots=True)
class Chunk:
    """What some changed studies of a commit ask for.

    Attributes:
        last: The last study that was looked at; None if there was none left.
        present: Wanted rows that there are, with their row ids.
        missing: Wanted rows that there are not.
        doubtful: Instances whose document is missing or cannot be used.
        unknown: Studies whose rows cannot be worked out because of those.
        rows: All rows that the changed studies ever had: (study UID, row id) by table name.
    """

    last: str | None = None
    present: list[tuple[Wanted, int]] = field(default_factory=list)
    missing: list[Wanted] = field(default_factory=list)
    doubtful: list[First] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    rows: dict[str, list[tuple[str, int]]] = field(default_factory=dict)

    def list_ids(self, table: sa.Table, *, unknown: bool = False) -> BitMap:
        """Return the ids of all rows of these studies, or of the unknown ones only."""
        rows = self.rows.get(table.name, [])
        return BitMap([row_id for uid, row_id in rows if not unknown or uid in self.unknown])


@dataclass(frozen=True, slots=True)
class _Study:
    """A changed study: what it holds, and who speaks for each of its series."""

    uid: str
    summary: Summary
    firsts: Mapping[str, First]

    @property
    def first(self) -> First:
        """Who speaks for the study."""
        lowest = self.summary.first_sop_uid
        for first in self.firsts.values():
            if first.sop_uid == lowest:
                return first
        raise IntegrityError(f"study {self.uid} does not hold its first instance")

    @property
    def identity(self) -> tuple[object, ...]:
        """All that the study's row depends on."""
        keys = frozenset(first.key for first in self.firsts.values())
        return self.first.key, self.summary.sop_classes, keys


class _UselessDocument(Exception):
    """An instance's document is missing, or is JSON but not of an instance."""

    def __init__(self, first: First) -> None:
        super().__init__(first.sop_uid)
        self.first = first


@contextmanager
def _useless_named(first: First) -> Iterator[None]:
    try:
        yield
    except (InvalidInstance, KeyError, TypeError, AttributeError, ValueError) as error:
        raise _UselessDocument(first) from error


class Derivation:
    """Derives the rows of one dataset's commits; remembers what the next commit asks again.

    Attributes:
        truth: Documents that were parsed again from bytes, by instance key.
    """

    def __init__(self, dataset_id: int) -> None:
        self.truth: dict[bytes, Document] = {}
        self._dataset_id = dataset_id
        self._nodes: LeastRecent[bytes, Node] = LeastRecent(NODE_CACHE_BYTES)
        self._firsts: LeastRecent[bytes, First] = LeastRecent(REMEMBERED)
        self._series: LeastRecent[bytes, tuple[bytes, str]] = LeastRecent(REMEMBERED)
        self._studies: LeastRecent[tuple[object, ...], bytes] = LeastRecent(REMEMBERED)

    def trust(self, key: bytes, document: Document) -> None:
        """Use this document for an instance from now on."""
        self.truth[key] = document
        self._series = LeastRecent(REMEMBERED)
        self._studies = LeastRecent(REMEMBERED)

    def derive(
        self, connection: sa.Connection, old_root: bytes, new_root: bytes, after: str | None
    ) -> Chunk:
        """Derive the next changed studies of a commit, behind the study `after`.

        Raises:
            IntegrityError: A node of the trees is missing or damaged.
        """
        nodes = DatabaseNodes(connection, self._dataset_id, self._nodes)
        changes = _list_changes(Tree(nodes, old_root), Tree(nodes, new_root), after)
        chunk = Chunk(last=changes[-1].study_uid if changes else None)
        studies = [
            _Study(change.study_uid, change.new.summary, self._find_firsts(nodes, change.new))
            for change in changes
            if change.new is not None
        ]
        documents = self._load(connection, [f for one in studies for f in self._list_needed(one)])
        wanted: list[Wanted] = []
        for study in studies:
            try:
                wanted += self._want(study, documents)
            except _UselessDocument as useless:
                chunk.doubtful.append(useless.first)
                chunk.unknown.add(study.uid)
        self._match(connection, [change.study_uid for change in changes], wanted, chunk)
        return chunk

    def make_values(self, connection: sa.Connection, wanted: Wanted) -> dict[str, Any]:
        """Return all that a wanted row holds besides dataset and row id.

        Raises:
            IntegrityError: The document that it is made from is gone.
        """
        documents = self._load(connection, [wanted.first])
        if wanted.first.key not in documents:
            raise IntegrityError(f"instance {wanted.first.sop_uid} has no derived data")
        document = documents[wanted.first.key]
        if wanted.table is series_row:
            return make_series_values(series_attributes(document))
        attributes = study_attributes(document, wanted.modalities, wanted.sop_classes)
        return make_study_values(attributes)

    def _find_firsts(self, nodes: DatabaseNodes, study: Subtree) -> dict[str, First]:
        """Return the first instance of each series of a study."""
        instances = Trie(nodes, INSTANCES_LEVEL)
        found = {}
        for series_uid, series in Trie(nodes, SERIES_LEVEL).items(study.root):
            first = self._firsts.get(series.root)
            if first is None:
                sop_uid = series.summary.first_sop_uid
                entry = instances.get(series.root, sop_uid)
                if entry is None:
                    raise IntegrityError(f"instance {sop_uid} is missing from its tree")
                first = First(key_of_entry(entry), entry, sop_uid)
                self._firsts.put(series.root, first)
            found[series_uid] = first
        return found

    def _load(self, connection: sa.Connection, firsts: Sequence[First]) -> dict[bytes, Document]:
        """Return the documents of these instances, as far as they can be used."""
        found = {}
        keys = list(dict.fromkeys(first.key for first in firsts))
        for batch in split_batches(keys):
            query = sa.select(derived.c.key, derived.c.dicom_json).where(
                derived.c.dataset_id == self._dataset_id, derived.c.key.in_(batch)
            )
            for key, data in connection.execute(query):
                try:
                    found[key] = msgspec.json.decode(
                        zstandard.decompress(data), type=dict[str, Any]
                    )
                except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError):
                    continue
        return found | {key: self.truth[key] for key in keys if key in self.truth}

    def _list_needed(self, study: _Study) -> list[First]:
        """Return the instances whose documents are not remembered well enough."""
        needed = [f for f in study.firsts.values() if self._series.get(f.key) is None]
        if self._studies.get(study.identity) is None:
            needed.append(study.first)
        return needed

    def _want(self, study: _Study, documents: Mapping[bytes, Document]) -> list[Wanted]:
        wanted = []
        modalities = set()
        for series_uid, first in study.firsts.items():
            digest, modality = self._derive_series(first, documents)
            modalities.add(modality)
            wanted.append(Wanted(series_row, series_uid, digest, first, study.uid))
        known = tuple(sorted(modalities))
        classes = study.summary.sop_classes
        digest = self._derive_study(study, documents, known)
        return [
            *wanted,
            Wanted(study_row, study.uid, digest, study.first, study.uid, known, classes),
        ]

    def _derive_series(
        self, first: First, documents: Mapping[bytes, Document]
    ) -> tuple[bytes, str]:
        found = self._series.get(first.key)
        if found is None:
            with _useless_named(first):
                values = make_series_values(series_attributes(documents[first.key]))
            found = values["digest"], values["modality"]
            self._series.put(first.key, found)
        return found

    def _derive_study(
        self, study: _Study, documents: Mapping[bytes, Document], modalities: tuple[str, ...]
    ) -> bytes:
        found = self._studies.get(study.identity)
        if found is None:
            with _useless_named(study.first):
                attributes = study_attributes(
                    documents[study.first.key], modalities, study.summary.sop_classes
                )
                found = make_study_values(attributes)["digest"]
            self._studies.put(study.identity, found)
        return found

    def _match(
        self,
        connection: sa.Connection,
        study_uids: Sequence[str],
        wanted: Sequence[Wanted],
        chunk: Chunk,
    ) -> None:
        """Find the rows of what is wanted."""
        ids: dict[tuple[str, str, bytes], int] = {}
        for table in (study_row, series_row):
            uid_column = table.c.study_uid if table is study_row else table.c.series_uid
            query = sa.select(
                table.c.row_id, table.c.study_uid, uid_column.label("uid"), table.c.digest
            )
            rows = chunk.rows.setdefault(table.name, [])
            for batch in split_batches(study_uids):
                here = (table.c.dataset_id == self._dataset_id) & table.c.study_uid.in_(batch)
                for row_id, study_uid, uid, digest in connection.execute(query.where(here)):
                    rows.append((study_uid, row_id))
                    ids[table.name, uid, digest] = row_id
        for one in wanted:
            row_id = ids.get(one.identity)
            if row_id is None:
                chunk.missing.append(one)
            else:
                chunk.present.append((one, row_id))


def _list_changes(old: Tree, new: Tree, after: str | None) -> list[StudyChange]:
    changes = (change for change in old.changed_studies(new, after) if change.study_uid != after)
    return list(islice(changes, STUDIES_A_CHUNK))

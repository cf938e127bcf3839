"""What differs between two views: instances added, removed and changed, and in what.

Views are compared by subtree, so the cost follows the difference and not the size. Changes are
read a page at a time, each in a transaction of its own, and bytes outside any transaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import msgspec
import sqlalchemy as sa
from pydicom.datadict import keyword_for_tag

from lamella.archive.bulk_values import find_value
from lamella.archive.source import ByteSource
from lamella.archive.threads import run_in_thread
from lamella.errors import IntegrityError, ResourceNotFound
from lamella.vcs.history import load_commit
from lamella.vcs.log import find_first_parent
from lamella.vcs.nodes import EMPTY_ROOT, NodeReader
from lamella.vcs.repository import Repository
from lamella.vcs.stored import (
    Document,
    StoredInstance,
    key_of_entry,
    load_documents,
    load_instances,
)
from lamella.vcs.tree import Entry, InstanceKey, Tree
from lamella.vcs.view import View, pin_view

PAGE = 200
CHUNK_BYTES = 1 << 20
CUT_TAGS = frozenset({"00420011", "56000020", "7FE00008", "7FE00009", "7FE00010"})
"""Attributes whose values `bulk_digest` covers."""

_DOCUMENT = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class InstanceDifference:
    """One instance that two views hold differently.

    Attributes:
        key: (Study, Series, SOP) Instance UID.
        change: `added`, `removed` or `changed`.
        attributes: Of a changed one, what differs: keywords, else tags of 8 hex digits.
        bulk: Of a changed one, whether pixel data or other separately stored values differ.
    """

    key: InstanceKey
    change: str
    attributes: tuple[str, ...] = ()
    bulk: bool = False

    def describe(self) -> dict[str, object]:
        """Return the difference as the API and `--json` show it."""
        study_uid, series_uid, sop_uid = self.key
        names: dict[str, object] = {
            "study": study_uid,
            "series": series_uid,
            "instance": sop_uid,
        }
        if self.change == "changed":
            names |= {"attributes": list(self.attributes), "bulk": self.bulk}
        return names


@dataclass(frozen=True, slots=True)
class _Side:
    entry: Entry
    stored: StoredInstance
    document: Document


@dataclass(frozen=True, slots=True)
class _Change:
    key: InstanceKey
    old: Entry | None
    new: Entry | None


async def describe_differences(repository: Repository, old: View, new: View) -> dict[str, object]:
    """Return what changed from `old` to `new`, in the contract's JSON shape.

    The views may be of different datasets. Instances are in order of their UIDs.

    Raises:
        IntegrityError: A node, an instance's row or its derived data is missing.
    """
    found: dict[str, list[tuple[InstanceKey, dict[str, object]]]] = {
        "added": [],
        "removed": [],
        "changed": [],
    }
    async for difference in walk_differences(repository, old, new):
        found[difference.change].append((difference.key, difference.describe()))
    shown = {
        name: [names for _, names in sorted(items, key=lambda item: item[0])]
        for name, items in found.items()
    }
    return {"from": old.commit_id, "to": new.commit_id, **shown}


async def describe_commit(repository: Repository, view: View) -> dict[str, object]:
    """Return a view's commit in the contract's JSON shape, plus `changes`.

    `changes` is what the commit changed against its first parent: a diff whose `from` is null
    where there is no parent.
    """
    read = repository.archive.database.read
    commit_id = view.revision.commit_id
    found = await read(lambda c: load_commit(c, view.dataset.id, commit_id))
    parent = await read(lambda c: find_first_parent(c, view.dataset.id, commit_id))
    if parent is None:
        changes = await describe_differences(repository, replace(view, root=EMPTY_ROOT), view)
        return {**found.describe(), "changes": {**changes, "from": None}}
    before = await pin_view(repository, view.dataset.name, parent.hex())
    return {
        **found.describe(),
        "changes": await describe_differences(repository, before, view),
    }


async def walk_differences(
    repository: Repository, old: View, new: View
) -> AsyncIterator[InstanceDifference]:
    """Yield the instances that differ, in the order of the tree, with flat memory.

    Raises:
        IntegrityError: A node, an instance's row or its derived data is missing.
    """
    after: InstanceKey | None = None
    while True:
        page = await repository.archive.database.read(
            lambda c, at=after: _read_page(c, repository, old, new, at)  # type: ignore[misc]
        )
        pairs = await _load_pairs(repository, old, new, page)
        for change in page:
            if change.old is None or change.new is None:
                yield InstanceDifference(change.key, "added" if change.old is None else "removed")
            else:
                yield await _compare(repository, change.key, *pairs[change.key])
        if len(page) < PAGE:
            return
        after = page[-1].key


def _read_page(
    connection: sa.Connection,
    repository: Repository,
    old: View,
    new: View,
    after: InstanceKey | None,
) -> list[_Change]:
    nodes: NodeReader = repository.nodes(connection, old.dataset.id)
    if old.dataset.id != new.dataset.id:
        nodes = _EitherNodes(nodes, repository.nodes(connection, new.dataset.id))
    changes = Tree(nodes, old.root).diff(Tree(nodes, new.root), after)
    return [
        _Change((change.study_uid, change.series_uid, change.sop_uid), change.old, change.new)
        for change in islice(changes, PAGE)
    ]


class _EitherNodes:
    """Nodes of two datasets at once: a digest names the same node in both."""

    def __init__(self, first: NodeReader, second: NodeReader) -> None:
        self._first = first
        self._second = second

    def read(self, digest: bytes) -> bytes:
        try:
            return self._first.read(digest)
        except IntegrityError:
            return self._second.read(digest)


async def _load_pairs(
    repository: Repository, old: View, new: View, page: Sequence[_Change]
) -> dict[InstanceKey, tuple[_Side, _Side]]:
    both = [(c.key, c.old, c.new) for c in page if c.old is not None and c.new is not None]

    def load(connection: sa.Connection) -> dict[InstanceKey, tuple[_Side, _Side]]:
        before = _load_sides(connection, old.dataset.id, [entry for _, entry, _ in both])
        after = _load_sides(connection, new.dataset.id, [entry for _, _, entry in both])
        keys = [key for key, _, _ in both]
        return dict(zip(keys, zip(before, after, strict=True), strict=True))

    return await repository.archive.database.read(load) if both else {}


def _load_sides(
    connection: sa.Connection, dataset_id: int, entries: Sequence[Entry]
) -> list[_Side]:
    keys = [key_of_entry(entry) for entry in entries]
    stored = load_instances(connection, dataset_id, keys)
    documents = load_documents(connection, dataset_id, keys)
    return [
        _Side(entry, stored[key], documents[key]) for entry, key in zip(entries, keys, strict=True)
    ]


async def _compare(
    repository: Repository, key: InstanceKey, old: _Side, new: _Side
) -> InstanceDifference:
    before = _DOCUMENT.decode(old.document.dicom_json)
    after = _DOCUMENT.decode(new.document.dicom_json)
    tags = {
        tag
        for tag in before.keys() | after.keys()
        if bytes(before.get(tag, b"")) != bytes(after.get(tag, b""))
    }
    if old.stored.content_digest != new.stored.content_digest:
        doubtful = [
            tag
            for tag in before.keys() - tags - CUT_TAGS
            if tag in after and b'"BulkDataURI"' in bytes(before[tag])
        ]
        tags |= await _compare_bulk(repository, doubtful, before, old, new)
    return InstanceDifference(
        key,
        "changed",
        tuple(name_attribute(tag) for tag in sorted(tags)),
        old.stored.bulk_digest != new.stored.bulk_digest,
    )


async def _compare_bulk(
    repository: Repository,
    tags: Sequence[str],
    document: dict[str, msgspec.Raw],
    old: _Side,
    new: _Side,
) -> set[str]:
    """Return those tags whose values look the same in JSON, which only points at the bytes."""
    if not tags:
        return set()
    sources = [await repository.blobs.open(side.entry.segments) for side in (old, new)]
    different = set()
    for tag in tags:
        for path in _list_bulk_paths(msgspec.json.decode(document[tag])):
            if await run_in_thread(_is_different, sources[0], sources[1], path):
                different.add(tag)
                break
    return different


def _list_bulk_paths(element: dict[str, Any]) -> list[str]:
    """Return the paths behind `bulkdata/` in one attribute of a DICOM JSON."""
    if "BulkDataURI" in element:
        return [str(element["BulkDataURI"]).removeprefix("bulkdata/")]
    if element.get("vr") != "SQ":
        return []
    items = element.get("Value", [])
    return [path for item in items for inner in item.values() for path in _list_bulk_paths(inner)]


def _is_different(old: ByteSource, new: ByteSource, path: str) -> bool:
    try:
        before, after = find_value(old, path), find_value(new, path)
    except ResourceNotFound:
        return True
    if before.length_bytes != after.length_bytes:
        return True
    for start in range(0, before.length_bytes, CHUNK_BYTES):
        count = min(CHUNK_BYTES, before.length_bytes - start)
        pieces = (
            before.source.read_at(before.offset_bytes + start, count),
            after.source.read_at(after.offset_bytes + start, count),
        )
        if pieces[0] != pieces[1]:
            return True
    return False


def name_attribute(tag: str) -> str:
    """Return the keyword of a tag of 8 hex digits, or the tag itself where it has none."""
    return keyword_for_tag(int(tag, 16)) or tag

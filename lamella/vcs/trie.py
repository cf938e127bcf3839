"""A canonical bucketed hash trie: maps from UID to value that share what they have in common.

A key's path is the hex SHA-256 of its UTF-8 bytes, one nibble a level. The node at a prefix
is a leaf iff at most 64 keys have that prefix, else it has 16 children. So a map's shape, and
with it the digest of its root, follows from its content alone: in whatever order entries came
and went, equal maps have equal roots, and two maps differ only below roots that differ.

Every walk is in path order (ascending SHA-256 of the key). That order does not depend on a
map's shape, so a page of a walk or of a diff can be continued from the last key it showed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from lamella.errors import IntegrityError
from lamella.vcs.nodes import (
    EMPTY_LEAF,
    EMPTY_ROOT,
    FANOUT,
    LEAF_CAPACITY,
    NODE_FORMAT,
    Child,
    Inner,
    Leaf,
    Node,
    NodeReader,
    NodeWriter,
    Summary,
    compute_digest,
    decode_node,
    encode_node,
    find_batch_loader,
    find_loader,
    merge_summaries,
)

V = TypeVar("V")

_ENCODER = msgspec.msgpack.Encoder(order="deterministic")

_Raws = dict[str, msgspec.Raw]
_Edits = list[tuple[str, str, msgspec.Raw | None]]
"""(path, key, encoded value or None), what `Trie.apply` carries down."""

_Written = tuple[Node, Summary | None]
"""A node to be written, and what it holds if that is known without looking into it."""

_Way = tuple[Child, list[tuple[str, str]]]
"""A child, and the (path, key) of those that are looked for below it."""

_Slot = Child | Leaf | None
"""What one nibble of a node leads to; a leaf is the part of a bigger leaf, never stored."""


def compute_path(key: str) -> str:
    """Return a key's way through the trie: 64 hex digits."""
    return hashlib.sha256(key.encode()).hexdigest()


class Level(Generic[V]):
    """What a map's values are: their type on the wire and what they add to a summary."""

    def __init__(self, value_type: type[V], summarize: Callable[[str, V], Summary]) -> None:
        self.summarize = summarize
        self._decoder = msgspec.msgpack.Decoder(value_type)

    def encode(self, value: V) -> msgspec.Raw:
        """Return a value's canonical bytes."""
        return msgspec.Raw(_ENCODER.encode(value))

    def decode(self, key: str, raw: msgspec.Raw) -> V:
        """Return the value that bytes stand for.

        Raises:
            IntegrityError: They are no such value.
        """
        try:
            return self._decoder.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise IntegrityError(f"the tree's value of {key} is unreadable: {error}") from error


@dataclass(frozen=True, slots=True)
class Difference(Generic[V]):
    """One key whose value differs between two maps; None where a map lacks it."""

    key: str
    old: V | None
    new: V | None


class Trie(Generic[V]):
    """Maps of one level over a store of nodes; a map is named by its root's digest.

    Nodes are read one by one as a descent needs them. Nothing is kept between calls: a cache
    belongs to the reader.
    """

    def __init__(self, nodes: NodeReader, level: Level[V]) -> None:
        self._nodes = nodes
        self._load = find_loader(nodes)
        self._load_many = find_batch_loader(nodes)
        self._level = level

    def get(self, root: bytes, key: str) -> V | None:
        """Return a key's value, or None: one node per level is read.

        Raises:
            IntegrityError: A node is missing or broken.
        """
        path = compute_path(key)
        node = self._read(root)
        depth = 0
        while isinstance(node, Inner):
            child = node.children[int(path[depth], 16)]
            if child is None:
                return None
            node = self._open(child)
            depth += 1
        for name, raw in node.entries:
            if name == key:
                return self._level.decode(key, raw)
        return None

    def get_many(self, root: bytes, keys: Iterable[str]) -> dict[str, V | None]:
        """Return the values of many keys; the nodes of a level are read together, if they can be.

        Raises:
            IntegrityError: A node is missing or broken.
        """
        found: dict[str, V | None] = dict.fromkeys(keys)
        level = [(self._read(root), [(compute_path(key), key) for key in found])]
        depth = 0
        while level:
            ways: list[_Way] = []
            for node, wanted in level:
                if isinstance(node, Inner):
                    ways += _branch_out(node, wanted, depth)
                else:
                    raws = dict(node.entries)
                    found |= {
                        key: self._level.decode(key, raws[key]) for _, key in wanted if key in raws
                    }
            if self._load_many is not None:
                self._load_many(child.digest for child, _ in ways)
            level = [(self._open(child), wanted) for child, wanted in ways]
            depth += 1
        return found

    def locate(self, root: bytes, keys: Iterable[str]) -> dict[bytes, list[str]]:
        """Return keys by the digest of the leaf that holds each of them, if the map has it.

        Leaves below inner nodes are not read.

        Raises:
            IntegrityError: A node is missing or broken.
        """
        paths = [(compute_path(key), key) for key in dict.fromkeys(keys)]
        node = self._read(root) if paths else EMPTY_LEAF
        if isinstance(node, Leaf):
            return {root: [key for _, key in paths]} if node.entries else {}
        found: dict[bytes, list[str]] = {}
        level = [(path, key, node) for path, key in paths]
        depth = 0
        while level:
            below: list[tuple[str, str, Child]] = []
            for path, key, inner in level:
                child = inner.children[int(path[depth], 16)]
                if child is None:
                    continue
                if child.count <= LEAF_CAPACITY:
                    found.setdefault(child.digest, []).append(key)
                else:
                    below.append((path, key, child))
            opened = self._open_inner({child.digest: child for _, _, child in below})
            level = [(path, key, opened[child.digest]) for path, key, child in below]
            depth += 1
        return found

    def count(self, root: bytes) -> int:
        """Return the number of keys; only the root is read."""
        return self._read(root).count

    def summary(self, root: bytes) -> Summary:
        """Return what the map holds; only the root is read."""
        return self._summarize(self._read(root))

    def items(self, root: bytes, start: str | None = None) -> Iterator[tuple[str, V]]:
        """Yield (key, value) in path order, reading nodes as they are needed.

        Args:
            root: The map.
            start: Begin at this key's place, the key included; None begins at the first.
        """
        for difference in self.diff(EMPTY_ROOT, root, start):
            if difference.new is not None:
                yield difference.key, difference.new

    def diff(
        self, old_root: bytes, new_root: bytes, start: str | None = None
    ) -> Iterator[Difference[V]]:
        """Yield the keys whose values differ, in path order; equal subtrees are not read.

        Args:
            old_root: One map.
            new_root: The other.
            start: Begin at this key's place, the key included; None begins at the first.
        """
        if old_root == new_root:
            return
        start_path = "" if start is None else compute_path(start)
        old, new = self._read(old_root), self._read(new_root)
        for key, before, after in self._diff_nodes(old, new, "", start_path):
            yield Difference(
                key,
                None if before is None else self._level.decode(key, before),
                None if after is None else self._level.decode(key, after),
            )

    def apply(self, root: bytes, changes: Mapping[str, V | None], nodes: NodeWriter) -> bytes:
        """Return the root of the map with changes made, in one pass down.

        Only nodes on the way to a key whose value really changes are written, each once.

        Args:
            root: The map to start from.
            changes: Key to its new value; None removes the key (which need not be there).
            nodes: Where new nodes go; the trie's own reader must see them afterwards.
        """
        edits: _Edits = [
            (compute_path(key), key, None if value is None else self._level.encode(value))
            for key, value in changes.items()
        ]
        before = self._read(root)
        after = self._update(before, 0, edits, nodes)
        return root if after is before else _write(after, nodes)

    def _read(self, digest: bytes) -> Node:
        if digest == EMPTY_ROOT:
            return EMPTY_LEAF
        if self._load is not None:
            return self._load(digest)
        return decode_node(self._nodes.read(digest))

    def _open_inner(self, children: Mapping[bytes, Child]) -> dict[bytes, Inner]:
        """Return the nodes of children that are too large for leaves, read together if possible."""
        load_many = self._load_many or (lambda names: {name: self._read(name) for name in names})
        opened: dict[bytes, Inner] = {}
        for digest, node in load_many(children).items():
            if not isinstance(node, Inner) or node.count != children[digest].count:
                raise IntegrityError(f"node {digest.hex()} has a count its parent denies")
            opened[digest] = node
        return opened

    def _open(self, slot: _Slot) -> Node:
        if slot is None:
            return EMPTY_LEAF
        if isinstance(slot, Leaf):
            return slot
        node = self._read(slot.digest)
        if node.count != slot.count:
            raise IntegrityError(f"node {slot.digest.hex()} has a count its parent denies")
        return node

    def _summarize(self, node: Node) -> Summary:
        if isinstance(node, Inner):
            return merge_summaries(child.summary for child in node.children if child is not None)
        level = self._level
        return merge_summaries(
            level.summarize(key, level.decode(key, raw)) for key, raw in node.entries
        )

    def _write_child(self, written: _Written, nodes: NodeWriter) -> Child:
        node, summary = written
        if summary is None:
            summary = self._summarize(node)
        return Child(_write(node, nodes), node.count, summary)

    def _update(self, node: Node, depth: int, edits: _Edits, nodes: NodeWriter) -> Node:
        """Return the node with edits made; the very same object if they change nothing."""
        if isinstance(node, Inner):
            return self._update_inner(node, depth, edits, nodes)
        raws = dict(node.entries)
        changed = False
        for _, key, raw in edits:
            if raws.get(key) == raw:
                continue
            changed = True
            if raw is None:
                del raws[key]
            else:
                raws[key] = raw
        return self._build(raws, depth, nodes) if changed else node

    def _update_inner(self, inner: Inner, depth: int, edits: _Edits, nodes: NodeWriter) -> Node:
        groups: dict[int, _Edits] = {}
        for edit in edits:
            groups.setdefault(int(edit[0][depth], 16), []).append(edit)
        slots: list[Child | _Written | None] = list(inner.children)
        is_touched = False
        for index, group in groups.items():
            child = inner.children[index]
            before = self._open(child)
            after = self._update(before, depth + 1, group, nodes)
            if after is not before:
                is_touched = True
                known = self._add_summaries(child, after, group)
                slots[index] = (after, known) if after.count else None
        return self._join(slots, nodes) if is_touched else inner

    def _add_summaries(self, old: Child | None, after: Node, edits: _Edits) -> Summary | None:
        """Return what a node holds that came of another by new keys alone; None if it did not.

        To decode all that was there already would cost most of a commit to a large map.
        """
        if old is None or after.count != old.count + len(edits):
            return None
        level = self._level
        added = [
            level.summarize(key, level.decode(key, raw)) for _, key, raw in edits if raw is not None
        ]
        return merge_summaries([old.summary, *added])

    def _join(self, slots: list[Child | _Written | None], nodes: NodeWriter) -> Node:
        """Return the node over 16 slots: a leaf again where few entries are left."""
        counts = [
            slot[0].count if isinstance(slot, tuple) else slot.count for slot in slots if slot
        ]
        if sum(counts) > LEAF_CAPACITY:
            children = [
                self._write_child(slot, nodes) if isinstance(slot, tuple) else slot
                for slot in slots
            ]
            return Inner(NODE_FORMAT, tuple(children))
        raws: _Raws = {}
        for slot in slots:
            node = self._open(slot) if isinstance(slot, Child) else slot and slot[0]
            if isinstance(node, Leaf):  # So small a child is a leaf; None has no entries.
                raws.update(node.entries)
        return _make_leaf(raws)

    def _build(self, raws: _Raws, depth: int, nodes: NodeWriter) -> Node:
        """Return the node for entries that share `depth` nibbles, its descendants written."""
        if len(raws) <= LEAF_CAPACITY:
            return _make_leaf(raws)
        parts: list[Child | _Written | None] = [
            (self._build(part, depth + 1, nodes), None) if part else None
            for part in _split(raws.items(), depth)
        ]
        return self._join(parts, nodes)

    def _diff_nodes(
        self, old: Node, new: Node, prefix: str, start: str
    ) -> Iterator[tuple[str, msgspec.Raw | None, msgspec.Raw | None]]:
        """Yield (key, old, new) below a prefix, from the path `start` on ("" for all)."""
        if isinstance(old, Leaf) and isinstance(new, Leaf):
            yield from _diff_leaves(old, new, prefix, start)
            return
        depth = len(prefix)
        first = int(start[depth], 16) if start else 0
        before, after = _list_slots(old, depth), _list_slots(new, depth)
        for index in range(first, FANOUT):
            if _are_equal(before[index], after[index]):
                continue
            yield from self._diff_nodes(
                self._open(before[index]),
                self._open(after[index]),
                f"{prefix}{index:x}",
                start if index == first else "",
            )


def _branch_out(inner: Inner, wanted: Iterable[tuple[str, str]], depth: int) -> list[_Way]:
    groups: dict[int, list[tuple[str, str]]] = {}
    for path, key in wanted:
        groups.setdefault(int(path[depth], 16), []).append((path, key))
    children = ((inner.children[index], group) for index, group in groups.items())
    return [(child, group) for child, group in children if child is not None]


def _write(node: Node, nodes: NodeWriter) -> bytes:
    return nodes.write(encode_node(node), node if isinstance(node, Inner) else None)


def _make_leaf(raws: Mapping[str, msgspec.Raw]) -> Leaf:
    return Leaf(NODE_FORMAT, tuple(sorted(raws.items(), key=_get_key)))


def _get_key(entry: tuple[str, msgspec.Raw]) -> str:
    return entry[0]


def _split(entries: Iterable[tuple[str, msgspec.Raw]], depth: int) -> list[_Raws]:
    parts: list[_Raws] = [{} for _ in range(FANOUT)]
    for key, raw in entries:
        parts[int(compute_path(key)[depth], 16)][key] = raw
    return parts


def _list_slots(node: Node, depth: int) -> list[_Slot]:
    if isinstance(node, Inner):
        return list(node.children)
    return [_make_leaf(part) if part else None for part in _split(node.entries, depth)]


def _are_equal(old: _Slot, new: _Slot) -> bool:
    """Tell whether two slots lead to the same entries, by name, without reading either."""
    if old is new:
        return True
    if old is None or new is None:
        return False
    return old.count == new.count and _name_slot(old) == _name_slot(new)


def _name_slot(slot: Child | Leaf) -> bytes:
    return slot.digest if isinstance(slot, Child) else compute_digest(encode_node(slot))


def _diff_leaves(
    old: Leaf, new: Leaf, prefix: str, start: str
) -> Iterator[tuple[str, msgspec.Raw | None, msgspec.Raw | None]]:
    before, after = dict(old.entries), dict(new.entries)
    differing = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
    for path, key in sorted((compute_path(key), key) for key in differing):
        if not path.startswith(prefix):
            raise IntegrityError(f"the tree holds {key} in a place that is not its own")
        if path >= start:
            yield key, before.get(key), after.get(key)

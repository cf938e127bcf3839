"""The trie's shape follows from its content, and walks read no more than they must."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from lamella.errors import IntegrityError
from lamella.vcs.nodes import (
    EMPTY_ROOT,
    EMPTY_SUMMARY,
    Inner,
    Leaf,
    MemoryNodes,
    Node,
    Summary,
    decode_node,
    encode_node,
)
from lamella.vcs.trie import Level, Trie, compute_path

LEVEL: Level[list[int]] = Level(list[int], lambda key, _: Summary(0, 1, key, ("1.1",)))


class CountingNodes(MemoryNodes):
    """Nodes that count how often they are read."""

    n_reads = 0

    def read(self, digest: bytes) -> bytes:
        self.n_reads += 1
        return super().read(digest)


class BatchNodes(MemoryNodes):
    """Notes how many nodes are asked for together."""

    def __init__(self, parent: MemoryNodes) -> None:
        super().__init__(parent)
        self.batches: list[int] = []

    def load_many(self, digests: Iterable[bytes]) -> dict[bytes, Node]:
        found = {digest: self.load(digest) for digest in digests}
        self.batches.append(len(found))
        return found


def make_map(n: int) -> dict[str, list[int]]:
    return {f"1.2.{i}": [i] for i in range(n)}


def build(nodes: MemoryNodes, content: dict[str, list[int]]) -> bytes:
    return Trie(nodes, LEVEL).apply(EMPTY_ROOT, content, nodes)


def encode_plainly(content: dict[str, list[int]], depth: int = 0) -> list[Any]:
    """Return [digest, count, summary] of a map by the definition alone, nothing shared."""
    summary = [0, len(content), min(content, default=""), ["1.1"] if content else []]
    if len(content) <= 64:
        node: list[Any] = ["leaf", 1, sorted(content.items())]
    else:
        parts: list[dict[str, list[int]]] = [{} for _ in range(16)]
        for key, value in content.items():
            parts[int(hashlib.sha256(key.encode()).hexdigest()[depth], 16)][key] = value
        node = ["inner", 1, [encode_plainly(p, depth + 1) if p else None for p in parts]]
    return [hashlib.sha256(msgspec.msgpack.encode(node)).digest(), len(content), summary]


def make_crowd(prefix: str, n: int) -> list[str]:
    """Return keys whose paths share a prefix."""
    found = (key for key in map(str, range(10**7)) if compute_path(key).startswith(prefix))
    return [next(found) for _ in range(n)]


def test_an_empty_map_needs_no_stored_node() -> None:
    trie = Trie(MemoryNodes(), LEVEL)
    assert list(trie.items(EMPTY_ROOT)) == []
    assert trie.get(EMPTY_ROOT, "1.2") is None
    assert (trie.count(EMPTY_ROOT), trie.summary(EMPTY_ROOT)) == (0, EMPTY_SUMMARY)


@pytest.mark.parametrize("n", [0, 1, 64, 65, 300, 1200])
def test_a_root_is_what_the_definition_says(n: int) -> None:
    assert build(MemoryNodes(), make_map(n)) == encode_plainly(make_map(n))[0]


@pytest.mark.parametrize(("n", "kind"), [(64, Leaf), (65, Inner)])
def test_a_node_is_a_leaf_iff_it_holds_at_most_64(n: int, kind: type) -> None:
    nodes = MemoryNodes()
    assert isinstance(decode_node(nodes.read(build(nodes, make_map(n)))), kind)


def test_a_crowded_prefix_goes_as_deep_as_it_needs() -> None:
    nodes = MemoryNodes()
    content = {key: [1] for key in make_crowd("a7", 65)}
    root = build(nodes, content)
    assert len(nodes.new) > 3
    assert dict(Trie(nodes, LEVEL).items(root)) == content
    key = next(iter(content))
    fewer = Trie(nodes, LEVEL).apply(root, {key: None}, nodes)
    assert isinstance(decode_node(nodes.read(fewer)), Leaf)


def test_deleting_collapses_to_what_would_be_built() -> None:
    nodes = MemoryNodes()
    trie = Trie(nodes, LEVEL)
    root = build(nodes, make_map(2000))
    for n in (1000, 65, 64, 1, 0):
        content = make_map(n)
        gone = {key: None for key in make_map(2000) if key not in content}
        assert trie.apply(root, gone, nodes) == build(MemoryNodes(), content)


def test_changes_that_change_nothing_write_nothing() -> None:
    nodes = MemoryNodes()
    content = make_map(500)
    root = build(nodes, content)
    staging = MemoryNodes(nodes)
    same = Trie(staging, LEVEL).apply(root, {**content, "9.9": None}, staging)
    assert (same, staging.new) == (root, {})


def test_a_batch_writes_each_node_once_and_only_touched_ones() -> None:
    nodes = MemoryNodes()
    root = build(nodes, make_map(3000))
    staging = MemoryNodes(nodes)
    Trie(staging, LEVEL).apply(root, {"1.2.7": [-7]}, staging)
    assert len(staging.new) == 3  # Root, inner node, leaf: 3,000 entries are two splits deep.


def test_a_deletion_that_collapses_writes_one_leaf() -> None:
    nodes = MemoryNodes()
    root = build(nodes, make_map(65))
    staging = MemoryNodes(nodes)
    Trie(staging, LEVEL).apply(root, {"1.2.7": None}, staging)
    assert len(staging.new) == 1


@pytest.mark.parametrize("n", [0, 1, 64, 65, 3000])
def test_many_keys_are_found_as_each_alone(n: int) -> None:
    content, nodes = make_map(n), MemoryNodes()
    trie = Trie(nodes, LEVEL)
    root = build(nodes, content)
    keys = [*list(content)[::7], "9.9", "9.99"]
    assert trie.get_many(root, keys) == {key: trie.get(root, key) for key in keys}
    assert trie.get_many(root, []) == {}


@pytest.mark.parametrize("n", [0, 1, 64, 65, 3000])
def test_the_leaf_of_each_key_is_told_without_reading_it(n: int) -> None:
    content, nodes = make_map(n), CountingNodes()
    root = build(nodes, content)
    nodes.n_reads = 0
    keys = [*list(content)[::7], "9.9"]
    assert Trie(nodes, LEVEL).locate(root, []) == {}
    assert nodes.n_reads == 0
    places = Trie(nodes, LEVEL).locate(root, keys)
    assert nodes.n_reads <= 1 + 16
    for digest, here in places.items():
        leaf = decode_node(nodes.read(digest))
        assert isinstance(leaf, Leaf)
        assert {key for key, _ in leaf.entries} >= set(here) - {"9.9"}
    assert {key for here in places.values() for key in here} | {"9.9"} == set(keys)


def test_nodes_of_a_level_are_read_together() -> None:
    """They would be a query each, and a page of results asks for a hundred keys."""
    content, nodes = make_map(3000), MemoryNodes()
    root = build(nodes, content)
    batches = BatchNodes(nodes)
    found = Trie(batches, LEVEL).get_many(root, list(content)[:100])
    assert found == dict(list(content.items())[:100])
    levels = [size for size in batches.batches if size]
    assert len(levels) == 2
    assert levels[0] == 16 < levels[1] <= 100


def test_summary_and_count_read_the_root_alone() -> None:
    nodes = CountingNodes()
    root = build(nodes, make_map(3000))
    trie = Trie(nodes, LEVEL)
    nodes.n_reads = 0
    assert trie.count(root) == 3000
    assert trie.summary(root) == Summary(0, 3000, "1.2.0", ("1.1",))
    assert nodes.n_reads == 2


def test_items_are_lazy_and_in_path_order() -> None:
    nodes = CountingNodes()
    root = build(nodes, make_map(3000))
    nodes.n_reads = 0
    walk = Trie(nodes, LEVEL).items(root)
    first = [next(walk)[0] for _ in range(3)]
    assert nodes.n_reads <= 3
    keys = first + [key for key, _ in walk]
    assert keys == sorted(make_map(3000), key=compute_path)


@pytest.mark.parametrize(("n", "page"), [(50, 1), (300, 7), (3000, 97)])
def test_items_continue_from_a_key(n: int, page: int) -> None:
    nodes = MemoryNodes()
    root = build(nodes, make_map(n))
    trie = Trie(nodes, LEVEL)
    whole = list(trie.items(root))
    for position in range(0, n, page):
        start = whole[position][0]
        assert list(trie.items(root, start)) == whole[position:]


def test_items_continue_from_a_key_that_is_not_there() -> None:
    nodes = MemoryNodes()
    root = build(nodes, make_map(300))
    trie = Trie(nodes, LEVEL)
    later = [item for item in trie.items(root) if compute_path(item[0]) > compute_path("absent")]
    assert list(trie.items(root, "absent")) == later


def test_diff_does_not_read_equal_subtrees() -> None:
    nodes = CountingNodes()
    trie = Trie(nodes, LEVEL)
    old = build(nodes, make_map(3000))
    new = trie.apply(old, {"1.2.7": [-7], "1.2.8": None, "9": [9]}, nodes)
    nodes.n_reads = 0
    changes = {(d.key, *(d.old or ()), *(d.new or ())) for d in trie.diff(old, new)}
    assert changes == {("1.2.7", 7, -7), ("1.2.8", 8), ("9", 9)}
    assert nodes.n_reads <= 14
    nodes.n_reads = 0
    assert list(trie.diff(new, new)) == []
    assert nodes.n_reads == 0


def test_diff_of_a_leaf_and_an_inner_node_reads_only_what_differs() -> None:
    nodes = CountingNodes()
    trie = Trie(nodes, LEVEL)
    old = build(nodes, make_map(64))
    new = trie.apply(old, {"9.9": [9]}, nodes)
    nodes.n_reads = 0
    assert [(d.key, d.old, d.new) for d in trie.diff(old, new)] == [("9.9", None, [9])]
    assert [(d.key, d.old, d.new) for d in trie.diff(new, old)] == [("9.9", [9], None)]
    assert nodes.n_reads == 6  # Twice both roots and the one leaf that differs.


def test_a_missing_node_is_an_integrity_error() -> None:
    nodes = MemoryNodes()
    root = build(nodes, make_map(65))
    inner = decode_node(nodes.read(root))
    assert isinstance(inner, Inner)
    lost = next(child for child in inner.children if child is not None)
    del nodes.new[lost.digest]
    with pytest.raises(IntegrityError, match=lost.digest.hex()):
        list(Trie(nodes, LEVEL).items(root))


def test_a_key_in_a_place_not_its_own_is_an_integrity_error() -> None:
    nodes = MemoryNodes()
    inner = decode_node(nodes.read(build(nodes, make_map(65))))
    assert isinstance(inner, Inner)
    turned = Inner(1, inner.children[1:] + inner.children[:1])
    root = nodes.write(encode_node(turned))
    with pytest.raises(IntegrityError, match="place"):
        list(Trie(nodes, LEVEL).items(root))


def test_a_count_that_its_parent_denies_is_an_integrity_error() -> None:
    nodes = MemoryNodes()
    inner = decode_node(nodes.read(build(nodes, make_map(65))))
    assert isinstance(inner, Inner)
    children = [
        child and msgspec.structs.replace(child, count=child.count + 1) for child in inner.children
    ]
    root = nodes.write(encode_node(Inner(1, tuple(children))))
    with pytest.raises(IntegrityError, match="count"):
        list(Trie(nodes, LEVEL).items(root))


def test_a_leaf_that_its_parent_takes_for_more_is_an_integrity_error() -> None:
    nodes = MemoryNodes()
    inner = decode_node(nodes.read(build(nodes, make_map(65))))
    assert isinstance(inner, Inner)
    children = [child and msgspec.structs.replace(child, count=65) for child in inner.children]
    root = nodes.write(encode_node(Inner(1, tuple(children))))
    with pytest.raises(IntegrityError, match="count"):
        Trie(nodes, LEVEL).locate(root, make_map(65))


def test_a_value_of_another_type_is_an_integrity_error() -> None:
    nodes = MemoryNodes()
    leaf = Leaf(1, (("1.2", msgspec.Raw(msgspec.msgpack.encode("text"))),))
    root = nodes.write(encode_node(leaf))
    with pytest.raises(IntegrityError, match=r"1\.2"):
        Trie(nodes, LEVEL).get(root, "1.2")

"""Sizes of studies are what the tree says, and are read again only where the tree has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pytest

from lamella.errors import IntegrityError
from lamella.vcs.nodes import EMPTY_ROOT, MemoryNodes
from lamella.vcs.study_sizes import StudySizes
from lamella.vcs.tree import Entry, InstanceKey, Tree

ENTRY = Entry(
    ((hashlib.sha256(b"x").digest(), 1200),), 1200, "1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.1"
)


class WatchedNodes(MemoryNodes):
    """Notes which nodes are read together."""

    def __init__(self, parent: MemoryNodes) -> None:
        super().__init__(parent)
        self.read_digests: list[bytes] = []

    def read_many(self, digests: Iterable[bytes]) -> dict[bytes, bytes]:
        found = {digest: self.read(digest) for digest in digests}
        self.read_digests += found
        return found


def make_changes(first: int, last: int) -> dict[InstanceKey, Entry | None]:
    """Return studies that hold 1, 2 or 3 series of 1 to 5 instances."""
    return {
        (f"1.2.{study}", f"1.2.{study}.{series}", f"1.2.{study}.{series}.{sop}"): ENTRY
        for study in range(first, last)
        for series in range(1 + study % 3)
        for sop in range(1 + study % 5)
    }


def build(n_studies: int) -> tuple[MemoryNodes, bytes]:
    nodes = MemoryNodes()
    return nodes, Tree(nodes).apply(make_changes(0, n_studies))


@pytest.mark.parametrize("n_studies", [0, 1, 64, 65, 2000])
def test_sizes_are_what_the_tree_says(n_studies: int) -> None:
    nodes, root = build(n_studies)
    tree, sizes = Tree(nodes, root), StudySizes()
    asked = [*(f"1.2.{study}" for study in range(0, n_studies, 3)), "9.9", "9.99"]
    for _ in range(2):  # from the tree, and from memory
        found = sizes.find_many(tree, asked)
        assert set(found) == set(asked[:-2])
        for uid, size in found.items():
            summary = tree.study_summary(uid)
            assert summary is not None
            assert size == (summary.n_series, summary.n_instances)
    assert sizes.find_many(tree, []) == {}


def test_a_commit_leaves_the_sizes_of_other_leaves_known() -> None:
    nodes, root = build(2000)
    watched, sizes = WatchedNodes(nodes), StudySizes()
    asked = [f"1.2.{study}" for study in range(0, 2000, 20)]
    sizes.find_many(Tree(watched, root), asked)
    assert 50 < len(watched.read_digests) <= 100
    watched.read_digests.clear()
    key = ("1.2.40", "1.2.40.9", "1.2.40.9.1")
    changed = Tree(watched, Tree(watched, root).apply({key: ENTRY}))
    before, after = (sizes.find_many(tree, asked) for tree in (Tree(watched, root), changed))
    assert {uid for uid in asked if before[uid] != after[uid]} == {"1.2.40"}
    assert after["1.2.40"] == (before["1.2.40"].n_series + 1, before["1.2.40"].n_instances + 1)
    assert len(watched.read_digests) == 1


def test_a_leaf_of_something_else_is_a_fault() -> None:
    nodes = MemoryNodes()
    root = nodes.write(b"\x93\xa4leaf\x01\x91\x92\xa31.2\x01")  # its value is a number
    with pytest.raises(IntegrityError):
        StudySizes().find_many(Tree(nodes, root), ["1.2"])


def test_an_empty_tree_needs_no_node() -> None:
    assert StudySizes().find_many(Tree(MemoryNodes(), EMPTY_ROOT), ["1.2"]) == {}

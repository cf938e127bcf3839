"""The walk through trees: nodes that are sound in themselves, but not where they hang."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
import sqlalchemy as sa

from lamella.archive.database import metadata
from lamella.upkeep.report import Finding, Kind
from lamella.upkeep.trees import TreeWalk
from lamella.vcs.nodes import (
    EMPTY_ROOT,
    Inner,
    Leaf,
    MemoryNodes,
    compress,
    compute_digest,
    decode_node,
    encode_node,
)
from lamella.vcs.tables import node
from lamella.vcs.tree import Entry, Tree

COMMIT = bytes(32)


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
    metadata.create_all(engine, [node])
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def make_tree(n_instances: int, study: str = "1.1") -> tuple[MemoryNodes, bytes]:
    nodes = MemoryNodes()
    entry = Entry(
        ((compute_digest(b"x"), 1),), 1, "1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.1.1.2"
    )
    changes = {(study, f"{study}.1", f"{study}.1.{n}"): entry for n in range(1, n_instances + 1)}
    return nodes, Tree(nodes).apply(changes)


def keep(connection: sa.Connection, nodes: MemoryNodes) -> None:
    for digest, encoded in nodes.new.items():
        row = {"dataset_id": 1, "digest": digest, "data": compress(encoded)}
        connection.execute(sa.insert(node).values(row))


def walk(connection: sa.Connection, *roots: bytes) -> tuple[list[Finding], int]:
    trees = TreeWalk(1, "default")
    findings, entries = [], 0
    for root in roots:
        trees.enter(COMMIT, root)
        while not trees.is_done:
            step = trees.step(connection)
            findings += step.findings
            entries += len(step.entries)
    assert bool(trees.broken) == bool(findings)
    return findings, entries


def test_the_empty_tree_needs_no_row(connection: sa.Connection) -> None:
    assert walk(connection, EMPTY_ROOT) == ([], 0)


def test_a_sound_tree_yields_each_entry_once(connection: sa.Connection) -> None:
    nodes, root = make_tree(700)
    keep(connection, nodes)
    assert walk(connection, root, root) == ([], 700)


def test_an_inner_node_with_swapped_children_is_wrong(connection: sa.Connection) -> None:
    nodes, root = make_tree(700)
    forged = forge(nodes, root, lambda inner: Inner(1, tuple(reversed(inner.children))))
    keep(connection, nodes)
    findings, _ = walk(connection, forged)
    assert {finding.kind for finding in findings} == {Kind.TREE_WRONG}
    assert "not in its place" in findings[0].sentence


def test_a_count_that_lies_is_wrong(connection: sa.Connection) -> None:
    nodes, root = make_tree(700)

    def lie(inner: Inner) -> Inner:
        index = next(i for i, child in enumerate(inner.children) if child is not None)
        children = list(inner.children)
        child = children[index]
        assert child is not None
        children[index] = msgspec.structs.replace(child, count=child.count + 1)
        return Inner(1, tuple(children))

    forged = forge(nodes, root, lie)
    keep(connection, nodes)
    findings, _ = walk(connection, forged)
    assert [finding.kind for finding in findings] == [Kind.TREE_WRONG]
    assert "count" in findings[0].sentence


def test_a_summary_that_lies_is_wrong(connection: sa.Connection) -> None:
    nodes, root = make_tree(3)
    study_map = decode_node(nodes.new[root])
    assert isinstance(study_map, Leaf)
    [(uid, raw)] = study_map.entries
    value = msgspec.msgpack.decode(raw)
    value[1][2] = "1.1.1.3"  # the lowest SOP Instance UID is another
    forged = nodes.write(encode_node(Leaf(1, ((uid, msgspec.Raw(msgspec.msgpack.encode(value))),))))
    keep(connection, nodes)
    findings, _ = walk(connection, forged)
    assert [finding.kind for finding in findings] == [Kind.TREE_WRONG]
    assert "summary" in findings[0].sentence


def forge(nodes: MemoryNodes, root: bytes, change: object) -> bytes:
    """Return a root whose one series' inner node is changed, its summaries kept."""
    study_map = decode_node(nodes.new[root])
    assert isinstance(study_map, Leaf)
    [(study_uid, study_raw)] = study_map.entries
    study = msgspec.msgpack.decode(study_raw)
    series_map = decode_node(nodes.new[study[0]])
    assert isinstance(series_map, Leaf)
    [(series_uid, series_raw)] = series_map.entries
    series = msgspec.msgpack.decode(series_raw)
    inner = decode_node(nodes.new[series[0]])
    assert isinstance(inner, Inner)
    assert callable(change)
    series[0] = nodes.write(encode_node(change(inner)))
    study[0] = nodes.write(encode_node(_make_leaf(series_uid, series)))
    return nodes.write(encode_node(_make_leaf(study_uid, study)))


def _make_leaf(key: str, value: object) -> Leaf:
    return Leaf(1, ((key, msgspec.Raw(msgspec.msgpack.encode(value))),))

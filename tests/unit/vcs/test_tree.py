"""Three levels as one map, with counts, diffs and what one commit costs."""

from __future__ import annotations

import hashlib
import json
import random
import statistics
from pathlib import Path
from typing import Any

import pytest

from lamella.errors import IntegrityError
from lamella.vcs.nodes import EMPTY_ROOT, EMPTY_SUMMARY, MemoryNodes, Summary, compress
from lamella.vcs.tree import Change, Entry, InstanceKey, Tree

GOLDEN = json.loads((Path(__file__).parent / "golden" / "trees.json").read_text())
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"


def make_entry(seed: str, sop_class_uid: str = CT) -> Entry:
    head = hashlib.sha256(f"{seed} head".encode()).digest()
    value = hashlib.sha256(f"{seed} value".encode()).digest()
    return Entry(((head, 1200), (value, 524288)), 525488, EXPLICIT, sop_class_uid)


def make_content(n_studies: int, n_series: int, n_instances: int) -> dict[InstanceKey, Entry]:
    """Return instances whose UIDs and digests follow from their place alone."""
    content = {}
    for i in range(n_studies):
        for j in range(n_series):
            for k in range(n_instances):
                key = (f"1.2.{i}", f"1.2.{i}.{j}", f"1.2.{i}.{j}.{k}")
                content[key] = make_entry(key[2], MR if j % 2 else CT)
    return content


def build(content: dict[InstanceKey, Entry], nodes: MemoryNodes | None = None) -> Tree:
    nodes = nodes or MemoryNodes()
    return Tree(nodes, Tree(nodes).apply(content))


def list_content(tree: Tree) -> dict[InstanceKey, Entry]:
    return {(study, series, sop): entry for study, series, sop, entry in tree.walk()}


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda vector: str(vector["shape"]))
def test_trees_keep_their_roots(vector: dict[str, Any]) -> None:
    tree = build(make_content(*vector["shape"]))
    assert tree.root.hex() == vector["root"]
    assert list_content(tree) == make_content(*vector["shape"])


def test_an_empty_tree_holds_nothing() -> None:
    tree = Tree(MemoryNodes())
    assert tree.root == EMPTY_ROOT
    assert (list(tree.studies()), list(tree.series("1")), list(tree.instances("1", "2"))) == (
        [],
        [],
        [],
    )
    assert (tree.summary(), tree.count_studies(), tree.entry("1", "2", "3")) == (
        EMPTY_SUMMARY,
        0,
        None,
    )
    assert (tree.study_summary("1"), tree.series_summary("1", "2"), tree.series_root("1", "2")) == (
        None,
        None,
        None,
    )


def test_everything_is_found_at_its_level() -> None:
    content = make_content(3, 2, 70)
    tree = build(content)
    assert all(tree.entry(*key) == entry for key, entry in content.items())
    assert tree.entry("1.2.0", "1.2.0.1", "1.2.0.0.0") is None
    assert tree.entry("1.2.0", "1.2.1.0", "1.2.1.0.0") is None
    assert {uid for uid, _ in tree.studies()} == {"1.2.0", "1.2.1", "1.2.2"}
    assert {uid for uid, _ in tree.series("1.2.1")} == {"1.2.1.0", "1.2.1.1"}
    assert dict(tree.instances("1.2.1", "1.2.1.0")) == {
        key[2]: entry for key, entry in content.items() if key[1] == "1.2.1.0"
    }


def test_summaries_count_and_name_the_first_instance() -> None:
    tree = build(make_content(3, 2, 70))
    assert tree.count_studies() == 3
    assert tree.summary() == Summary(6, 420, "", (CT, MR))
    assert tree.study_summary("1.2.1") == Summary(2, 140, "1.2.1.0.0", (CT, MR))
    assert tree.series_summary("1.2.1", "1.2.1.1") == Summary(1, 70, "1.2.1.1.0", (MR,))


def test_equal_series_have_equal_roots_wherever_they_are() -> None:
    instances = {sop: make_entry(sop) for sop in ("1", "2", "3")}
    nodes = MemoryNodes()
    tree = build({(study, "9", sop): e for study in "ab" for sop, e in instances.items()}, nodes)
    assert tree.series_root("a", "9") == tree.series_root("b", "9")
    changed = Tree(nodes, tree.apply({("a", "9", "1"): None}))
    assert changed.series_root("a", "9") != changed.series_root("b", "9")
    assert changed.series_root("b", "9") == tree.series_root("b", "9")


def test_empty_series_and_studies_vanish() -> None:
    content = make_content(2, 2, 2)
    nodes = MemoryNodes()
    tree = build(content, nodes)
    series_gone = Tree(nodes, tree.apply({k: None for k in content if k[1] == "1.2.0.0"}))
    assert [uid for uid, _ in series_gone.series("1.2.0")] == ["1.2.0.1"]
    study_gone = Tree(nodes, series_gone.apply({k: None for k in content if k[0] == "1.2.0"}))
    assert [uid for uid, _ in study_gone.studies()] == ["1.2.1"]
    assert tree.apply(dict.fromkeys(content)) == EMPTY_ROOT


def test_a_tree_changed_and_changed_back_has_its_old_root() -> None:
    nodes = MemoryNodes()
    tree = build(make_content(2, 2, 70), nodes)
    edits = {("1.2.0", "1.2.0.0", "1.2.0.0.5"): make_entry("x"), ("7", "8", "9"): make_entry("y")}
    changed = Tree(nodes, tree.apply(edits))
    back = {key: tree.entry(*key) for key in edits}
    assert changed.root != tree.root
    assert changed.apply(back) == tree.root


def test_changes_that_change_nothing_write_nothing() -> None:
    content = make_content(3, 2, 70)
    parent = MemoryNodes()
    root = build(content, parent).root
    staging = MemoryNodes(parent)
    assert Tree(staging, root).apply({**content, ("7", "8", "9"): None}) == root
    assert staging.new == {}


def test_diff_names_every_instance_that_differs() -> None:
    nodes = MemoryNodes()
    content = make_content(3, 2, 70)
    tree = build(content, nodes)
    moved, gone, new = ("1.2.0", "1.2.0.0", "1.2.0.0.5"), ("1.2.1", "1.2.1.1", "1.2.1.1.3"), "789"
    edits = {moved: make_entry("x"), gone: None, tuple(new): make_entry("y")}
    other = Tree(nodes, tree.apply(edits))
    expected = {
        Change(*moved, content[moved], make_entry("x")),
        Change(*gone, content[gone], None),
        Change(*new, None, make_entry("y")),
    }
    assert set(tree.diff(other)) == expected
    assert {
        Change(c.study_uid, c.series_uid, c.sop_uid, c.new, c.old) for c in other.diff(tree)
    } == (expected)
    assert {c.study_uid for c in tree.changed_studies(other)} == {"1.2.0", "1.2.1", "7"}
    by_series = {c.series_uid: c for c in tree.changed_series(other)}
    assert by_series.keys() == {"1.2.0.0", "1.2.1.1", "8"}
    assert by_series["8"].old is None
    assert by_series["1.2.1.1"].old == tree.find_series("1.2.1", "1.2.1.1")
    assert by_series["1.2.1.1"].new == other.find_series("1.2.1", "1.2.1.1")


def test_changed_series_does_not_look_into_series() -> None:
    nodes = MemoryNodes()
    tree = build(make_content(1, 1, 70), nodes)
    other = Tree(nodes, tree.apply({("1.2.0", "1.2.0.0", "9"): make_entry("x")}))
    for each in (tree, other):
        root = each.series_root("1.2.0", "1.2.0.0")
        assert root is not None
        del nodes.new[root]
    assert [c.series_uid for c in tree.changed_series(other)] == ["1.2.0.0"]
    with pytest.raises(IntegrityError):
        list(tree.diff(other))


def test_walk_and_diff_continue_behind_any_instance() -> None:
    nodes = MemoryNodes()
    tree = build(make_content(3, 2, 6), nodes)
    other = Tree(nodes, tree.apply(dict.fromkeys(make_content(2, 2, 3))))
    rows, changes = list(tree.walk()), list(tree.diff(other))
    assert (len(rows), len(changes)) == (36, 12)
    for position, (study, series, sop, _) in enumerate(rows):
        assert list(tree.walk((study, series, sop))) == rows[position + 1 :]
    for position, c in enumerate(changes):
        key = (c.study_uid, c.series_uid, c.sop_uid)
        assert list(tree.diff(other, key)) == changes[position + 1 :]


def test_a_tree_over_a_reader_cannot_be_changed() -> None:
    class Reader:
        def read(self, digest: bytes) -> bytes:
            raise IntegrityError(digest.hex())

    with pytest.raises(TypeError, match="written"):
        Tree(Reader()).apply({("1", "2", "3"): make_entry("x")})


def test_a_segment_with_a_short_digest_is_refused() -> None:
    entry = Entry(((b"short", 5),), 5, EXPLICIT, CT)
    with pytest.raises(IntegrityError):
        build({("1", "2", "3"): entry})


def make_uid(rng: random.Random) -> str:
    return f"1.2.826.0.1.3680043.8.498.{rng.getrandbits(126)}"


def make_slice(rng: random.Random) -> Entry:
    segments = tuple((rng.randbytes(32), size) for size in (1200, 524288, rng.randrange(200)))
    return Entry(segments, 526000 + rng.randrange(999), EXPLICIT, CT)


def commit_one(
    nodes: MemoryNodes, root: bytes, key: InstanceKey, entry: Entry
) -> tuple[bytes, int, int]:
    """Return the new root, the compressed bytes and the number of new nodes of one commit."""
    staging = MemoryNodes(nodes)
    root = Tree(staging, root).apply({key: entry})
    nodes.new.update(staging.new)
    return root, sum(len(compress(node)) for node in staging.new.values()), len(staging.new)


def measure_series(n_commits: int) -> list[int]:
    rng, nodes, root, costs = random.Random(3), MemoryNodes(), EMPTY_ROOT, []
    study, series = make_uid(rng), make_uid(rng)
    for _ in range(n_commits):
        key = (study, series, make_uid(rng))
        root, cost_bytes, _ = commit_one(nodes, root, key, make_slice(rng))
        costs.append(cost_bytes)
    assert Tree(nodes, root).summary().n_instances == n_commits
    return costs


def measure_studies(n_studies: int, n_commits: int) -> list[int]:
    rng, nodes = random.Random(4), MemoryNodes()
    keys = [(make_uid(rng), make_uid(rng), make_uid(rng)) for _ in range(n_studies)]
    root, costs = Tree(nodes).apply({key: make_slice(rng) for key in keys}), []
    for key in rng.sample(keys, n_commits):
        root, cost_bytes, _ = commit_one(nodes, root, key, make_slice(rng))
        costs.append(cost_bytes)
    return costs


def test_one_commit_rewrites_a_leaf_and_the_way_to_it() -> None:
    rng, nodes = random.Random(5), MemoryNodes()
    root = Tree(nodes).apply({("1", "2", make_uid(rng)): make_slice(rng) for _ in range(700)})
    for _ in range(20):
        key = ("1", "2", make_uid(rng))
        root, cost_bytes, n_nodes = commit_one(nodes, root, key, make_slice(rng))
        assert n_nodes == 4  # Study map, study node, root and leaf of the series.
        assert cost_bytes <= 16 * 1024
    assert statistics.mean(measure_series(200)) <= 8 * 1024


@pytest.mark.soak
def test_commits_to_one_series_stay_within_their_budget() -> None:
    costs = measure_series(2000)
    print(f"one series: mean {statistics.mean(costs):.0f} B, most {max(costs)} B a commit")
    assert statistics.mean(costs) <= 8 * 1024
    assert max(costs) <= 16 * 1024


@pytest.mark.soak
def test_a_study_edited_among_100000_stays_within_its_budget() -> None:
    costs = measure_studies(100_000, 500)
    print(f"1e5 studies: mean {statistics.mean(costs):.0f} B, most {max(costs)} B a commit")
    assert 3 * 1024 <= statistics.mean(costs) <= 6 * 1024

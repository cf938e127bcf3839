"""The trie and the tree against plain dicts."""

from __future__ import annotations

import random
import statistics
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lamella.vcs.commit_object import Commit, decode_commit, encode_commit
from lamella.vcs.nodes import (
    EMPTY_ROOT,
    EMPTY_SUMMARY,
    MemoryNodes,
    Summary,
    compress,
    compute_digest,
    decode_node,
    decompress,
    encode_node,
    merge_summaries,
)
from lamella.vcs.tree import Entry, InstanceKey, Tree
from lamella.vcs.trie import Level, Trie, compute_path

Map = dict[str, int]
LEVEL: Level[int] = Level(int, lambda key, value: Summary(1, value, key, (str(value % 3),)))

untimed = settings(deadline=None)

# Many keys are needed for a trie to split: maps are drawn as a seed and a size.
maps = st.builds(
    lambda seed, size, spread: {
        f"1.2.{random.Random(seed * 1000 + i).randrange(spread)}": i % 5 for i in range(size)
    },
    st.integers(0, 5),
    st.integers(0, 400),
    st.sampled_from([100, 500, 10**9]),
)


def build(nodes: MemoryNodes, content: Map) -> bytes:
    return Trie(nodes, LEVEL).apply(EMPTY_ROOT, content, nodes)


def summarize(content: Map) -> Summary:
    return Summary(
        len(content),
        sum(content.values()),
        min(content, default=""),
        tuple(sorted({str(value % 3) for value in content.values()})),
    )


@untimed
@given(maps, st.randoms(use_true_random=False), st.integers(1, 90))
def test_the_order_and_grouping_of_changes_do_not_matter(
    content: Map, rng: random.Random, batch: int
) -> None:
    nodes = MemoryNodes()
    keys = list(content)
    rng.shuffle(keys)
    root = EMPTY_ROOT
    for i in range(0, len(keys), batch):
        part = {key: content[key] for key in keys[i : i + batch]}
        root = Trie(nodes, LEVEL).apply(root, part, nodes)
    assert root == build(MemoryNodes(), content)


@untimed
@given(maps, maps)
def test_diff_is_the_diff_of_dicts_in_path_order(old: Map, new: Map) -> None:
    nodes = MemoryNodes()
    found = list(Trie(nodes, LEVEL).diff(build(nodes, old), build(nodes, new)))
    expected = {
        key: (old.get(key), new.get(key))
        for key in old.keys() | new.keys()
        if old.get(key) != new.get(key)
    }
    assert {d.key: (d.old, d.new) for d in found} == expected
    assert [d.key for d in found] == sorted(expected, key=compute_path)


@untimed
@given(maps, maps, st.data())
def test_diff_continues_from_any_key(old: Map, new: Map, data: st.DataObject) -> None:
    nodes = MemoryNodes()
    trie, roots = Trie(nodes, LEVEL), (build(nodes, old), build(nodes, new))
    start = data.draw(st.sampled_from(sorted({"absent", *old, *new})))
    rest = [d for d in trie.diff(*roots) if compute_path(d.key) >= compute_path(start)]
    assert list(trie.diff(*roots, start)) == rest


@untimed
@given(maps, maps)
def test_turning_one_map_into_another_gives_the_root_built_from_scratch(old: Map, new: Map) -> None:
    nodes = MemoryNodes()
    changes: dict[str, int | None] = {**dict.fromkeys(old), **new}
    assert Trie(nodes, LEVEL).apply(build(nodes, old), changes, nodes) == build(MemoryNodes(), new)


@untimed
@given(maps)
def test_every_node_round_trips_and_keeps_its_name(content: Map) -> None:
    nodes = MemoryNodes()
    build(nodes, content)
    for digest, encoded in nodes.new.items():
        assert encode_node(decode_node(encoded)) == encoded
        assert compute_digest(decompress(compress(encoded), digest)) == digest


@untimed
@given(st.lists(maps, max_size=4), st.integers(0, 4))
def test_summaries_are_a_monoid(parts: list[Map], cut: int) -> None:
    summaries = [summarize(part) for part in parts]
    left, right = merge_summaries(summaries[:cut]), merge_summaries(summaries[cut:])
    whole = merge_summaries(summaries)
    assert merge_summaries([left, right]) == merge_summaries([right, left]) == whole
    assert merge_summaries([whole, EMPTY_SUMMARY]) == whole


class TrieMachine(RuleBasedStateMachine):
    """A trie that is put to, deleted from and rewound, beside the dict it must equal."""

    @initialize(content=maps)
    def begin(self, content: Map) -> None:
        self.nodes = MemoryNodes()
        self.trie = Trie(self.nodes, LEVEL)
        self.model = dict(content)
        self.root = build(self.nodes, content)
        self.past = [(self.root, dict(content))]

    @rule(content=maps)
    def put(self, content: Map) -> None:
        self.model.update(content)
        self.root = self.trie.apply(self.root, content, self.nodes)
        self.past.append((self.root, dict(self.model)))

    @rule(share=st.floats(0, 1), rng=st.randoms(use_true_random=False))
    def delete(self, share: float, rng: random.Random) -> None:
        keys = rng.sample(sorted(self.model), int(share * len(self.model)))
        for key in keys:
            del self.model[key]
        gone: dict[str, int | None] = dict.fromkeys([*keys, "absent"])
        self.root = self.trie.apply(self.root, gone, self.nodes)

    @rule(rng=st.randoms(use_true_random=False))
    def rewind(self, rng: random.Random) -> None:
        self.root, model = rng.choice(self.past)
        self.model = dict(model)

    @invariant()
    def it_holds_what_the_dict_holds(self) -> None:
        assert dict(self.trie.items(self.root)) == self.model
        assert self.trie.count(self.root) == len(self.model)
        assert self.trie.summary(self.root) == summarize(self.model)
        assert self.root == build(MemoryNodes(), self.model)
        for key in [*list(self.model)[:3], "absent"]:
            assert self.trie.get(self.root, key) == self.model.get(key)


TestTrieMachine = TrieMachine.TestCase
TestTrieMachine.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)


digests = st.binary(min_size=32, max_size=32)
entries = st.builds(
    Entry,
    st.lists(st.tuples(digests, st.integers(0, 2**40)), max_size=4).map(tuple),
    st.integers(0, 2**40),
    st.sampled_from(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]),
    st.sampled_from(["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"]),
)
keys = st.tuples(
    st.sampled_from(["1.1", "1.2", "1.3"]), st.sampled_from(["2.1", "2.2"]), st.text(max_size=64)
)
contents = st.dictionaries(keys, entries, max_size=12)


def list_content(tree: Tree) -> dict[InstanceKey, Entry]:
    return {(study, series, sop): entry for study, series, sop, entry in tree.walk()}


@untimed
@given(contents, contents)
def test_trees_equal_dicts(old: dict[InstanceKey, Entry], new: dict[InstanceKey, Entry]) -> None:
    nodes = MemoryNodes()
    before = Tree(nodes, Tree(nodes).apply(old))
    after = Tree(nodes, before.apply({**dict.fromkeys(old), **new}))
    assert list_content(before) == old
    assert list_content(after) == new
    assert after.root == Tree(MemoryNodes()).apply(new)
    assert after.summary().n_instances == len(new)
    assert after.summary().n_series == len({key[:2] for key in new})
    assert after.count_studies() == len({key[0] for key in new})
    found = {(c.study_uid, c.series_uid, c.sop_uid): (c.old, c.new) for c in before.diff(after)}
    differing = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    assert found == {key: (old.get(key), new.get(key)) for key in differing}
    series = {(c.study_uid, c.series_uid) for c in before.changed_series(after)}
    assert series == {key[:2] for key in differing}


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 10**6))
def test_commits_to_one_series_stay_within_their_budget(seed: int) -> None:
    rng, nodes, root, costs = random.Random(seed), MemoryNodes(), EMPTY_ROOT, []
    for _ in range(300):
        staging = MemoryNodes(nodes)
        segments = tuple((rng.randbytes(32), rng.randrange(2**20)) for _ in range(3))
        entry = Entry(segments, rng.randrange(2**21), "1.2.840.10008.1.2.1", "1.2.3")
        root = Tree(staging, root).apply({("1", "2", f"2.25.{rng.getrandbits(128)}"): entry})
        costs.append(sum(len(compress(node)) for node in staging.new.values()))
        nodes.new.update(staging.new)
    assert statistics.mean(costs) <= 8 * 1024
    assert max(costs) <= 16 * 1024


provenances = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5)
        | st.binary(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=8,
    ),
    max_size=4,
)


@untimed
@given(
    digests,
    st.lists(digests, max_size=3),
    st.text(max_size=20),
    st.integers(0, 2**55),
    provenances,
)
def test_commits_round_trip(
    tree: bytes, parents: list[bytes], text: str, time_us: int, provenance: dict[str, Any]
) -> None:
    ids = tuple(parent.hex() for parent in parents)
    commit = Commit(tree, ids, text, text, time_us, text, "store", provenance)
    assert decode_commit(encode_commit(commit)) == commit
    turned = dict(reversed(list(provenance.items())))
    again = Commit(tree, ids, text, text, time_us, text, "store", turned)
    assert again.commit_id == commit.commit_id

"""Nodes have one encoding; everything else is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lamella.errors import IntegrityError
from lamella.vcs.nodes import (
    EMPTY_LEAF,
    EMPTY_ROOT,
    EMPTY_SUMMARY,
    Child,
    Inner,
    Leaf,
    MemoryNodes,
    Summary,
    compress,
    compute_digest,
    decode_node,
    decompress,
    encode_node,
    merge_summaries,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "nodes.json").read_text())


def make_leaf(values: dict[str, Any]) -> Leaf:
    raws = [(key, msgspec.Raw(msgspec.msgpack.encode(value))) for key, value in values.items()]
    return Leaf(1, tuple(raws))


def make_child(fill: int, count: int) -> Child:
    return Child(bytes([fill]) * 32, count, Summary(0, count, f"1.2.{fill}", ("1.2.840.1",)))


def make_golden(name: str) -> Leaf | Inner:
    if name == "empty leaf":
        return EMPTY_LEAF
    if name == "leaf of two":
        return make_leaf({"1.2.3": [1, "a", b"\x00\xff"], "1.2.4": [1 << 40, None, []]})
    children = [make_child(i, 40 + i) if i % 3 == 0 else None for i in range(16)]
    return Inner(1, tuple(children))


def pack(*parts: Any) -> bytes:
    return msgspec.msgpack.encode(list(parts))


CHILD = [b"\x07" * 32, 65, [0, 65, "1.2", ["1.1", "1.2"]]]
NOTHING = [None] * 15

BROKEN = {
    "nothing": b"",
    "no msgpack": b"\xc1",
    "trailing bytes": encode_node(EMPTY_LEAF) + b"\x00",
    "unknown kind": pack("branch", 1, []),
    "no kind": pack(),
    "a map": msgspec.msgpack.encode({"kind": "leaf"}),
    "unknown format": pack("leaf", 2, []),
    "format of another type": pack("leaf", "1", []),
    "one field too many": pack("leaf", 1, [], []),
    "one field too few": pack("leaf", 1),
    "unsorted": pack("leaf", 1, [["b", 1], ["a", 1]]),
    "double": pack("leaf", 1, [["a", 1], ["a", 1]]),
    "over-full": pack("leaf", 1, [[f"{i:03}", 1] for i in range(65)]),
    "key of another type": pack("leaf", 1, [[7, 1]]),
    "key not UTF-8": b"\x93\xa4leaf\x01\x91\x92\xa1\xff\x01",
    "integer longer than needed": b"\x93\xa4leaf\xcc\x01\x90",
    "array longer than needed": b"\x93\xa4leaf\x01\xdc\x00\x00",
    "inner with few entries": pack("inner", 1, [[b"\x07" * 32, 64, [0, 64, "", []]], *NOTHING]),
    "inner with 15 children": pack("inner", 1, [CHILD, *NOTHING[1:]]),
    "inner with 17 children": pack("inner", 1, [CHILD, *NOTHING, None]),
    "short digest": pack("inner", 1, [[b"\x07" * 31, *CHILD[1:]], *NOTHING]),
    "empty child": pack("inner", 1, [CHILD, [b"\x07" * 32, 0, [0, 0, "", []]], *NOTHING[1:]]),
    "negative count": pack("inner", 1, [[*CHILD[:2], [-1, 65, "", []]], *NOTHING]),
    "unsorted classes": pack("inner", 1, [[*CHILD[:2], [0, 65, "", ["2", "1"]]], *NOTHING]),
}


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda vector: vector["name"])
def test_nodes_keep_their_encoding_and_digest(vector: dict[str, str]) -> None:
    encoded = encode_node(make_golden(vector["name"]))
    assert encoded.hex() == vector["encoded"]
    assert compute_digest(encoded).hex() == vector["digest"]
    assert encode_node(decode_node(encoded)) == encoded


def test_the_empty_root_is_the_empty_leaf() -> None:
    assert compute_digest(encode_node(EMPTY_LEAF)) == EMPTY_ROOT
    assert decode_node(encode_node(EMPTY_LEAF)) == EMPTY_LEAF


@pytest.mark.parametrize("name", BROKEN)
def test_decoding_refuses(name: str) -> None:
    with pytest.raises(IntegrityError):
        decode_node(BROKEN[name])


def test_decoding_takes_the_well_formed_twin_of_what_it_refuses() -> None:
    inner = decode_node(pack("inner", 1, [CHILD, *NOTHING]))
    full = decode_node(pack("leaf", 1, [[f"{i:03}", 1] for i in range(64)]))
    assert (inner.count, full.count) == (65, 64)


def test_compression_round_trips_and_checks_the_name() -> None:
    encoded = encode_node(make_leaf({f"1.2.{i:02}": ["x" * 50, i] for i in range(64)}))
    digest = compute_digest(encoded)
    stored = compress(encoded)
    assert len(stored) < len(encoded) / 4
    assert decompress(stored, digest) == encoded
    with pytest.raises(IntegrityError, match="another digest"):
        decompress(compress(b"other"), digest)


@pytest.mark.parametrize("stored", [b"", b"no zstd at all", compress(b"x" * 999)[:-4]])
def test_decompression_refuses_broken_bytes(stored: bytes) -> None:
    with pytest.raises(IntegrityError):
        decompress(stored, bytes(32))


def test_decompression_refuses_a_bomb_before_it_unpacks() -> None:
    with pytest.raises(IntegrityError, match="impossible size"):
        decompress(compress(bytes(17 * 1024 * 1024)), bytes(32))


def test_memory_nodes_read_through_and_collect_only_what_is_new() -> None:
    parent = MemoryNodes()
    old = parent.write(b"old")
    staging = MemoryNodes(parent)
    new = staging.write(b"new")
    assert (staging.read(old), staging.read(new)) == (b"old", b"new")
    assert staging.new == {compute_digest(b"new"): b"new"}
    with pytest.raises(IntegrityError, match=new.hex()):
        parent.read(new)


def test_summaries_add_up() -> None:
    parts = [
        Summary(1, 5, "1.2.9", ("1.1", "1.3")),
        EMPTY_SUMMARY,
        Summary(2, 7, "1.2.10", ("1.2", "1.3")),
    ]
    whole = Summary(3, 12, "1.2.10", ("1.1", "1.2", "1.3"))
    assert merge_summaries(parts) == merge_summaries(reversed(parts)) == whole
    assert merge_summaries([]) == EMPTY_SUMMARY

"""Tree nodes as bytes: one canonical encoding, named by the SHA-256 of those bytes.

A node is a msgpack array `[kind, format, …]`:

    ["leaf", 1, [[key, value], …]]           at most 64 pairs, keys strictly ascending
    ["inner", 1, [child | nil, … 16 in all]] child = [digest, count, summary]
    summary = [n_series, n_instances, first_sop_uid, [sop_class, …]]

What an encoder can choose is fixed (shortest integers, ascending keys, no optional fields),
and a decoder takes nothing else, so equal content cannot have two names. Compression is how
a node is kept, never part of its name: another zstd version changes no digest.

Nodes hold UIDs, digests and counts only, no patient attributes: erasing a patient's
instances therefore leaves every node, and every commit id, valid.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Annotated, Final, Literal, Protocol, runtime_checkable

import msgspec
import zstandard

from lamella.errors import IntegrityError

NODE_FORMAT: Final = 1
"""Format number of the nodes written today; a dataset keeps its format for life."""

LEAF_CAPACITY: Final = 64
"""Entries a leaf may hold. Twice as many would double what a commit of one instance rewrites
(9.0 KB instead of 3.7 KB); a quarter would need 270 nodes for 500 slices instead of 17."""

FANOUT: Final = 16
"""Children of an inner node: one per nibble of a key's hash."""

MAX_NODE_BYTES: Final = 16 * 1024 * 1024
"""More than any node needs (a usual one has 10 KB): a guard against compressed bombs."""

DIGEST_BYTES: Final = 32

Digest = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Summary(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What a subtree holds, known without reading it. A monoid: see `merge_summaries`.

    Attributes:
        n_series: Number of series.
        n_instances: Number of instances.
        first_sop_uid: The bytewise lowest SOP Instance UID; empty where there is no instance.
        sop_classes: The SOP Class UIDs that occur, ascending.
    """

    n_series: Count = 0
    n_instances: Count = 0
    first_sop_uid: str = ""
    sop_classes: tuple[str, ...] = ()


EMPTY_SUMMARY: Final = Summary()


def merge_summaries(parts: Iterable[Summary]) -> Summary:
    """Return the summary of several disjoint subtrees taken together.

    Associative and commutative, with `EMPTY_SUMMARY` as its neutral element.
    """
    n_series = n_instances = 0
    first_sop_uid = ""
    sop_classes: set[str] = set()
    for part in parts:
        n_series += part.n_series
        n_instances += part.n_instances
        if part.first_sop_uid and (not first_sop_uid or part.first_sop_uid < first_sop_uid):
            first_sop_uid = part.first_sop_uid
        sop_classes.update(part.sop_classes)
    return Summary(n_series, n_instances, first_sop_uid, tuple(sorted(sop_classes)))


class Child(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """An inner node's word on one child.

    Attributes:
        digest: The child's name.
        count: Entries below the child; the child is a leaf iff that is at most 64.
        summary: What those entries hold.
    """

    digest: Digest
    count: Annotated[int, msgspec.Meta(ge=1)]
    summary: Summary


class Leaf(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag="leaf"):
    """A node that holds entries.

    Attributes:
        format: Format number of the node.
        entries: (key, encoded value), keys strictly ascending; values stay encoded, so that
            a rewritten leaf costs no more than the entries that changed.
    """

    format: Literal[1]
    entries: Annotated[tuple[tuple[str, msgspec.Raw], ...], msgspec.Meta(max_length=LEAF_CAPACITY)]

    @property
    def count(self) -> int:
        """Number of entries."""
        return len(self.entries)


class Inner(
    msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag="inner", dict=True
):
    """A node over 16 children.

    Attributes:
        format: Format number of the node.
        children: By the next nibble of the key's hash; None where no key has that nibble.
    """

    format: Literal[1]
    children: Annotated[
        tuple[Child | None, ...], msgspec.Meta(min_length=FANOUT, max_length=FANOUT)
    ]

    @cached_property  # each descent compares it with what the node's parent says
    def count(self) -> int:
        """Number of entries below this node."""
        return sum(child.count for child in self.children if child is not None)


Node = Leaf | Inner

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Node] = msgspec.msgpack.Decoder(Node)


def compute_digest(encoded: bytes) -> bytes:
    """Return the name of encoded bytes: their SHA-256, 32 bytes."""
    return hashlib.sha256(encoded).digest()


def encode_node(node: Node) -> bytes:
    """Return a node's canonical bytes."""
    return _ENCODER.encode(node)


def decode_node(encoded: bytes) -> Node:
    """Return the node that canonical bytes stand for.

    Raises:
        IntegrityError: The bytes are no node of a known kind and format, or not in the one
            form that `encode_node` makes: unsorted, over-full, a node that should be a leaf.
    """
    try:
        node = _DECODER.decode(encoded)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(f"node {_name(encoded)} cannot be decoded: {error}") from error
    fault = _find_leaf_fault(node) if isinstance(node, Leaf) else _find_inner_fault(node)
    if fault is None and _ENCODER.encode(node) != encoded:
        fault = "is not in canonical form"
    if fault is not None:
        raise IntegrityError(f"node {_name(encoded)} {fault}")
    return node


def _name(encoded: bytes) -> str:
    return compute_digest(encoded).hex()


def _find_leaf_fault(leaf: Leaf) -> str | None:
    keys = [key for key, _ in leaf.entries]
    return None if is_ascending(keys) else "has unsorted keys"


def _find_inner_fault(inner: Inner) -> str | None:
    if inner.count <= LEAF_CAPACITY:
        return "has too few entries for an inner node"
    for child in inner.children:
        if child is not None and not is_ascending(child.summary.sop_classes):
            return "has unsorted SOP classes"
    return None


def is_ascending(keys: list[str] | tuple[str, ...]) -> bool:
    """Tell whether keys are strictly ascending, bytewise.

    Python compares strings by code point, which orders them as their UTF-8 bytes do.
    """
    return all(a < b for a, b in itertools.pairwise(keys))


EMPTY_LEAF: Final = Leaf(NODE_FORMAT, ())
EMPTY_ROOT: Final = compute_digest(encode_node(EMPTY_LEAF))
"""Digest of the empty map: one empty leaf. Readable everywhere without being stored."""


def decode_own(encoded: bytes) -> Node:
    """Return the node that `encode_node` has just made these bytes of: nothing is checked."""
    return _DECODER.decode(encoded)


class NodeReader(Protocol):
    """Where nodes are read."""

    def read(self, digest: bytes) -> bytes:
        """Return a node's encoded, uncompressed bytes.

        Raises:
            IntegrityError: There is no such node, or its bytes have another digest.
        """
        ...


class NodeLoader(Protocol):
    """A reader that keeps nodes decoded: decoding, which checks everything, is what costs."""

    def load(self, digest: bytes) -> Node:
        """Return a node.

        Raises:
            IntegrityError: There is no such node, or its bytes are damaged.
        """
        ...


def find_loader(nodes: object) -> Callable[[bytes], Node] | None:
    """Return how to load decoded nodes where a reader is a `NodeLoader`, too.

    (A check by protocol costs 10 µs, and a trie is opened several times for each instance.)
    """
    return getattr(nodes, "load", None)


def find_batch_loader(
    nodes: object,
) -> Callable[[Iterable[bytes]], Mapping[bytes, Node]] | None:
    """Return how to have many nodes read at once, so that each is in memory, or None."""
    return getattr(nodes, "load_many", None)


def read_many(nodes: NodeReader, digests: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return the encoded bytes of nodes, read together where a reader can do that.

    Raises:
        IntegrityError: There is no such node, or its bytes have another digest.
    """
    read: Callable[[Iterable[bytes]], dict[bytes, bytes]]
    read = getattr(nodes, "read_many", None) or (
        lambda names: {digest: nodes.read(digest) for digest in names}
    )
    return read(digests)


@runtime_checkable
class NodeWriter(Protocol):
    """Where nodes are written."""

    def write(self, encoded: bytes, inner: Inner | None = None) -> bytes:
        """Keep an encoded node and return its digest; writing a known node is no error.

        Args:
            encoded: The node's bytes.
            inner: The node itself, if it is an inner one, so that it need not be decoded. (The
                entries of a leaf are parts of older leaves, which would be kept for them.)
        """
        ...


class MemoryNodes:
    """Nodes in memory over an optional parent: what a commit collects before it inserts.

    Attributes:
        new: Nodes written here, by digest, encoded and uncompressed. A node that the parent
            holds as well may be among them: insert with "do nothing on conflict".
    """

    def __init__(self, parent: NodeReader | None = None) -> None:
        self.new: dict[bytes, bytes] = {}
        self._decoded: dict[bytes, Node] = {}
        self._parent = parent
        self._load = find_loader(parent)

    def read(self, digest: bytes) -> bytes:
        """Return a node written here, else the parent's.

        Raises:
            IntegrityError: Neither has it.
        """
        encoded = self.new.get(digest)
        if encoded is not None:
            return encoded
        if self._parent is None:
            raise IntegrityError(f"node {digest.hex()} is missing")
        return self._parent.read(digest)

    def load(self, digest: bytes) -> Node:
        """Return a node written here, else the parent's, decoded.

        Raises:
            IntegrityError: Neither has it.
        """
        if digest not in self.new and self._load is not None:
            return self._load(digest)
        encoded = self.read(digest)
        if digest not in self.new:
            return decode_node(encoded)
        if digest not in self._decoded:
            self._decoded[digest] = decode_own(encoded)
        return self._decoded[digest]

    def write(self, encoded: bytes, inner: Inner | None = None) -> bytes:
        """Keep an encoded node and return its digest."""
        digest = compute_digest(encoded)
        self.new[digest] = encoded
        if inner is not None:
            self._decoded[digest] = inner
        return digest


class _Compressors(threading.local):
    """zstd contexts: costly to make, not safe to share between threads."""

    def __init__(self) -> None:
        # No checksum: the digest is one. The content size lets a reader allocate once. Level 1
        # takes twice as long, for 2 % less: half of a node is digests.
        self.compressor = zstandard.ZstdCompressor(level=-1)
        self.decompressor = zstandard.ZstdDecompressor()


_COMPRESSORS = _Compressors()


def compress(encoded: bytes) -> bytes:
    """Return a node's bytes as they are kept (zstd)."""
    return _COMPRESSORS.compressor.compress(encoded)


def decompress(stored: bytes, digest: bytes) -> bytes:
    """Return a node's bytes from how they are kept.

    Args:
        stored: What `compress` made.
        digest: The node's name, which the result is checked against.

    Raises:
        IntegrityError: Not zstd, longer than any node, or bytes of another name.
    """
    try:
        size_bytes = zstandard.frame_content_size(stored)
        if not 0 <= size_bytes <= MAX_NODE_BYTES:
            raise IntegrityError(f"node {digest.hex()} states an impossible size")
        encoded = _COMPRESSORS.decompressor.decompress(stored, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise IntegrityError(f"node {digest.hex()} cannot be decompressed") from error
    if compute_digest(encoded) != digest:
        raise IntegrityError(f"node {digest.hex()} has bytes of another digest")
    return encoded

"""How many series and instances studies hold, read from a tree's leaves and kept.

    tree ─ inner nodes ─▶ digests of leaves ─▶ sizes of their studies, from memory or read together

A page of a hundred studies lies in a hundred leaves. A leaf that is boiled down to sizes takes a
tenth of the memory that it takes decoded, so those of 1e5 studies can be kept; and as its digest
names it, a commit that changes one study leaves the sizes of all other leaves known.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from lamella.errors import IntegrityError
from lamella.vcs.cache import LeastRecent
from lamella.vcs.tree import Tree

CACHE_BYTES: Final = 8 << 20
_OVERHEAD_BYTES: Final = 350
"""What a leaf takes in memory besides its numbers, about."""

LeafSizes: TypeAlias = "array[int]"
"""Hashes of the studies' UIDs (Python's, of this process), then their series, then instances."""


class StudySize(NamedTuple):
    """What a study holds."""

    n_series: int
    n_instances: int


class _Summary(msgspec.Struct, array_like=True, gc=False):
    """The beginning of a `nodes.Summary`."""

    n_series: int
    n_instances: int


class _Study(msgspec.Struct, array_like=True, gc=False):
    """A `tree.Subtree`."""

    root: msgspec.Raw
    summary: _Summary


class _Leaf(msgspec.Struct, array_like=True, gc=False):
    """A `nodes.Leaf` of a study map."""

    kind: str
    format: int
    entries: tuple[tuple[str, _Study], ...]


_DECODER: Final = msgspec.msgpack.Decoder(_Leaf)


class StudySizes:
    """Sizes of studies by digest of the leaf that holds them; safe between threads."""

    def __init__(self) -> None:
        self._leaves: LeastRecent[bytes, LeafSizes] = LeastRecent(CACHE_BYTES)

    def find_many(self, tree: Tree, study_uids: Iterable[str]) -> dict[str, StudySize]:
        """Return the sizes of those of some studies that a tree has.

        Raises:
            IntegrityError: A node is missing or broken.
        """
        places = tree.locate_studies(study_uids)
        known = {digest: self._leaves.get(digest) for digest in places}
        missing = [digest for digest, sizes in known.items() if sizes is None]
        for digest, encoded in tree.read_nodes(missing).items():
            sizes = known[digest] = _measure_leaf(digest, encoded)
            self._leaves.put(digest, sizes, _OVERHEAD_BYTES + sizes.itemsize * len(sizes))
        found: dict[str, StudySize] = {}
        for digest, uids in places.items():
            found |= _look_up(known[digest], uids)
        return found


def _measure_leaf(digest: bytes, encoded: bytes) -> LeafSizes:
    try:
        entries = _DECODER.decode(encoded).entries
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IntegrityError(f"node {digest.hex()} cannot be decoded: {error}") from error
    sizes = array("q", [hash(uid) for uid, _ in entries])
    sizes.extend([study.summary.n_series for _, study in entries])
    sizes.extend([study.summary.n_instances for _, study in entries])
    return sizes


def _look_up(sizes: LeafSizes | None, uids: Iterable[str]) -> Mapping[str, StudySize]:
    assert sizes is not None, "each node that was asked for was read"
    n_studies = len(sizes) // 3
    hashes = sizes[:n_studies]
    found: dict[str, Any] = {}
    for uid in uids:
        if (number := hash(uid)) in hashes:
            at = hashes.index(number)
            found[uid] = StudySize(sizes[n_studies + at], sizes[2 * n_studies + at])
    return found

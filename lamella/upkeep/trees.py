"""Trees: every node is there, has its digest, its place and the content its parent states.

Commits share most of their nodes. A node is looked at once for each place it is claimed to
have: level, study and series, path, count and summary; so the walk costs what is new in a
commit, and a node that is hung up in a wrong place is still found.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec
import sqlalchemy as sa

from lamella.errors import IntegrityError
from lamella.upkeep.report import Finding, Kind
from lamella.vcs.nodes import (
    EMPTY_LEAF,
    EMPTY_ROOT,
    Inner,
    Leaf,
    Node,
    Summary,
    decode_node,
    decompress,
    merge_summaries,
)
from lamella.vcs.tables import node
from lamella.vcs.tree import (
    INSTANCES_LEVEL,
    SERIES_LEVEL,
    STUDIES_LEVEL,
    Entry,
    InstanceKey,
    Subtree,
)
from lamella.vcs.trie import Level, compute_path

NODES_A_STEP: Final = 300
READ_AT_ONCE: Final = 100

Owner = tuple[str, ...]
"""() for the study map, (study,) for a study's series, (study, series) for its instances."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What something says of a node.

    Attributes:
        owner: Whose map the node is part of.
        prefix: Its place in that map: nibbles of the hash of every key below it.
        count: Entries below it; None if nobody said.
        summary: What it holds; None if nobody said.
        commit_id: A commit that it was reached from, for the finding.
    """

    owner: Owner
    prefix: str
    digest: bytes
    count: int | None
    summary: Summary | None
    commit_id: bytes

    @property
    def identity(self) -> int:
        """A hash of all but the commit: equal claims need checking once."""
        return hash((self.owner, self.prefix, self.digest, self.count, self.summary))


@dataclass(slots=True)
class Step:
    """What a step of the walk came upon."""

    findings: list[Finding] = field(default_factory=list)
    entries: list[tuple[InstanceKey, Entry]] = field(default_factory=list)
    nodes: int = 0


class TreeWalk:
    """Walks all trees of a dataset; `step` does a bounded part of it in one transaction.

    Attributes:
        broken: Commits in whose tree something could not be read.
    """

    def __init__(self, dataset_id: int, dataset_name: str) -> None:
        self.broken: set[bytes] = set()
        self._dataset_id = dataset_id
        self._dataset_name = dataset_name
        self._claims: list[Claim] = []
        self._seen: set[int] = set()
        self._reported: dict[bytes, Kind] = {}

    def enter(self, commit_id: bytes, root: bytes) -> None:
        """Add a commit's tree to what is walked."""
        self._push(Claim((), "", root, None, None, commit_id))

    @property
    def is_done(self) -> bool:
        """Whether all trees that were entered have been walked."""
        return not self._claims

    def step(self, connection: sa.Connection) -> Step:
        """Look at the next nodes."""
        done = Step()
        while self._claims and done.nodes < NODES_A_STEP:
            batch = [self._claims.pop() for _ in range(min(READ_AT_ONCE, len(self._claims)))]
            stored = self._read(connection, {claim.digest for claim in batch})
            for claim in batch:
                done.nodes += 1
                self._look_at(claim, stored.get(claim.digest), done)
        return done

    def _push(self, claim: Claim) -> None:
        identity = claim.identity
        if identity not in self._seen:
            self._seen.add(identity)
            self._claims.append(claim)

    def _read(self, connection: sa.Connection, digests: Iterable[bytes]) -> dict[bytes, bytes]:
        query = sa.select(node.c.digest, node.c.data).where(
            node.c.dataset_id == self._dataset_id, node.c.digest.in_(list(digests))
        )
        return {row.digest: row.data for row in connection.execute(query)}

    def _look_at(self, claim: Claim, stored: bytes | None, done: Step) -> None:
        try:
            content = self._decode(claim, stored)
            self._compare(claim, content)
            if isinstance(content, Inner):
                self._enter_children(claim, content)
            elif content.entries:
                self._enter_entries(claim, content, done)
        except _NodeFault as fault:
            self.broken.add(claim.commit_id)
            if claim.digest not in self._reported:
                self._reported[claim.digest] = fault.kind
                sentence = f"{fault} It belongs to {self._describe(claim)}."
                done.findings.append(Finding(fault.kind, claim.digest.hex(), sentence))

    def _decode(self, claim: Claim, stored: bytes | None) -> Node:
        name = claim.digest.hex()
        if stored is None:
            if claim.digest == EMPTY_ROOT:
                return EMPTY_LEAF
            raise _NodeFault(Kind.NODE_MISSING, f"Node {name} is missing.")
        try:
            return decode_node(decompress(stored, claim.digest))
        except IntegrityError as error:
            raise _NodeFault(Kind.NODE_DAMAGED, f"Node {name} is damaged: {error}.") from error

    def _compare(self, claim: Claim, content: Node) -> None:
        name = claim.digest.hex()
        if claim.count is not None and content.count != claim.count:
            raise _NodeFault(Kind.TREE_WRONG, f"Node {name} has a count its parent denies.")
        if content.count == 0 and claim.owner:
            raise _NodeFault(Kind.TREE_WRONG, f"Node {name} is empty and should not be there.")
        if isinstance(content, Leaf):
            for key, _ in content.entries:
                if not compute_path(key).startswith(claim.prefix):
                    raise _NodeFault(Kind.TREE_WRONG, f"Node {name} is not in its place.")
        if claim.summary is not None and _summarize(claim, content) != claim.summary:
            raise _NodeFault(Kind.TREE_WRONG, f"Node {name} has a summary its parent denies.")

    def _enter_children(self, claim: Claim, content: Inner) -> None:
        for index, child in enumerate(content.children):
            if child is not None:
                prefix = f"{claim.prefix}{index:x}"
                self._push(
                    Claim(
                        claim.owner,
                        prefix,
                        child.digest,
                        child.count,
                        child.summary,
                        claim.commit_id,
                    )
                )

    def _enter_entries(self, claim: Claim, content: Leaf, done: Step) -> None:
        for key, raw in content.entries:
            value = _decode_value(claim, key, raw)
            if isinstance(value, Entry):
                done.entries.append(((claim.owner[0], claim.owner[1], key), value))
                continue
            summary = value.summary
            if len(claim.owner) == 1:  # a series counts itself, its map does not
                summary = msgspec.structs.replace(summary, n_series=0)
            self._push(Claim((*claim.owner, key), "", value.root, None, summary, claim.commit_id))

    def _describe(self, claim: Claim) -> str:
        what = ("the studies", "study", "series")[len(claim.owner)]
        name = f" {claim.owner[-1]}" if claim.owner else ""
        return f"{what}{name} in commit {claim.commit_id.hex()} of {self._dataset_name}"


class _NodeFault(Exception):
    """A node cannot be used as its claim says."""

    def __init__(self, kind: Kind, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


_LEVELS: Final[tuple[Level[Subtree] | Level[Entry], ...]] = (
    STUDIES_LEVEL,
    SERIES_LEVEL,
    INSTANCES_LEVEL,
)


def _decode_value(claim: Claim, key: str, raw: msgspec.Raw) -> Subtree | Entry:
    try:
        return _LEVELS[len(claim.owner)].decode(key, raw)
    except IntegrityError as error:
        sentence = f"Node {claim.digest.hex()} is damaged: {error}."
        raise _NodeFault(Kind.NODE_DAMAGED, sentence) from error


def _summarize(claim: Claim, content: Node) -> Summary:
    if isinstance(content, Inner):
        return merge_summaries(child.summary for child in content.children if child is not None)
    parts = []
    for key, raw in content.entries:
        value = _decode_value(claim, key, raw)
        if isinstance(value, Entry):
            parts.append(INSTANCES_LEVEL.summarize(key, value))
        else:
            level = SERIES_LEVEL if claim.owner else STUDIES_LEVEL
            parts.append(level.summarize(key, value))
    return merge_summaries(parts)

"""What every verb of this room works on: the archive, plus caches of things that never change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from lamella.archive.blobs import Blobs
from lamella.archive.catalog_rows import StoredRow
from lamella.archive.derived_cache import DerivedCache
from lamella.archive.installation import Archive
from lamella.archive.search import Visible
from lamella.archive.statements import Statement
from lamella.archive.upsert import split_batches
from lamella.errors import IntegrityError
from lamella.vcs.cache import LeastRecent
from lamella.vcs.history import StoredCommit
from lamella.vcs.known_views import KnownViews
from lamella.vcs.nodes import (
    EMPTY_LEAF,
    EMPTY_ROOT,
    MemoryNodes,
    Node,
    decode_node,
    decompress,
    encode_node,
)
from lamella.vcs.series_attributes import AttributeCache
from lamella.vcs.series_documents import SeriesShelf, name_folder
from lamella.vcs.study_sizes import StudySizes
from lamella.vcs.tables import node
from lamella.vcs.tree import Tree

if TYPE_CHECKING:
    from lamella.vcs.selection import Selected

NODE_CACHE_BYTES = 8 << 20
_DECODED_WEIGHT = 3  # a decoded node takes about this many times its encoded size
VISIBLE_CACHE_ENTRIES = 32
SELECTED_INSTANCES = 2_000  # of about 1.5 KB each
ROW_CACHE_BYTES = 8 << 20
SHOWN_CACHE_ENTRIES = 512


_READ_NODE = Statement(
    sa.select(node.c.data).where(
        node.c.dataset_id == sa.bindparam("dataset_id"), node.c.digest == sa.bindparam("digest")
    )
)
_READ_NODES = Statement(
    sa.select(node.c.digest, node.c.data).where(
        node.c.dataset_id == sa.bindparam("dataset_id"),
        node.c.digest.in_(sa.bindparam("digests", expanding=True)),
    )
)


class Repository:
    """One installation as the versioning engine sees it.

    Attributes:
        archive: Database, packs and spool.
        blobs: Reads stored bytes.
        visible_sets: Visible rows by id of a committed set (a set never changes).
        commit_rows: Visible rows by dataset and commit, of commits made here. (An id is a hash
            of the commit, so one whose transaction was undone does no harm.)
        study_sizes: What studies hold.
        views: Resolved revisions.
        commits: Commits that revisions led to, by dataset and id; they never change.
        shown: Commits as they are shown where something is hidden, by dataset, digest of what is
            hidden, and commit.
        shelf: Documents of series, on disk.
        series_attributes: What searches read of them, in memory.
        selections: Instances in the order of answers, by dataset, study, series and its node.
        rows: Catalog rows by dataset and row id. (Read them in transactions that have made none.)
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.blobs = Blobs(archive.database, archive.packs)
        self.visible_sets: LeastRecent[int, Visible] = LeastRecent(VISIBLE_CACHE_ENTRIES)
        self.commit_rows: LeastRecent[tuple[int, bytes], Visible] = LeastRecent(
            VISIBLE_CACHE_ENTRIES
        )
        self.rows: LeastRecent[tuple[int, int], StoredRow] = LeastRecent(ROW_CACHE_BYTES)
        self.study_sizes = StudySizes()
        self.views = KnownViews(archive.database)
        self.commits: LeastRecent[tuple[int, bytes], StoredCommit] = LeastRecent(
            SHOWN_CACHE_ENTRIES
        )
        self.shown: LeastRecent[tuple[int, bytes, bytes], StoredCommit] = LeastRecent(
            SHOWN_CACHE_ENTRIES
        )
        self.shelf = SeriesShelf(DerivedCache(archive.cache_folder / name_folder()))
        self.series_attributes = AttributeCache()
        self.selections: LeastRecent[tuple[int, str, str, bytes], Sequence[Selected]] = LeastRecent(
            SELECTED_INSTANCES
        )
        self._nodes: LeastRecent[bytes, Node] = LeastRecent(NODE_CACHE_BYTES)

    def nodes(self, connection: sa.Connection, dataset_id: int) -> DatabaseNodes:
        """Return the nodes of a dataset, read within a transaction."""
        return DatabaseNodes(connection, dataset_id, self._nodes)

    def keep_nodes(self, nodes: MemoryNodes) -> None:
        """Keep nodes that a commit writes, for the next one reads them.

        Should its transaction be undone, no tree leads to them: a name stands for its content.
        """
        for digest, encoded in nodes.new.items():
            self._nodes.put(digest, nodes.load(digest), _DECODED_WEIGHT * len(encoded))

    def tree(self, connection: sa.Connection, dataset_id: int, root: bytes) -> Tree:
        """Return a tree of a dataset, read within a transaction."""
        return Tree(self.nodes(connection, dataset_id), root)

    def recall_tree(self, root: bytes) -> Tree:
        """Return a tree that needs no database; reading what is not cached raises `NotCached`."""
        return Tree(CachedNodes(self._nodes), root)


class NotCached(Exception):
    """A node has to be read from the database; see `Repository.recall_tree`."""


class CachedNodes:
    """Reads nodes that are in memory, decoded, and no others."""

    def __init__(self, cache: LeastRecent[bytes, Node]) -> None:
        self._cache = cache

    def load(self, digest: bytes) -> Node:
        """Return a node.

        Raises:
            NotCached: It is not in memory.
        """
        node = self._cache.get(digest)
        if node is None:
            raise NotCached
        return node

    def read(self, digest: bytes) -> bytes:
        """Return a node's encoded bytes.

        Raises:
            NotCached: It is not in memory.
        """
        return encode_node(self.load(digest))


class DatabaseNodes:
    """Reads nodes of one dataset, through the cache of decoded ones."""

    def __init__(
        self, connection: sa.Connection, dataset_id: int, cache: LeastRecent[bytes, Node]
    ) -> None:
        self._connection = connection
        self._dataset_id = dataset_id
        self._cache = cache

    def load(self, digest: bytes) -> Node:
        """Return a node.

        Raises:
            IntegrityError: The dataset has no such node, or its bytes are damaged.
        """
        node = self._cache.get(digest)
        return self._keep(digest, self.read(digest)) if node is None else node

    def load_many(self, digests: Iterable[bytes]) -> dict[bytes, Node]:
        """Return nodes by digest; those that are not in memory are read together.

        Raises:
            IntegrityError: The dataset lacks one, or its bytes are damaged.
        """
        found = {digest: self._cache.get(digest) for digest in digests}
        missing = [digest for digest, node in found.items() if node is None]
        for digest, encoded in self._read_together(missing):
            found[digest] = self._keep(digest, encoded)
        return {digest: node or self.load(digest) for digest, node in found.items()}

    def read_many(self, digests: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return nodes' encoded bytes by digest; those of leaves are not kept in memory.

        Raises:
            IntegrityError: The dataset lacks one, or its bytes are damaged.
        """
        wanted = list(digests)
        found = dict(self._read_together(wanted))
        return {digest: found.get(digest) or self.read(digest) for digest in wanted}

    def _read_together(self, digests: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
        for batch in split_batches(digests):
            names = {"dataset_id": self._dataset_id, "digests": batch}
            for digest, stored in _READ_NODES.fetch_all(self._connection, names):
                yield digest, decompress(stored, digest)

    def _keep(self, digest: bytes, encoded: bytes) -> Node:
        node = decode_node(encoded)
        self._cache.put(digest, node, _DECODED_WEIGHT * len(encoded))
        return node

    def read(self, digest: bytes) -> bytes:
        """Return a node's encoded bytes.

        Raises:
            IntegrityError: The dataset has no such node, or its bytes are damaged.
        """
        if digest == EMPTY_ROOT:
            return encode_node(EMPTY_LEAF)
        names = {"dataset_id": self._dataset_id, "digest": digest}
        stored = _READ_NODE.fetch_value(self._connection, names)
        if stored is None:
            raise IntegrityError(f"node {digest.hex()} is missing")
        return decompress(stored, digest)

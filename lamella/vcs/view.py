"""A view: a revision, resolved once at the door and pinned to its commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa

from lamella.archive.search import Visible
from lamella.errors import LamellaError, ReadOnlyRevision, ResourceNotFound
from lamella.vcs.history import load_commit
from lamella.vcs.judgement import find_places
from lamella.vcs.refs import DatasetRow, find_dataset
from lamella.vcs.repository import Repository
from lamella.vcs.revision import Resolved, resolve
from lamella.vcs.tree import Entry, InstanceKey, Tree
from lamella.vcs.visible import load_visible

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class View:
    """One commit of a dataset, as a request sees it from beginning to end.

    Attributes:
        dataset: The dataset.
        revision: What was typed, and what it resolved to.
        root: The commit's tree.
        visible_id: The commit's visible set.
    """

    dataset: DatasetRow
    revision: Resolved
    root: bytes
    visible_id: int

    @property
    def commit_id(self) -> str:
        """The commit, 64 hex digits."""
        return self.revision.commit_id.hex()

    @property
    def branch(self) -> str:
        """The branch that a store or delete goes to.

        Raises:
            ReadOnlyRevision: The revision names no branch.
        """
        if self.revision.branch is None:
            raise ReadOnlyRevision(
                f"{self.revision.text!r} is not a branch: only branches can be written."
            )
        return self.revision.branch

    def tree(self, connection: sa.Connection, repository: Repository) -> Tree:
        """Return the tree, read within a transaction."""
        return repository.tree(connection, self.dataset.id, self.root)

    def visible(self, connection: sa.Connection, repository: Repository) -> Visible:
        """Return the catalog rows that this commit sees."""
        return load_visible(connection, self.visible_id, repository.visible_sets)


def open_view(
    connection: sa.Connection, repository: Repository, dataset: str, revision: str | None
) -> View:
    """Resolve a revision of a dataset; None means its default branch.

    Raises:
        InvalidRequest, AmbiguousRevision, RevisionNotFound: As `revision.resolve`.
    """
    owner = find_dataset(connection, dataset)
    resolved = resolve(connection, owner, revision)
    found = load_commit(connection, owner.id, resolved.commit_id)
    return View(owner, resolved, found.commit.tree, found.visible_id)


def recall_view(repository: Repository, dataset: str, revision: str | None) -> View | None:
    """Return what a revision resolves to, if that is known without a query."""
    version = repository.archive.database.read_version()
    return repository.views.find(dataset, revision, version)


async def pin_view(repository: Repository, dataset: str, revision: str | None) -> View:
    """Resolve a revision of a dataset; without a query if nothing was committed since it was last.

    Raises:
        InvalidRequest, AmbiguousRevision, RevisionNotFound: As `revision.resolve`.
    """
    version = repository.archive.database.read_version()
    known = repository.views.find(dataset, revision, version)
    if known is not None:
        return known
    view, _ = await _resolve_and_read(
        repository, dataset, revision, version, lambda _connection, _view: None
    )
    return view


async def read_view(
    repository: Repository,
    dataset: str,
    revision: str | None,
    work: Callable[[sa.Connection, View], T],
) -> tuple[View, T]:
    """Resolve a revision of a dataset and read from its view, in one transaction.

    Args:
        repository: What to read.
        dataset: Name of the dataset.
        revision: As typed; None for the default branch.
        work: May run twice, if the dataset is deleted and made anew meanwhile.

    Raises:
        InvalidRequest, AmbiguousRevision, RevisionNotFound: As `revision.resolve`.
    """
    database = repository.archive.database
    version = database.read_version()
    known = repository.views.find(dataset, revision, version)
    if known is not None:
        try:
            return known, await database.read(lambda connection: work(connection, known))
        except (LamellaError, LookupError):
            # a view is for ever, unless its dataset was deleted before the read began
            now = database.read_version()
            if now == version:
                raise
            version = now
    return await _resolve_and_read(repository, dataset, revision, version, work)


async def _resolve_and_read(
    repository: Repository,
    dataset: str,
    revision: str | None,
    version: int | None,
    work: Callable[[sa.Connection, View], T],
) -> tuple[View, T]:
    def read(connection: sa.Connection) -> tuple[View, T]:
        view = open_view(connection, repository, dataset, revision)
        repository.views.keep(dataset, revision, version, view)
        return view, work(connection, view)

    return await repository.archive.database.read(read)


def find_instance(
    connection: sa.Connection, dataset_id: int, tree: Tree, sop_uid: str
) -> tuple[InstanceKey, Entry]:
    """Find an instance by its UID alone.

    Raises:
        ResourceNotFound: This tree has no such instance.
    """
    for study_uid, series_uid in find_places(connection, dataset_id, sop_uid):
        entry = tree.entry(study_uid, series_uid, sop_uid)
        if entry is not None:
            return (study_uid, series_uid, sop_uid), entry
    raise ResourceNotFound(f"There is no instance {sop_uid} at this revision.")

"""A view: a revision, resolved once at the door and pinned to its commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa

from lamella.archive.search import Visible
from lamella.errors import LamellaError, ReadOnlyRevision, ResourceNotFound
from lamella.vcs.history import StoredCommit, load_commit
from lamella.vcs.judgement import find_places
from lamella.vcs.lookup import look_up
from lamella.vcs.masks import find_shown, read_shown
from lamella.vcs.refs import DatasetRow, find_dataset
from lamella.vcs.rejections import explain_absence
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
        root: The commit's tree, without what is hidden at every revision.
        visible_id: The visible set of that tree.
        shown_id: The commit that is shown: that of the revision, or its mask.
    """

    dataset: DatasetRow
    revision: Resolved
    root: bytes
    visible_id: int
    shown_id: bytes

    @property
    def commit_id(self) -> str:
        """The commit, 64 hex digits."""
        return self.revision.commit_id.hex()

    @property
    def is_masked(self) -> bool:
        """Whether the commit holds what is hidden: it may be seen again some day."""
        return self.shown_id != self.revision.commit_id

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

    def explain_absence(
        self,
        connection: sa.Connection,
        error: LamellaError,
        study_uid: str,
        series_uid: str | None = None,
        sop_uid: str | None = None,
    ) -> LamellaError:
        """Return why something is not there: it is hidden, or else the error that says so."""
        if self.dataset.hidden is None:
            return error
        names = (study_uid, series_uid, sop_uid)
        return explain_absence(connection, self.dataset.id, error, *names)


def open_view(
    connection: sa.Connection, repository: Repository, dataset: str, revision: str | None
) -> View:
    """Resolve a revision of a dataset; None means its default branch.

    Raises:
        InvalidRequest, AmbiguousRevision, RevisionNotFound: As `revision.resolve`.
        MaskNeeded: Something is hidden; `masks.read_shown` runs reads that may meet this.
    """
    owner = find_dataset(connection, dataset)
    resolved = resolve(connection, owner, revision)
    name = (owner.id, resolved.commit_id)
    found = repository.commits.get(name)
    if found is None:
        found = load_commit(connection, *name)
        repository.commits.put(name, found)
    shown = find_shown(connection, repository, owner, found)
    return _make_view(owner, resolved, shown)


def _make_view(owner: DatasetRow, resolved: Resolved, shown: StoredCommit) -> View:
    return View(owner, resolved, shown.commit.tree, shown.visible_id, shown.id)


async def recall_view(repository: Repository, dataset: str, revision: str | None) -> View | None:
    """Return what a revision resolves to, if that is known without a transaction.

    It takes microseconds, or, on a database that has no version number, one statement.
    """
    database = repository.archive.database
    if database.has_version:
        return repository.views.find(dataset, revision, database.read_version())
    found = await look_up(repository, dataset, revision)
    return None if found is None else _make_view(*found)


async def pin_view(repository: Repository, dataset: str, revision: str | None) -> View:
    """Resolve a revision of a dataset; without a query if nothing was committed since it was last.

    Raises:
        InvalidRequest, AmbiguousRevision, RevisionNotFound: As `revision.resolve`.
    """
    version = repository.archive.database.read_version()
    known = await recall_view(repository, dataset, revision)
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
    looked_up: View | None = None,
) -> tuple[View, T]:
    """Resolve a revision of a dataset and read from its view, in one transaction.

    Args:
        repository: What to read.
        dataset: Name of the dataset.
        revision: As typed; None for the default branch.
        work: May run twice, if the dataset is deleted and made anew meanwhile.
        looked_up: What `recall_view` has just returned; where it took a statement, none is needed.

    Raises:
        InvalidRequest, AmbiguousRevision, RevisionNotFound: As `revision.resolve`.
    """
    database = repository.archive.database
    version = database.read_version()
    known = None if database.has_version else looked_up
    if known is None:
        known = await recall_view(repository, dataset, revision)
    if known is not None:
        try:
            return known, await database.read(lambda connection: work(connection, known))
        except (LamellaError, LookupError):
            # a view is for ever, unless its dataset was deleted before the read began
            now = database.read_version()
            if database.has_version and now == version:
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

    return await read_shown(repository, read)


def find_instance(
    connection: sa.Connection, repository: Repository, view: View, sop_uid: str
) -> tuple[InstanceKey, Entry]:
    """Find an instance by its UID alone.

    Raises:
        ResourceNotFound: The view has no such instance.
        Rejected: It is hidden.
    """
    tree = view.tree(connection, repository)
    places = find_places(connection, view.dataset.id, sop_uid)
    for study_uid, series_uid in places:
        entry = tree.entry(study_uid, series_uid, sop_uid)
        if entry is not None:
            return (study_uid, series_uid, sop_uid), entry
    error: LamellaError = ResourceNotFound(f"There is no instance {sop_uid} at this revision.")
    for study_uid, series_uid in places:
        error = view.explain_absence(connection, error, study_uid, series_uid, sop_uid)
    raise error

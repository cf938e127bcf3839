"""Targets: what a command works on, as typed.

DATASET@REVISION    split at the first @
-d DATASET REVISION the same
DATASET             its default branch
REVISION            of dataset `default`, unless a dataset has that name
(nothing)           the default branch of dataset `default`, or of -d DATASET
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamella.cli.usage import UsageError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from lamella.vcs.refs import DatasetRow
    from lamella.vcs.repository import Repository
    from lamella.vcs.view import View

DEFAULT_DATASET = "default"


@dataclass(frozen=True, slots=True)
class Target:
    """A target as far as text can tell.

    Attributes:
        dataset: The dataset; None where `word` may name one.
        revision: The revision; None for the default branch.
        word: A single word that is a dataset's name or a revision of `default`.
    """

    dataset: str | None
    revision: str | None
    word: str | None = None


def parse_target(text: str | None, dataset: str | None) -> Target:
    """Parse a target.

    Args:
        text: What was typed, or None.
        dataset: The value of `-d`, or None.

    Raises:
        UsageError: One side of the @ is empty.
    """
    if dataset is not None:
        return Target(dataset, text)
    if text is None:
        return Target(DEFAULT_DATASET, None)
    name, mark, revision = text.partition("@")
    if not mark:
        return Target(None, None, text)
    if not name or not revision:
        raise UsageError(f"{text!r} is no target: write DATASET@REVISION.")
    return Target(name, revision)


def open_target(connection: sa.Connection, repository: Repository, target: Target) -> View:
    """Resolve a target to a view.

    Raises:
        InvalidRequest, AmbiguousRevision, RevisionNotFound: It stands for nothing.
        MaskNeeded: As `open_view`.
    """
    from lamella.vcs.view import open_view

    return open_view(connection, repository, *name_view(connection, target))


def resolve_target(connection: sa.Connection, target: Target) -> tuple[DatasetRow, bytes]:
    """Resolve a target to a dataset and a commit, whatever of it is shown.

    Raises:
        InvalidRequest, AmbiguousRevision, RevisionNotFound: It stands for nothing.
    """
    from lamella.vcs.refs import find_dataset
    from lamella.vcs.revision import resolve

    name, revision = name_view(connection, target)
    owner = find_dataset(connection, name)
    return owner, resolve(connection, owner, revision).commit_id


def name_view(connection: sa.Connection, target: Target) -> tuple[str, str | None]:
    """Return the dataset and the revision that a target names."""
    if target.word is None:
        return target.dataset or DEFAULT_DATASET, target.revision
    if _is_dataset(connection, target.word):
        return target.word, None
    return DEFAULT_DATASET, target.word


def parse_ref(text: str, dataset: str | None) -> tuple[str, str]:
    """Parse `NAME` or `DATASET@NAME` of a branch or tag; return (dataset, name).

    Raises:
        UsageError: One side of the @ is empty, or `-d` names another dataset.
    """
    owner, mark, name = text.partition("@")
    if not mark:
        return dataset or DEFAULT_DATASET, text
    if not owner or not name:
        raise UsageError(f"{text!r} is no name: write NAME or DATASET@NAME.")
    if dataset is not None and dataset != owner:
        raise UsageError(f"{text!r} and -d {dataset} name two datasets.")
    return owner, name


def _is_dataset(connection: sa.Connection, name: str) -> bool:
    from lamella.errors import RevisionNotFound
    from lamella.vcs.refs import find_dataset

    try:
        find_dataset(connection, name)
    except RevisionNotFound:
        return False
    return True

"""Called AE titles, and the branch or frozen revision that each one stands for.

One is of the settings; the others are rows, which every process reads for every association, so
that a new one counts at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa

from lamella.archive.database import Database, read_clock_us
from lamella.archive.statements import Statement
from lamella.dimse_gateway.routes import Route
from lamella.errors import AlreadyExists, InvalidRequest, ResourceNotFound
from lamella.settings import AE_TITLE, Settings
from lamella.vcs.commit_object import format_time
from lamella.vcs.network_tables import ae_title
from lamella.vcs.refs import DEFAULT_BRANCH, DEFAULT_DATASET, find_dataset
from lamella.vcs.revision import resolve

_SELECT = sa.select(
    ae_title.c.title,
    ae_title.c.dataset,
    ae_title.c.revision,
    ae_title.c.callers,
    ae_title.c.created_us,
)
_FIND = Statement(_SELECT.where(ae_title.c.title == sa.bindparam("title")))
_SEPARATOR = "\\"  # between values in DICOM, and so in no AE title


@dataclass(frozen=True, slots=True)
class AeTarget:
    """Where an association lands.

    Attributes:
        dataset: A dataset's name.
        revision: A branch, or a tag or commit, which can be read but not stored to.
        callers: Calling AE titles that may associate; empty for those of the settings.
        routes: Rules by which what the association stores goes elsewhere.
    """

    dataset: str
    revision: str
    callers: frozenset[str] = field(default=frozenset())
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class AeTitle:
    """An AE title under which this installation can be called."""

    title: str
    target: AeTarget
    created_us: int

    def describe(self) -> dict[str, Any]:
        """Return it as the API and `--json` show it."""
        return {
            "title": self.title,
            "dataset": self.target.dataset,
            "revision": self.target.revision,
            "callers": sorted(self.target.callers),
            "created": format_time(self.created_us),
        }


class AeTitles(Protocol):
    """Knows the AE titles under which this installation can be called."""

    async def resolve_ae_title(self, title: str) -> AeTarget | None:
        """Return what a called AE title stands for; None if it is not one of ours."""
        ...


class ConfiguredAeTitles:
    """The one AE title of the settings: `default@main`."""

    def __init__(self, settings: Settings) -> None:
        self._title = settings.aet.strip()

    async def resolve_ae_title(self, title: str) -> AeTarget | None:
        """Return what a called AE title stands for; None if it is not one of ours.

        Source:
            PS3.5 §6.2 (AE: leading and trailing spaces are not significant).
        """
        if title.strip() != self._title:
            return None
        return AeTarget(DEFAULT_DATASET, DEFAULT_BRANCH)


class KnownAeTitles:
    """The AE title of the settings, and those that were added to the installation."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._configured = ConfiguredAeTitles(settings)
        self._database = database

    async def resolve_ae_title(self, title: str) -> AeTarget | None:
        """Return what a called AE title stands for; None if it is not one of ours."""
        known = await self._configured.resolve_ae_title(title)
        if known is not None:
            return known
        found = await self._database.read(lambda c: find_ae_title(c, title.strip()))
        return None if found is None else found.target


def find_ae_title(connection: sa.Connection, title: str) -> AeTitle | None:
    """Return an AE title that was added, or None."""
    row = _FIND.fetch_row(connection, {"title": title})
    return None if row is None else _read_row(row)


def list_ae_titles(connection: sa.Connection) -> list[AeTitle]:
    """Return the AE titles that were added, in alphabetical order."""
    rows = connection.execute(_SELECT.order_by(ae_title.c.title)).all()
    return [_read_row(row) for row in rows]


def add_ae_title(
    connection: sa.Connection,
    title: str,
    dataset: str,
    revision: str | None,
    callers: Iterable[str] = (),
) -> AeTitle:
    """Let an AE title stand for a revision.

    Args:
        connection: In the transaction of a write.
        title: The AE title.
        dataset: Name of the dataset.
        revision: As typed; None for the default branch.
        callers: Calling AE titles that may associate; none: those of the settings.

    Raises:
        InvalidRequest: One of these is no AE title.
        AlreadyExists: It stands for something already.
        RevisionNotFound, AmbiguousRevision: There is no such revision.
    """
    title = check_ae_title(title)
    allowed = frozenset(check_ae_title(caller) for caller in callers)
    owner = find_dataset(connection, dataset)
    resolved = resolve(connection, owner, revision)
    target = AeTarget(owner.name, resolved.text, allowed)
    added = AeTitle(title, target, read_clock_us(connection))
    row = {
        "title": title,
        "dataset": target.dataset,
        "revision": target.revision,
        "callers": _SEPARATOR.join(sorted(allowed)),
        "created_us": added.created_us,
    }
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(ae_title), row)
    except sa.exc.IntegrityError as error:
        raise AlreadyExists(f"AE title {title!r} stands for something already.") from error
    return added


def delete_ae_title(connection: sa.Connection, title: str) -> None:
    """Let an AE title stand for nothing.

    Raises:
        ResourceNotFound: It does not stand for anything.
    """
    deleted = connection.execute(sa.delete(ae_title).where(ae_title.c.title == title.strip()))
    if not deleted.rowcount:
        raise ResourceNotFound(f"AE title {title!r} was not added.")


def check_ae_title(title: str) -> str:
    """Return an AE title without spaces at its ends.

    Raises:
        InvalidRequest: It is none, or has a slash, with which no URL could name it.

    Source:
        PS3.5 §6.2 (AE).
    """
    stripped = title.strip(" ")
    if not AE_TITLE.fullmatch(stripped) or "/" in stripped:
        raise InvalidRequest(
            f"{title!r} is no AE title: use 1 to 16 characters of ASCII without slashes."
        )
    return stripped


def _read_row(row: Any) -> AeTitle:
    title, dataset, revision, callers, created_us = row
    allowed = frozenset(callers.split(_SEPARATOR)) if callers else frozenset()
    return AeTitle(title, AeTarget(dataset, revision, allowed), created_us)

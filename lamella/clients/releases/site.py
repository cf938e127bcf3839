"""The place of a release, which a client opens: doors that have the mirror filled first."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
import sqlalchemy as sa
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from lamella.archive.database import open_database
from lamella.archive.installation import Archive, prepare_folder
from lamella.archive.levels import Level
from lamella.archive.matching import match_query
from lamella.archive.migration import migrate_to_head
from lamella.archive.published.format import PublishedStudy
from lamella.clients.household import OpenHouse
from lamella.clients.releases.mirror import BRANCH, Mirror
from lamella.clients.releases.objects import StoreUrl
from lamella.clients.releases.published import PublishedRelease
from lamella.clients.releases.release import Release
from lamella.clients.releases.static import StaticRelease
from lamella.dicomweb.answers import Answer
from lamella.dicomweb.problems import describe_problem
from lamella.errors import AlreadyExists, InvalidRequest, ResourceNotFound
from lamella.qido.parameters import parse_search
from lamella.settings import Settings
from lamella.vcs.datasets import create_dataset
from lamella.vcs.refs import DatasetRow, find_dataset

_LEVELS = {"studies": Level.STUDY, "series": Level.SERIES, "instances": Level.INSTANCE}


@dataclass(frozen=True, slots=True)
class ReleaseSite:
    """Where a release is, and where a mirror of it is kept.

    Attributes:
        place: Where the objects are.
        dataset: Name of the dataset.
        name: Of the release.
        folder: Of the mirror; processes may share it, and anybody may delete it.
    """

    place: StoreUrl
    dataset: str
    name: str
    folder: Path

    async def open(self) -> OpenHouse:
        """Open the release, and a mirror of it.

        Raises:
            ResourceNotFound: There is no such release.
            InvalidRequest: The URL is of no kind that is known.
            IntegrityError: What is there cannot be read.
            OutOfResources: The store does not answer, or there is no room for a mirror.
        """
        release = self._find_release()
        folder = self.folder / release.name.commit_id
        prepare_folder(folder)
        (folder / "spool").mkdir(exist_ok=True)
        database = open_database(f"sqlite:///{folder / 'lamella.db'}")
        await migrate_to_head(database)
        archive = Archive(
            database, release.packs, folder / "spool", folder / "cache", f"mirror-{os.getpid()}"
        )
        owner = await database.write(lambda c: _make_dataset(c, self.dataset))
        house = OpenHouse.build(archive, Settings(data_dir=folder, dimse="off"))
        mirror = Mirror(release, house.services.repository, owner)
        house.doors = ReleaseDoors(house.doors, mirror, release)
        return house

    def _find_release(self) -> Release:
        """Return what is there: a published index, or else a static export."""
        arguments = (self.place, self.dataset, self.name, self.folder / "packs")
        try:
            return PublishedRelease(*arguments)
        except ResourceNotFound as not_published:
            try:
                return StaticRelease(*arguments)
            except ResourceNotFound as error:
                raise ResourceNotFound(f"{not_published.detail} {error.detail}") from error


class ReleaseDoors:
    """ASGI application around the doors: fills the mirror with what a request is about.

    Args:
        app: The doors.
        mirror: What they are of.
        release: What is mirrored.
    """

    def __init__(self, app: ASGIApp, mirror: Mirror, release: Release) -> None:
        self._app, self._mirror, self._release = app, mirror, release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; nothing can be stored or deleted."""
        commit = (b"lamella-commit", self._release.name.commit_id.encode())
        if scope["type"] != ScopeType.HTTP or scope["method"] not in ("GET", "HEAD"):
            body = describe_problem(405, "Read only", "A release cannot be written to.")
            headers = [("content-type", "application/json"), ("allow", "GET, HEAD")]
            await Answer(405, headers, body)(scope, receive, send)
            return
        await self._fill(scope)

        async def send_on(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*_drop_pins(message["headers"]), commit]
            await send(message)

        await self._app(scope, receive, send_on)

    async def _fill(self, scope: Any) -> None:
        """Mirror what a request is about."""
        steps = [unquote(step) for step in scope["raw_path"].decode().strip("/").split("/")][3:]
        if len(steps) > 3 and steps[2] == "series":
            await self._mirror.load_series(steps[1], steps[3])
        elif len(steps) > 1 and steps[0] == "studies":
            await self._mirror.load_study(steps[1])
        elif len(steps) == 1 and steps[0] in _LEVELS:
            pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            with suppress(InvalidRequest):  # the doors say what is wrong with it
                await self._mirror.load_matching(_build_filter(pairs, _LEVELS[steps[0]]))


def make_folder() -> Path:
    """Make a new folder for mirrors."""
    return Path(tempfile.mkdtemp(prefix="lamella-mirror-"))


def _build_filter(pairs: list[tuple[str, str]], level: Level) -> Callable[[PublishedStudy], bool]:
    """Return what tells whether a search may find something of a study; it may err on that side."""
    query = parse_search(pairs, level)
    if level is Level.INSTANCE:
        return lambda study: True
    matches = match_query(query)

    def may_match(study: PublishedStudy) -> bool:
        rows = [study] if level is Level.STUDY else study.series
        return any(matches(msgspec.json.decode(row.attributes)) for row in rows)

    return may_match


def _make_dataset(connection: sa.Connection, name: str) -> DatasetRow:
    try:
        return create_dataset(connection, name, default_branch=BRANCH, duplicates="replace")
    except AlreadyExists:  # another process has made it
        return find_dataset(connection, name)


def _drop_pins(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return headers without those that name a commit of the mirror."""
    pins = (b"lamella-commit", b"content-location")
    return [(name, value) for name, value in headers if name.lower() not in pins]

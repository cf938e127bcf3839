"""Warming up: what viewers ask for first of a new commit is made before they ask.

Metadata of series and thumbnails are kept in the node's own cache, so each node makes them for
itself, one after the other and in the process that serves; a job of the outbox would make them on
whichever node took it. What is bounded here is the work after a commit: of a large import only
the first series are made, and the others when somebody asks.
"""

from __future__ import annotations

import logging
from itertools import islice

import sqlalchemy as sa

from lamella.app.application import build_doors
from lamella.archive.rounds import Rounds
from lamella.archive.tables import dataset
from lamella.archive.threads import run_in_thread
from lamella.dicomweb.locations import join_path
from lamella.dicomweb.services import Services
from lamella.files.static.doors import Doors
from lamella.vcs.refs import BRANCH
from lamella.vcs.selection import SelectedSeries
from lamella.vcs.tables import ref
from lamella.vcs.view import View, pin_view
from lamella.wado.series_metadata import read_series

logger = logging.getLogger("lamella.warmer")

LOOK_EVERY_S = 2.0
MOST_SERIES = 64
"""Of what came to a branch between two looks."""

Heads = dict[tuple[str, str], str]
"""(Dataset, branch) → id of its commit."""


class Warmer(Rounds):
    """Looks for branches that have moved, and makes what is asked for first of what is new there.

    Args:
        services: The house.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._repository = services.repository
        self._app = build_doors(services)
        self._seen: int | None = None
        self._heads: Heads | None = None
        super().__init__(self.look, LOOK_EVERY_S, logger, "nothing is warmed up")

    async def look(self) -> int:
        """Warm up what has come since the last look; return how many series that was.

        The first look only notes where branches are, and so does the first at a new branch.
        """
        database = self._repository.archive.database
        version = database.read_version()
        if self._heads is not None and version is not None and version == self._seen:
            return 0
        before, self._seen = self._heads or {}, version
        self._heads = await database.read(_read_heads)
        count = 0
        for (name, branch), commit_id in self._heads.items():
            old_id = before.get((name, branch), commit_id)
            if old_id != commit_id:
                count += await self._warm_up(name, old_id, commit_id)
        return count

    async def _warm_up(self, name: str, old_id: str, new_id: str) -> int:
        old = await pin_view(self._repository, name, old_id)
        new = await pin_view(self._repository, name, new_id)
        series = await self._repository.archive.database.read(lambda c: self._compare(c, old, new))
        doors = Doors(self._app, join_path("dicomweb", name, new_id))
        for one in series:
            await self._make_documents(new, one)
            path = join_path(*one.path, "thumbnail").removeprefix("/")
            (await doors.get(path, "image/jpeg")).body.close()  # who has no image has none
        return len(series)

    def _compare(self, connection: sa.Connection, old: View, new: View) -> list[SelectedSeries]:
        """Return the first series that are new or changed."""
        trees = [one.tree(connection, self._repository) for one in (old, new)]
        changed = (
            SelectedSeries(one.study_uid, one.series_uid, one.new)
            for one in trees[0].changed_series(trees[1])
            if one.new is not None
        )
        return list(islice(changed, MOST_SERIES))

    async def _make_documents(self, view: View, one: SelectedSeries) -> None:
        shelf, dataset_id = self._repository.shelf, view.dataset.id
        if await run_in_thread(shelf.find, dataset_id, one.subtree) is not None:
            return
        documents = await read_series(self._repository, view, one)
        if documents is not None:
            await run_in_thread(shelf.keep, dataset_id, one.subtree, documents)


def _read_heads(connection: sa.Connection) -> Heads:
    query = (
        sa.select(dataset.c.name, ref.c.name, ref.c.commit_id)
        .join(dataset, dataset.c.id == ref.c.dataset_id)
        .where(ref.c.kind == BRANCH)
    )
    return {(name, branch): bytes(id_).hex() for name, branch, id_ in connection.execute(query)}

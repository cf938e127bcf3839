"""A DIMSE door in this process, on a free port and a folder of its own, and what it stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lamella.archive.installation import open_archive
from lamella.dimse_gateway.gateway import Gateway
from lamella.dimse_gateway.server import listen
from lamella.settings import Settings
from lamella.vcs.conflicts import list_conflicts
from lamella.vcs.datasets import ensure_default
from lamella.vcs.log import read_log
from lamella.vcs.refs import find_dataset, read_head
from lamella.vcs.repository import Repository
from lamella.vcs.tables import session, staged
from lamella.vcs.view import open_view
from tests.peer.dcmtk import Finished, run_tool


@dataclass
class Door:
    """A gateway that listens, and the repository behind it."""

    gateway: Gateway
    repository: Repository
    port: int

    async def storescu(self, *arguments: str | Path, called: str = "LAMELLA") -> Finished:
        """Push files or folders in one association."""
        return await run_tool(
            "storescu",
            *("-v", "-aec", called, "+sd", "127.0.0.1", str(self.port)),
            *map(str, arguments),
        )

    async def read_commits(self) -> list[dict[str, Any]]:
        """Return the commits of `default@main` that stores made, newest first."""

        def read(connection: sa.Connection) -> list[dict[str, Any]]:
            dataset = find_dataset(connection, "default")
            head = read_head(connection, dataset.id, "main")
            return read_log(connection, dataset.id, head)[:-1]

        return await self.repository.archive.database.read(read)

    async def list_instances(self) -> set[str]:
        """Return the SOP Instance UIDs at the head of `default@main`."""

        def read(connection: sa.Connection) -> set[str]:
            view = open_view(connection, self.repository, "default", None)
            tree = view.tree(connection, self.repository)
            return {sop_uid for _, _, sop_uid, _ in tree.walk()}

        return await self.repository.archive.database.read(read)

    async def list_conflicts(self) -> list[dict[str, Any]]:
        """Return the queue of conflicts."""
        return await self.repository.archive.database.read(lambda c: list_conflicts(c))

    async def count_pending(self) -> int:
        """Return how many sessions and staged instances there are."""

        def read(connection: sa.Connection) -> int:
            counts = [
                connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in (session, staged)
            ]
            return int(sum(counts))

        return await self.repository.archive.database.read(read)


@asynccontextmanager
async def open_door(folder: Path, **options: Any) -> AsyncIterator[Door]:
    """Open a door; options named like settings go there, `quiet_s` and `ae_titles` do not."""
    gateway_options = {k: options.pop(k) for k in ("quiet_s", "ae_titles") if k in options}
    settings = Settings(data_dir=folder, dimse="127.0.0.1:0", **options)
    archive = await open_archive(settings)
    await archive.database.write(ensure_default)
    repository = Repository(archive)
    gateway = Gateway(repository, settings, asyncio.get_running_loop(), **gateway_options)
    assert settings.dimse_address is not None
    listener = listen(settings.dimse_address)
    await gateway.start(listener)
    try:
        yield Door(gateway, repository, listener.getsockname()[1])
    finally:
        await gateway.stop(timeout_s=2)
        await archive.close()


async def wait_until(condition: Callable[[], Any], attempts: int = 500) -> None:
    """Wait until an awaited condition holds."""
    for _ in range(attempts):
        if await condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("What was waited for did not happen.")

"""Restoring: a backup becomes an installation again, of whatever kind the settings name.

Packs first, the database last: an installation that is only half there does not look whole, and a
restore that was cut off is begun again, without what is there already.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from lamella.archive.database import open_database
from lamella.archive.installation import (
    FORMAT,
    ServerLock,
    find_pack_folder,
    open_packs,
    prepare_folder,
)
from lamella.archive.migration import migrate_to_head
from lamella.archive.packs.local import LocalPackStore, make_durable_folder, sync_folder
from lamella.archive.packs.store import PackStore
from lamella.archive.threads import run_in_thread
from lamella.errors import InvalidRequest, OutOfResources
from lamella.settings import Settings
from lamella.upkeep.backup import DATABASE, Progress, copy_sqlite, list_packs
from lamella.upkeep.row_copy import copy_rows, refuse_unknown_tables


@dataclass(slots=True)
class Restored:
    """What a restore came to.

    Attributes:
        packs: That the backup has.
        copied: Packs that were not there yet.
        copied_bytes: Of them.
    """

    packs: int = 0
    copied: int = 0
    copied_bytes: int = 0

    def describe(self) -> dict[str, int]:
        """Return it in the shape of `--json`."""
        return asdict(self)


async def restore(settings: Settings, backup: Path, progress: Progress) -> Restored:
    """Make an installation of a backup.

    Args:
        settings: Of the installation, whose database must be empty or not there.
        backup: What `back_up` made; it is left as it is.
        progress: Told how far it is.

    Raises:
        InvalidRequest: There is no backup, or something is there already.
        FolderLocked: A server runs on the data folder.
        OutOfResources: There is no room, or the database or the pack store does not answer.
    """
    marker = backup / "format"
    if not (backup / DATABASE).is_file() or not marker.is_file() or marker.read_text() != FORMAT:
        raise InvalidRequest("There is no backup in that folder.")
    folder = settings.data_dir.absolute()
    try:
        prepare_folder(folder)
        lock = ServerLock(folder)
    except OSError as error:
        raise OutOfResources(f"The data folder cannot be used: {error.strerror}.") from error
    try:
        return await _restore(settings, folder, backup, progress)
    except OSError as error:
        raise OutOfResources(f"It cannot be restored: {error.strerror}.") from error
    finally:
        lock.release()


async def _restore(settings: Settings, folder: Path, backup: Path, progress: Progress) -> Restored:
    url = settings.database_url or f"sqlite:///{folder / DATABASE}"
    is_embedded = url.startswith("sqlite:///")
    path = Path(url.removeprefix("sqlite:///"))
    if is_embedded and await run_in_thread(path.exists):
        raise InvalidRequest("There is a database already: restore into a folder of its own.")
    spool = (find_pack_folder(settings, folder) or folder) / "spool"
    make_durable_folder(spool)
    packs = await open_packs(settings, folder)
    source = LocalPackStore(backup / "packs")
    try:
        restored = await _copy_packs(source, packs, backup, spool, progress)
        with TemporaryDirectory(dir=folder, prefix=".restore-") as name:
            draft = Path(name) / DATABASE
            await run_in_thread(copy_sqlite, backup / DATABASE, draft)
            if is_embedded:
                await run_in_thread(_put_in_place, draft, path)
            else:
                await _fill(url, draft, progress)
    finally:
        await source.close()
        await packs.close()
    return restored


async def _copy_packs(
    source: LocalPackStore, packs: PackStore, backup: Path, spool: Path, progress: Progress
) -> Restored:
    there = {info.name: info.size_bytes async for info in packs.list()}
    wanted = await run_in_thread(list_packs, backup / DATABASE)
    restored = Restored()
    for name, size_bytes in wanted:
        restored.packs += 1
        if there.get(name, -1) < size_bytes:
            draft = spool / f"restore-{name}"
            await run_in_thread(shutil.copyfile, source.path_of(name), draft)
            await packs.adopt(name, draft)
            restored.copied += 1
            restored.copied_bytes += size_bytes
        progress("packs", restored.packs, len(wanted))
    return restored


def _put_in_place(draft: Path, path: Path) -> None:
    fd = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    make_durable_folder(path.parent)
    shutil.move(draft, path)
    sync_folder(path.parent)


async def _fill(url: str, draft: Path, progress: Progress) -> None:
    """Write a backup's rows into an empty database of a server."""
    old = open_database(f"sqlite:///{draft}")
    try:
        await migrate_to_head(old)
    finally:
        await old.close()
    engine = sa.create_engine(f"sqlite:///{draft}", poolclass=sa.pool.NullPool)
    new = open_database(url)
    try:
        await migrate_to_head(new)
        with engine.connect() as rows:
            refuse_unknown_tables(rows)
            await new.write(lambda connection: copy_rows(rows, connection, progress))
    finally:
        await new.close()

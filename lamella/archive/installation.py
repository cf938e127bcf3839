"""What one installation is made of: a database, a pack store, a spool folder.

The embedded default keeps all three in one data folder, with a `format` file that says which
layout it has, and a lock that one server holds at a time.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lamella.archive.blocks import BlockPool
from lamella.archive.database import Database, open_database
from lamella.archive.migration import migrate_to_head
from lamella.archive.packs.local import LocalPackStore, make_durable_folder, sync_folder
from lamella.archive.packs.store import PackStore
from lamella.errors import InvalidRequest, LamellaError, OutOfResources
from lamella.settings import Settings

FORMAT = "lamella-data 1\n"
MOVED = "database-moved-to"
CACHED_PACKS = "packs"


class FolderLocked(LamellaError):
    """Another server works on this data folder."""

    http_status, title = 503, "Folder in use"


@dataclass(frozen=True, slots=True)
class Archive:
    """The storage side of an installation, handed down through the whole house.

    Attributes:
        database: Where rows are.
        packs: Where bytes are.
        spool_folder: Where incoming bytes wait; on the same file system as a local pack store.
        cache_folder: Where derived things are kept that anybody may delete.
        max_instance_bytes: How long an instance may be, whichever door it comes to; None for no
            bound.
        blocks: The memory that incoming bytes wait in.
        node_id: Owner of the sessions opened here: of a server the same after each start, so
            that it finds what a crash left; of one more process of it, that and the process's
            place; of any other command a name of its own.
    """

    database: Database
    packs: PackStore
    spool_folder: Path
    cache_folder: Path
    node_id: str
    max_instance_bytes: int | None = None
    blocks: BlockPool = field(default_factory=BlockPool)

    @property
    def works_in_threads(self) -> bool:
        """Whether a thread may store without an event loop; see `threads.run_here`."""
        return self.database.works_in_threads and self.packs.works_in_threads

    async def close(self) -> None:
        """Close the database and the pack store."""
        await self.database.close()
        await self.packs.close()


async def open_archive(settings: Settings, *, is_server: bool = False, place: str = "") -> Archive:
    """Make the data folder if it is new, bring the schema to head, and open everything.

    Args:
        settings: Where everything is.
        is_server: Whether the one server of the folder asks, which holds its lock.
        place: Of one more process of that server, what the server calls it.

    Raises:
        InvalidRequest: The folder is not Lamella's or of an unknown format; a URL is wrong.
        OutOfResources: The folder cannot be written, or the database cannot be reached.
    """
    folder = settings.data_dir.absolute()
    try:
        prepare_folder(folder)
        node_id = _read_node_id(folder) if is_server else f"command-{secrets.token_hex(8)}"
        if place:
            node_id = f"{node_id}/{place}"
        spool_folder = (find_pack_folder(settings, folder) or folder) / "spool"
        make_durable_folder(spool_folder)
        packs = await open_packs(settings, folder)
    except OSError as error:
        raise OutOfResources(f"The data folder cannot be used: {error.strerror}.") from error
    try:
        database = await _open_migrated(settings, folder)
    except BaseException:
        await packs.close()
        raise
    cache_folder, limit = folder / "cache", settings.max_instance_bytes
    return Archive(database, packs, spool_folder, cache_folder, node_id, limit)


async def open_packs(settings: Settings, folder: Path) -> PackStore:
    """Return the pack store that the settings name.

    Args:
        settings: They say where it is.
        folder: The data folder, which holds a local store, or the cache of a remote one.

    Raises:
        InvalidRequest: The URL is of no kind that this version knows, or S3's extra or
            credentials are missing.
        OSError: A local store cannot be made.
    """
    pack_folder = find_pack_folder(settings, folder)
    if pack_folder is not None:
        return LocalPackStore(pack_folder)
    try:
        from lamella.archive.packs.s3.opening import open_s3_store
    except ImportError as error:
        raise InvalidRequest("S3 storage needs an extra: install lamella[s3].") from error
    cache_folder = folder / "cache" / CACHED_PACKS
    return await asyncio.to_thread(open_s3_store, settings, cache_folder)


async def _open_migrated(settings: Settings, folder: Path) -> Database:
    if not settings.database_url:
        check_not_moved(folder)
    database = open_database(settings.database_url or f"sqlite:///{folder / 'lamella.db'}")
    try:
        await migrate_to_head(database)
    except BaseException:
        await database.close()
        raise
    return database


def prepare_folder(folder: Path) -> None:
    """Make a data folder with its `format` file, or check the one that is there.

    Raises:
        InvalidRequest: The folder holds something else, or a format this version cannot read.
    """
    marker = folder / "format"
    if marker.is_file():
        found = marker.read_text(encoding="ascii", errors="replace")
        if found != FORMAT:
            raise InvalidRequest(
                f"The data folder has format {found.strip()!r}; this version reads "
                f"{FORMAT.strip()!r}."
            )
        return
    if folder.is_dir() and any(map(_is_foreign, folder.iterdir())):
        raise InvalidRequest("The data folder is not empty and has no `format` file.")
    make_durable_folder(folder)
    _write_durably(marker, FORMAT)


class ServerLock:
    """Held by the one server of a data folder, for as long as its process lives."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._fd)
            raise FolderLocked("Another server is running on this data folder.") from error

    def release(self) -> None:
        """Let another server have the folder."""
        os.close(self._fd)


def note_move(folder: Path, database_url: str) -> None:
    """Note in a data folder that its database is elsewhere now (without user and password)."""
    parts = urlsplit(database_url)
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    _write_durably(folder / MOVED, place)


def check_not_moved(folder: Path) -> None:
    """Keep anybody from going on with a database that was moved away.

    Raises:
        InvalidRequest: It was.
    """
    note = folder / MOVED
    if note.is_file():
        place = note.read_text(encoding="ascii", errors="replace")
        raise InvalidRequest(
            f"This folder's database was moved to {place}: set LAMELLA_DATABASE_URL, or delete "
            f"the file `{MOVED}` to go on with the old one."
        )


def _is_foreign(path: Path) -> bool:
    """Tell others' files from drafts of a first start that was cut off, and a disk's own."""
    return not path.name.startswith(".") and path.name != "lost+found"


def find_pack_folder(settings: Settings, folder: Path) -> Path | None:
    """Return where packs lie: in the data folder unless a storage URL says otherwise.

    Returns:
        A folder, or None where packs are in S3.

    Raises:
        InvalidRequest: The URL is of no kind that this version knows.
    """
    if not settings.storage_url:
        return folder / "packs"
    parts = urlsplit(settings.storage_url)
    if parts.scheme == "file" and parts.path:
        return Path(unquote(parts.path))
    if parts.scheme == "s3":
        return None
    raise InvalidRequest("LAMELLA_STORAGE_URL must be file:///… or s3://….")


def _read_node_id(folder: Path) -> str:
    path = folder / "node-id"
    if not path.is_file():
        _write_durably(path, secrets.token_hex(8))
    return path.read_text(encoding="ascii").strip()


def _write_durably(path: Path, text: str) -> None:
    """Write a small file so that it is whole or absent, whatever happens, even beside a rival."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with draft.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first, with as good a file
    finally:
        draft.unlink()
    sync_folder(path.parent)

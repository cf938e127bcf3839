"""Packs as files: `packs/ab/cdef….pack`.

A large store's spool file becomes one by rename, after fsync of file and folders; small stores
are appended to a growing one.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import Future
from pathlib import Path

from lamella.archive.blocks import Block
from lamella.archive.packs.descriptors import Descriptor, DescriptorCache
from lamella.archive.packs.growing import GrowingPack, PackGrower, is_growing
from lamella.archive.packs.store import CHUNK_BYTES, PackInfo, PackRange, PackStore
from lamella.archive.threads import finish, run_in_thread
from lamella.errors import IntegrityError, OutOfResources

OPEN_FILES = 128
SUFFIX = ".pack"
LEAST_FREE_BYTES = 8 << 20  # with less, an instance of common length may find no room
# What lies in the page cache is copied in less time than a thread takes to start, but the loop
# must not stand still for a disk: a page every so often is asked for without waiting first.
MEMORY_READ_BYTES = 4 << 20
PROBE_EVERY_BYTES = 128 << 10
INLINE_READ_BYTES = 256 << 10  # below this a thread hop costs more than the read


class LocalPackStore(PackStore):
    """A folder of packs on a local file system.

    Spool files must lie on the same file system (they become packs by rename).
    """

    works_in_threads = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open = DescriptorCache(OPEN_FILES)
        self._grower = PackGrower(self._open_growing)
        make_durable_folder(folder)

    async def adopt(self, name: str, spool: Path) -> None:
        try:
            await run_in_thread(self._adopt, name, spool)
        except OSError as error:
            raise OutOfResources(f"The pack store cannot write: {error.strerror}.") from error

    async def append(self, block: Block, length_bytes: int) -> PackRange:
        future = asyncio.wrap_future(self.begin_append(block, length_bytes))
        try:
            return await finish(future)
        except OSError as error:
            raise OutOfResources(f"The pack store cannot write: {error.strerror}.") from error
        except asyncio.CancelledError:
            if future.exception() is None:
                await self.release(future.result())
            raise

    def begin_append(self, block: Block, length_bytes: int) -> Future[PackRange]:
        return self._grower.submit(block, length_bytes)

    async def release(self, found: PackRange) -> None:
        self._grower.release(found)

    async def read(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        if length_bytes <= INLINE_READ_BYTES or self._is_in_memory(
            name, offset_bytes, length_bytes
        ):
            return self.read_now(name, offset_bytes, length_bytes)
        return await asyncio.to_thread(self.read_now, name, offset_bytes, length_bytes)

    def read_now(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        with self._borrow(name) as file:
            try:
                data = os.pread(file.fd, length_bytes, offset_bytes)
            except OSError as error:
                raise IntegrityError(f"Pack {name} cannot be read.") from error
        if len(data) != length_bytes:
            raise IntegrityError(f"Pack {name} is shorter than its locations say.")
        return data

    def _is_in_memory(self, name: str, offset_bytes: int, length_bytes: int) -> bool:
        """Tell whether a range, by some of its pages, can be read without waiting for a disk."""
        if length_bytes > MEMORY_READ_BYTES:
            return False
        last = offset_bytes + length_bytes - 1
        probe = [bytearray(1)]
        with self._borrow(name) as file:
            try:
                return all(
                    os.preadv(file.fd, probe, min(place, last), os.RWF_NOWAIT) == 1
                    for place in range(offset_bytes, last + PROBE_EVERY_BYTES, PROBE_EVERY_BYTES)
                )
            except OSError:
                return False  # not in memory, or a file system that cannot tell

    async def is_growing(self, name: str) -> bool:
        return await asyncio.to_thread(is_growing, self.path_of(name))

    async def delete(self, name: str) -> None:
        self._open.drop(lambda key: key == name)
        await run_in_thread(self.path_of(name).unlink, True)

    async def put_beside(self, name: str, path: Path) -> None:
        try:
            await run_in_thread(self._copy_beside, name, path)
        except OSError as error:
            raise OutOfResources(f"The pack store cannot write: {error.strerror}.") from error

    async def remove_beside(self, name: str) -> None:
        await run_in_thread((self.folder / name).unlink, True)

    async def list(self) -> AsyncIterator[PackInfo]:
        for folder in sorted(self.folder.iterdir()):
            if not folder.is_dir() or len(folder.name) != 2:
                continue
            for path in sorted(folder.glob(f"*{SUFFIX}")):
                found = path.stat()
                name = folder.name + path.name[: -len(SUFFIX)]
                yield PackInfo(name, found.st_size, found.st_mtime_ns // 1000)

    async def check(self) -> None:
        if not os.access(self.folder, os.W_OK):
            raise OutOfResources("The pack folder cannot be written.")
        found = os.statvfs(self.folder)
        if found.f_bavail * found.f_frsize < LEAST_FREE_BYTES:
            raise OutOfResources("The pack folder's disk is full.")

    async def close(self) -> None:
        await asyncio.to_thread(self._grower.close)
        self._open.drop(lambda _key: True)

    def path_of(self, name: str) -> Path:
        """Return where a pack's file is (or would be)."""
        return self.folder / name[:2] / f"{name[2:]}{SUFFIX}"

    def _adopt(self, name: str, spool: Path) -> None:
        target = self.path_of(name)
        make_durable_folder(target.parent)
        fd = os.open(spool, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(spool, target)
        sync_folder(target.parent)

    def _copy_beside(self, name: str, path: Path) -> None:
        target = self.folder / name
        make_durable_folder(target.parent)
        draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            with path.open("rb") as source, draft.open("xb") as copy:
                shutil.copyfileobj(source, copy, CHUNK_BYTES)
                copy.flush()
                os.fsync(copy.fileno())
            os.replace(draft, target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)

    def _open_growing(self, name: str) -> GrowingPack:
        folder = self.path_of(name).parent
        make_durable_folder(folder)
        pack = self._make_growing(name)
        try:
            sync_folder(folder)
        except OSError:
            pack.close()
            raise
        return pack

    def _make_growing(self, name: str) -> GrowingPack:
        return GrowingPack(name, self.path_of(name))

    def _borrow(self, name: str) -> Descriptor:
        file = self._open.borrow(name)
        if file is not None:
            return file
        try:
            file = Descriptor(os.open(self.path_of(name), os.O_RDONLY))
        except FileNotFoundError as error:
            raise IntegrityError(f"Pack {name} is missing.") from error
        except OSError as error:
            raise OutOfResources(f"Pack {name} cannot be opened: {error.strerror}.") from error
        self._open.keep(name, file)
        return file


def make_durable_folder(folder: Path) -> None:
    """Make a folder and its parents; each new name is on disk when this returns."""
    if folder.is_dir():
        return
    make_durable_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable (a file's own fsync does not)."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

"""Packs in memory: for tests and for throw-away archives. Nothing survives the process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from lamella.archive.blocks import Block
from lamella.archive.packs.store import PackInfo, PackRange, PackStore, name_pack
from lamella.errors import IntegrityError


class MemoryPackStore(PackStore):
    """A dictionary of packs that passes the same contract as the others.

    Attributes:
        beside: What is kept beside the packs, by name.
    """

    def __init__(self) -> None:
        self._packs: dict[str, bytes] = {}
        self._written_us: dict[str, int] = {}
        self.beside: dict[str, bytes] = {}

    async def adopt(self, name: str, spool: Path) -> None:
        self._keep(name, await asyncio.to_thread(spool.read_bytes))
        await asyncio.to_thread(spool.unlink)

    async def append(self, block: Block, length_bytes: int) -> PackRange:
        name = name_pack()
        self._keep(name, bytes(block.view[:length_bytes]))
        return PackRange(name, 0, length_bytes)

    def _keep(self, name: str, data: bytes) -> None:
        self._packs[name] = data
        self._written_us[name] = time.time_ns() // 1000

    async def release(self, found: PackRange) -> None:
        await self.delete(found.pack_name)

    async def read(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        return self.read_now(name, offset_bytes, length_bytes)

    def read_now(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        if name not in self._packs:
            raise IntegrityError(f"Pack {name} is missing.")
        data = self._packs[name][offset_bytes : offset_bytes + length_bytes]
        if len(data) != length_bytes:
            raise IntegrityError(f"Pack {name} is shorter than its locations say.")
        return data

    async def delete(self, name: str) -> None:
        self._packs.pop(name, None)

    async def put_beside(self, name: str, path: Path) -> None:
        self.beside[name] = await asyncio.to_thread(path.read_bytes)

    async def remove_beside(self, name: str) -> None:
        self.beside.pop(name, None)

    async def list(self) -> AsyncIterator[PackInfo]:
        for name, data in list(self._packs.items()):
            yield PackInfo(name, len(data), self._written_us[name])

    async def check(self) -> None:
        return None

"""Packs in memory and on the local disk: the contract, and what is theirs alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lamella.archive.packs import growing
from lamella.archive.packs.local import LocalPackStore
from lamella.archive.packs.memory import MemoryPackStore
from lamella.archive.packs.store import PackRange, PackStore, name_pack
from lamella.errors import OutOfResources
from tests.contract.pack_store import PackStoreContract
from tests.crash.faults import short_files


class TestMemoryPackStore(PackStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> PackStore:
        return MemoryPackStore()

    async def read_beside(self, store: PackStore, name: str) -> bytes | None:
        assert isinstance(store, MemoryPackStore)
        return store.beside.get(name)


class TestLocalPackStore(PackStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[LocalPackStore]:
        opened = LocalPackStore(tmp_path / "packs")
        yield opened
        await opened.close()

    @pytest.fixture
    def spool_folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "packs" / "spool"
        folder.mkdir(parents=True)
        return folder

    async def read_beside(self, store: PackStore, name: str) -> bytes | None:
        assert isinstance(store, LocalPackStore)
        path = store.folder / name
        if path.parent.is_dir():
            assert [each.name for each in path.parent.iterdir()] in ([], [path.name])
        return path.read_bytes() if path.exists() else None

    async def test_packs_survive_the_process_that_wrote_them(
        self, store: LocalPackStore, spool_folder: Path
    ) -> None:
        name = await self.adopt(store, spool_folder, b"kept")
        again = LocalPackStore(store.folder)
        assert await again.read(name, 0, 4) == b"kept"
        await again.close()

    async def test_stores_that_wait_share_a_pack(self, store: LocalPackStore) -> None:
        places = await asyncio.gather(*(self.append(store, bytes(100)) for _ in range(100)))
        assert len({place.pack_name for place in places}) == 1
        assert len({place.offset_bytes for place in places}) == 100

    async def test_a_full_pack_is_left_for_a_new_one(
        self, store: LocalPackStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(growing, "FULL_BYTES", 3 * 4096)
        places = [await self.append(store, bytes([number])) for number in range(7)]
        names = [place.pack_name for place in places]
        assert [names.index(name) for name in names] == [0, 0, 0, 3, 3, 3, 6]
        for number, place in enumerate(places):
            assert store.read_now(place.pack_name, place.offset_bytes, 1) == bytes([number])

    async def test_what_is_given_back_leaves_no_file(self, store: LocalPackStore) -> None:
        place = await self.append(store, b"refused")
        await store.release(place)
        await store.close()
        assert [info async for info in store.list()] == []

    async def test_appended_bytes_survive_and_no_others(self, store: LocalPackStore) -> None:
        place = await self.append(store, b"kept")
        await store.release(await self.append(store, bytes(100_000)))
        await store.close()
        again = LocalPackStore(store.folder)
        assert await again.read(place.pack_name, place.offset_bytes, 4) == b"kept"
        assert [info.size_bytes async for info in again.list()] == [4096]
        assert store.path_of(place.pack_name).read_bytes() == b"kept" + bytes(4092)
        await again.close()

    async def test_a_full_disk_takes_only_what_did_not_fit(self, store: LocalPackStore) -> None:
        kept = await self.append(store, b"kept")
        blocks = [b"small", bytes(50_000), b"another"]
        with short_files(3 * 4096):
            answers = await asyncio.gather(
                *(self.append(store, one) for one in blocks), return_exceptions=True
            )
        assert isinstance(answers[1], OutOfResources)
        for place, data in ((kept, b"kept"), (answers[0], b"small"), (answers[2], b"another")):
            assert isinstance(place, PackRange)
            found = store.read_now(place.pack_name, place.offset_bytes, place.length_bytes)
            assert found == data
        place = await self.append(store, bytes(50_000))
        assert store.read_now(place.pack_name, place.offset_bytes, 50_000) == bytes(50_000)

    @pytest.mark.parametrize("length", [300_000, 1 << 20, 5_000_000])
    async def test_a_range_reads_the_same_from_memory_and_from_the_disk(
        self, store: LocalPackStore, spool_folder: Path, length: int
    ) -> None:
        data = os.urandom(5_100_000)
        name = await self.adopt(store, spool_folder, data)
        fd = os.open(store.path_of(name), os.O_RDONLY)
        try:
            for offset in (0, 4096, 99_991):
                assert await store.read(name, offset, length) == data[offset : offset + length]
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                assert await store.read(name, offset, length) == data[offset : offset + length]
        finally:
            os.close(fd)

    async def test_more_packs_are_read_than_may_be_open(
        self, store: LocalPackStore, spool_folder: Path
    ) -> None:
        names = [await self.adopt(store, spool_folder, bytes([n])) for n in range(200)]
        for _ in range(2):
            for number, name in enumerate(names):
                assert store.read_now(name, 0, 1) == bytes([number])

    async def test_a_pack_that_cannot_be_adopted_leaves_nothing(
        self, store: LocalPackStore, spool_folder: Path
    ) -> None:
        with pytest.raises(OutOfResources):
            await store.adopt(name_pack(), spool_folder / "absent.spool")
        assert [info async for info in store.list()] == []

    async def test_a_folder_that_is_gone_takes_no_packs(self, tmp_path: Path) -> None:
        store = LocalPackStore(tmp_path / "other")
        (tmp_path / "other").rmdir()
        with pytest.raises(OutOfResources):
            await store.check()

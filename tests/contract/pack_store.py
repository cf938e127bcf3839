"""The contract of pack stores: every backend's tests inherit `PackStoreContract`."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from lamella.archive.blocks import Block, round_up
from lamella.archive.packs.store import CHUNK_BYTES, PackRange, PackStore, name_pack
from lamella.errors import IntegrityError


class PackStoreContract:
    """What a pack store does, whatever it is made of.

    A backend's class of tests overrides the fixture `store`; `spool_folder` may be overridden
    where spool files must lie somewhere else.
    """

    @pytest.fixture
    async def store(self, tmp_path: Path) -> PackStore:
        raise NotImplementedError

    @pytest.fixture
    def spool_folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "spool"
        folder.mkdir(exist_ok=True)
        return folder

    async def adopt(self, store: PackStore, folder: Path, data: bytes) -> str:
        name = name_pack()
        spool = folder / f"{name}.spool"
        spool.write_bytes(data)
        await store.adopt(name, spool)
        return name

    async def test_an_adopted_pack_is_read_and_its_spool_is_gone(
        self, store: PackStore, spool_folder: Path
    ) -> None:
        name = await self.adopt(store, spool_folder, b"0123456789")
        assert list(spool_folder.iterdir()) == []
        assert await store.read(name, 0, 10) == b"0123456789"
        assert await store.read(name, 3, 4) == b"3456"
        assert store.read_now(name, 9, 1) == b"9"
        assert await store.read(name, 10, 0) == b""

    async def append(self, store: PackStore, data: bytes) -> PackRange:
        block = Block(round_up(max(len(data), 1)))
        block.view[:] = b"\xff" * len(block.view)
        block.view[: len(data)] = data
        return await store.append(block, len(data))

    async def test_what_is_appended_is_read_where_it_was_put(self, store: PackStore) -> None:
        data = [bytes([number]) * length for number, length in enumerate((1, 4096, 5000, 70_000))]
        places = await asyncio.gather(*(self.append(store, one) for one in data))
        for one, place in zip(data, places, strict=True):
            assert place.length_bytes == len(one)
            assert await store.read(place.pack_name, place.offset_bytes, len(one)) == one
        held = {info.name: info.size_bytes async for info in store.list()}
        assert all(held[place.pack_name] >= place.end_bytes for place in places)
        ranges = sorted((place.pack_name, place.offset_bytes, place.end_bytes) for place in places)
        for one_range, following in pairwise(ranges):
            assert one_range[0] != following[0] or one_range[2] <= following[1]

    async def test_what_is_given_back_takes_nothing_else_along(self, store: PackStore) -> None:
        places = [await self.append(store, bytes([number]) * 5000) for number in range(5)]
        for number in (1, 4, 3):
            await store.release(places[number])
        places += [await self.append(store, bytes([number]) * 9000) for number in (5, 6)]
        for number in (0, 2, 5, 6):
            place = places[number]
            data = await store.read(place.pack_name, place.offset_bytes, place.length_bytes)
            assert data == bytes([number]) * place.length_bytes

    async def test_a_range_beyond_the_end_is_an_integrity_error(
        self, store: PackStore, spool_folder: Path
    ) -> None:
        name = await self.adopt(store, spool_folder, b"0123456789")
        for offset, length in ((8, 3), (10, 1), (1000, 1)):
            with pytest.raises(IntegrityError):
                await store.read(name, offset, length)
            with pytest.raises(IntegrityError):
                store.read_now(name, offset, length)
            with pytest.raises(IntegrityError):
                await self.gather(store, name, offset, length)

    async def test_a_missing_pack_is_an_integrity_error(self, store: PackStore) -> None:
        name = name_pack()
        with pytest.raises(IntegrityError):
            await store.read(name, 0, 1)
        with pytest.raises(IntegrityError):
            store.read_now(name, 0, 1)
        with pytest.raises(IntegrityError):
            await self.gather(store, name, 0, 1)

    async def gather(self, store: PackStore, name: str, offset: int, length: int) -> list[bytes]:
        return [chunk async for chunk in store.stream(name, offset, length)]

    async def test_a_stream_is_the_range_in_chunks(
        self, store: PackStore, spool_folder: Path
    ) -> None:
        data = bytes(range(256)) * (CHUNK_BYTES // 128)  # 2 MiB
        name = await self.adopt(store, spool_folder, data + b"end")
        chunks = await self.gather(store, name, 5, len(data) - 2)
        assert b"".join(chunks) == (data + b"end")[5:]
        assert max(map(len, chunks)) <= CHUNK_BYTES
        assert len(chunks) >= 2
        assert await self.gather(store, name, 0, 0) == []

    async def test_a_large_read_is_whole(self, store: PackStore, spool_folder: Path) -> None:
        data = bytes(range(251)) * 20_000  # 5 MB, of a period that no power of two hides
        name = await self.adopt(store, spool_folder, data)
        assert await store.read(name, 1, len(data) - 1) == data[1:]

    async def test_a_listing_has_every_pack_and_its_size(
        self, store: PackStore, spool_folder: Path
    ) -> None:
        assert [info async for info in store.list()] == []
        sizes = {}
        for size in (1, 1000, 70_000):
            sizes[await self.adopt(store, spool_folder, bytes(size))] = size
        assert {info.name: info.size_bytes async for info in store.list()} == sizes

    async def test_a_deleted_pack_is_gone_and_the_others_stay(
        self, store: PackStore, spool_folder: Path
    ) -> None:
        first = await self.adopt(store, spool_folder, b"first")
        second = await self.adopt(store, spool_folder, b"second")
        assert store.read_now(first, 0, 5) == b"first"  # a store may keep it open
        await store.delete(first)
        with pytest.raises(IntegrityError):
            await store.read(first, 0, 5)
        assert await store.read(second, 0, 6) == b"second"
        assert [info.name async for info in store.list()] == [second]
        await store.delete(first)
        await store.delete(name_pack())

    async def read_beside(self, store: PackStore, name: str) -> bytes | None:
        """Return what the store keeps beside its packs under a name."""
        raise NotImplementedError

    async def test_what_is_kept_beside_the_packs_is_none_of_them(
        self, store: PackStore, spool_folder: Path
    ) -> None:
        path, name = spool_folder / "draft", "published/default/main.idx"
        for data in (b"first", b"second, longer"):
            path.write_bytes(data)
            await store.put_beside(name, path)
            assert path.read_bytes() == data
            assert await self.read_beside(store, name) == data
        assert [info async for info in store.list()] == []
        await store.remove_beside(name)
        await store.remove_beside(name)
        assert await self.read_beside(store, name) is None

    async def test_a_store_that_is_well_says_so(self, store: PackStore) -> None:
        await store.check()

    async def test_many_tasks_adopt_and_read_at_once(
        self, store: PackStore, spool_folder: Path
    ) -> None:
        async def adopt_and_read(number: int) -> str:
            data = number.to_bytes(4, "big") * 1000
            name = await self.adopt(store, spool_folder, data)
            pieces = await asyncio.gather(*(store.read(name, 4 * i, 4) for i in range(0, 1000, 97)))
            assert set(pieces) == {number.to_bytes(4, "big")}
            assert await asyncio.to_thread(store.read_now, name, 0, 4000) == data
            return name

        names = await asyncio.gather(*map(adopt_and_read, range(200)))
        assert {info.name async for info in store.list()} == set(names)

    async def test_a_deleted_pack_does_not_disturb_its_readers(
        self, store: PackStore, spool_folder: Path
    ) -> None:
        names = [await self.adopt(store, spool_folder, bytes([n]) * 50_000) for n in range(20)]

        async def read_on(number: int) -> None:
            for offset in range(0, 50_000, 5_000):
                try:
                    data = await store.read(names[number], offset, 5_000)
                except IntegrityError:
                    return  # deleted meanwhile: an error is right, other bytes would not be
                assert data == bytes([number]) * 5_000
                await asyncio.sleep(0)

        readers = [asyncio.create_task(read_on(number)) for number in range(20)]
        await asyncio.gather(*(store.delete(name) for name in names[::2]), *readers)
        assert {info.name async for info in store.list()} == set(names[1::2])

"""Repacking: blobs move into large packs, readers notice nothing, and no kill loses any."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from lamella.archive.blobs import Blobs
from lamella.archive.packs.local import LocalPackStore
from lamella.archive.tables import instance, location, pack
from lamella.files.publisher import publish, withdraw
from lamella.upkeep.gc import DAY_S, collect
from lamella.upkeep.repack import Repacked, repack
from lamella.vcs.view import open_view
from tests.crash.load import make_environ
from tests.harness.stack import choose_stack
from tests.integration.aging import (
    KILLED,
    age,
    age_files,
    assert_whole,
    list_packs,
    open_site,
    reopen,
)
from tests.integration.small_installation import Installation, make_file

N_SERIES, N_SLICES = 2, 6
Segments = list[tuple[bytes, int]]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Installation]:
    installation = await open_site(tmp_path / "data")
    yield installation
    await installation.archive.close()


def make_slice(series: int, number: int) -> bytes:
    return make_file(1, series, number, pixel_bytes=70_000 + 2 * series)


async def scatter(site: Installation) -> None:
    """Store two series, days ago, slice by slice and by turns, each into a pack of its own."""
    for number in range(1, N_SLICES + 1):
        for series in range(1, N_SERIES + 1):
            await site.store([make_slice(series, number)])
            await reopen(site)
    await age(site)


async def list_segments(site: Installation) -> list[Segments]:
    rows = await site.fetch(sa.select(instance.c.segments).order_by(instance.c.sop_uid))
    return [[(bytes(d), n) for d, n in msgspec.msgpack.decode(row[0])] for row in rows]


async def read_all(blobs: Blobs, wanted: list[Segments]) -> list[bytes]:
    return [await blobs.read(one, 0, sum(length for _, length in one)) for one in wanted]


async def run(site: Installation, **options: Any) -> Repacked:
    return await repack(site.archive, older_than_s=DAY_S, **options)


async def test_small_packs_become_one_in_the_order_of_series(site: Installation) -> None:
    await scatter(site)
    wanted = await list_segments(site)
    before, content = await list_packs(site), await read_all(site.repository.blobs, wanted)
    assert len(before) == N_SERIES * N_SLICES
    expected = Repacked(len(before), 1, sum(map(len, content)))
    assert await run(site, dry_run=True) == expected
    assert await list_packs(site) == before
    assert await run(site) == expected
    await assert_whole(site)

    (name,) = await list_packs(site) - before
    places = {
        digest: (offset, length, pack_name)
        for digest, offset, length, pack_name in await site.fetch(
            sa.select(
                location.c.digest, location.c.offset_bytes, location.c.length_bytes, pack.c.name
            ).join(pack, pack.c.id == location.c.pack_id)
        )
    }
    end = 0
    for digest, length in (segment for one in wanted for segment in one):  # as they are by UID
        assert places[digest] == (end, length, name)
        end += length
    assert await read_all(Blobs(site.archive.database, site.archive.packs), wanted) == content


async def test_old_packs_stay_for_a_day_and_are_gone_then(site: Installation) -> None:
    await scatter(site)
    wanted, before = await list_segments(site), await list_packs(site)
    blobs = site.repository.blobs
    content = await read_all(blobs, wanted)
    source = await blobs.open(wanted[0])
    await run(site)
    assert (await collect(site.archive)).packs == 0
    assert await read_all(blobs, wanted) == content  # where they were
    await age(site)
    assert (await collect(site.archive)).packs == len(before)
    assert not before & await list_packs(site)
    assert await read_all(blobs, wanted) == content  # where they are
    assert await asyncio.to_thread(source.read_at, 0, source.size) == content[0]
    await assert_whole(site)


async def test_readers_and_stores_go_on_meanwhile(site: Installation) -> None:
    await scatter(site)
    wanted = await list_segments(site)
    content = await read_all(site.repository.blobs, wanted)
    has_ended, n_read = False, 0

    async def read() -> None:
        nonlocal n_read
        while not has_ended:
            blobs = Blobs(site.archive.database, site.archive.packs)
            assert await read_all(blobs, wanted) == content
            n_read += 1

    async def store() -> None:
        for number in range(1, 5):
            await site.store([make_slice(1, number)])  # known bytes
            await site.store([make_file(2, 1, number)])

    readers = [asyncio.create_task(read()) for _ in range(3)]
    _, repacked = await asyncio.gather(store(), run(site))
    has_ended = True
    await asyncio.gather(*readers)
    assert repacked.repacked == N_SERIES * N_SLICES
    assert n_read >= 3
    await assert_whole(site)


async def test_what_was_done_is_not_done_again(site: Installation) -> None:
    await scatter(site)
    await run(site)
    await age(site)
    assert await run(site) == Repacked()
    await collect(site.archive)
    assert await run(site) == Repacked()
    await site.store([make_file(3, 1, 1, pixel_bytes=70_000)])
    await age(await reopen(site))
    assert await run(site) == Repacked()  # too little to be worth it


async def test_what_is_young_or_grows_stays(site: Installation) -> None:
    await scatter(site)
    await site.change(sa.update(pack).values(created_us=pack.c.created_us + 3 * 86_400_000_000))
    assert await run(site) == Repacked()
    await age(site)
    if isinstance(site.archive.packs, LocalPackStore):
        await site.store([make_file(3, 1, 1)])
        await age(site)
        assert (await run(site)).repacked == N_SERIES * N_SLICES


async def test_dead_room_is_left_behind(site: Installation) -> None:
    """A pack of which gc has taken most is rewritten although it is alone."""
    await site.store([make_file(1, 1, n, pixel_bytes=70_000 + 2 * n) for n in range(1, 5)])
    await age(await reopen(site))
    (size_bytes,), *_ = await site.fetch(sa.select(sa.func.sum(pack.c.size_bytes)))
    large = location.c.length_bytes > 65_536
    kept = sa.select(location.c.digest).where(large).limit(1).scalar_subquery()
    await site.change(sa.delete(location).where(large, location.c.digest != kept))
    repacked = await run(site)
    assert repacked.into == 1
    assert repacked.moved_bytes < size_bytes / 2


async def test_published_packs_stay_as_they_are(site: Installation) -> None:
    await scatter(site)
    view = await site.archive.database.read(
        lambda c: open_view(c, site.repository, "default", "main")
    )
    await publish(site.repository, view, "main")
    assert await run(site) == Repacked()
    await withdraw(site.repository, site.dataset, "main")
    assert (await run(site)).repacked == N_SERIES * N_SLICES


@pytest.mark.embedded  # objects in S3 are not changed in place
async def test_damaged_bytes_stay_where_they_are(site: Installation) -> None:
    packs = site.archive.packs
    assert isinstance(packs, LocalPackStore)
    await scatter(site)
    name, *_ = sorted(await list_packs(site))
    path = packs.path_of(name)
    path.write_bytes(bytes(path.stat().st_size))
    repacked = await run(site)
    assert repacked.into == 1
    await age(site)
    await collect(site.archive)
    left = await list_packs(site)
    assert name in left
    assert len(left) == 2


async def test_a_killed_run_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    site = await open_site(folder)
    await scatter(site)
    wanted = await list_segments(site)
    content = await read_all(site.repository.blobs, wanted)
    settings = choose_stack(folder) | {"data_dir": str(folder)}
    # opening writes once; before and after the new pack, before and after its rows
    for point in range(8):
        await site.archive.close()
        age_files(site)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(point), "gc", "--repack"],
            env=make_environ(**settings),
            capture_output=True,
            check=False,
        )
        site = await open_site(folder)
        await assert_whole(site)
        assert await read_all(site.repository.blobs, wanted) == content
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert point >= 4
    await age(site)
    await collect(site.archive)
    await assert_whole(site)
    known = {row[0] for row in await site.fetch(sa.select(pack.c.name))}
    left = await list_packs(site)
    assert known == left if isinstance(site.archive.packs, LocalPackStore) else known <= left
    assert len(known) == 1
    await site.archive.close()

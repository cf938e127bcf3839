"""gc takes what nothing uses, and never what anything uses, however it is cut off."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from lamella.archive.packs.local import LocalPackStore
from lamella.archive.tables import location, pack
from lamella.errors import Conflict, InvalidRequest
from lamella.upkeep.gc import Collected, collect
from lamella.upkeep.holds import hold_packs
from lamella.vcs.datasets import create_dataset, delete_dataset
from lamella.vcs.refs import find_dataset
from tests.crash.load import make_environ
from tests.harness.stack import choose_stack
from tests.integration.aging import (
    KILLED,
    TWO_DAYS_US,
    age,
    age_files,
    assert_whole,
    list_packs,
    open_site,
    reopen,
)
from tests.integration.small_installation import Installation, make_file

LARGE_BYTES = 100_000
KEPT = [make_file(1, 1, n) for n in (1, 2)]
SHARED = make_file(2, 1, 1)
LOST = [make_file(3, 1, 1, pixel_bytes=LARGE_BYTES), make_file(3, 1, 2), SHARED]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Installation]:
    installation = await open_site(tmp_path / "data")
    yield installation
    await installation.archive.close()


async def lose_some(site: Installation) -> None:
    """Store into two datasets, and delete one of them, days ago."""
    default = site.dataset
    await site.store([*KEPT, SHARED])
    await reopen(site)  # what follows goes into a pack of its own
    await site.archive.database.write(lambda c: create_dataset(c, "trial"))
    site.dataset = await site.archive.database.read(lambda c: find_dataset(c, "trial"))
    await site.store(LOST)
    await site.archive.database.write(lambda c: delete_dataset(c, "trial"))
    site.dataset = default
    await age(site)


async def test_what_nothing_uses_goes_and_the_rest_stays(site: Installation) -> None:
    await lose_some(site)
    before = await list_packs(await reopen(site))
    would = await collect(site.archive, dry_run=True)
    assert await list_packs(site) == before
    found = await collect(site.archive)
    assert found.locations > 0
    assert found.packs >= 1
    assert found.freed_bytes > LARGE_BYTES
    assert (would.locations, would.packs, would.strays) == (found.locations, found.packs, 0)
    await assert_whole(site)
    assert await collect(site.archive) == Collected()
    await site.store(LOST)
    await assert_whole(site)


async def test_what_is_young_stays(site: Installation) -> None:
    await lose_some(site)
    await site.change(sa.update(location).values(used_us=location.c.used_us + TWO_DAYS_US))
    assert await collect(site.archive) == Collected()
    with pytest.raises(InvalidRequest):
        await collect(site.archive, older_than_s=60)


@pytest.mark.embedded  # packs in S3 do not grow
async def test_a_pack_that_grows_stays_until_it_does_not(site: Installation) -> None:
    await site.archive.database.write(lambda c: create_dataset(c, "trial"))
    default, site.dataset = (
        site.dataset,
        await site.archive.database.read(lambda c: find_dataset(c, "trial")),
    )
    await site.store([make_file(5, 1, 1)])
    await site.archive.database.write(lambda c: delete_dataset(c, "trial"))
    site.dataset = default
    await age(site)
    (name,) = await list_packs(site)
    assert (await collect(site.archive)).packs == 0

    await site.store([make_file(6, 1, 1)])  # goes into the same pack
    assert await list_packs(site) == {name}
    await age(await reopen(site))
    assert (await collect(site.archive)).packs == 0
    await assert_whole(site)


@pytest.mark.embedded  # S3 says itself how old an object is
async def test_strays_go_when_they_are_old(site: Installation) -> None:
    packs = site.archive.packs
    assert isinstance(packs, LocalPackStore)
    await site.store(KEPT)
    old, young = packs.path_of("0" * 32), packs.path_of("1" * 32)
    for path in (old, young):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
    then = time.time() - TWO_DAYS_US / 1e6
    os.utime(old, (then, then))
    found = await collect(site.archive)
    assert (found.strays, found.freed_bytes) == (1, 100)
    assert young.exists()
    assert not old.exists()
    await assert_whole(site)


@pytest.mark.embedded  # S3 says itself how old an object is
async def test_nothing_goes_where_no_pack_is_known(site: Installation) -> None:
    """A database of another installation, by mistake, must not cost all packs."""
    packs = site.archive.packs
    assert isinstance(packs, LocalPackStore)
    stray = packs.path_of("0" * 32)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(bytes(100))
    os.utime(stray, (1, 1))
    assert await collect(site.archive) == Collected()
    assert stray.exists()


async def test_nothing_goes_while_it_is_held(site: Installation) -> None:
    await lose_some(site)
    async with hold_packs(site.archive.database, "a backup"):
        with pytest.raises(Conflict, match="a backup"):
            await collect(site.archive)
    assert (await collect(site.archive)).locations > 0


async def test_a_store_at_the_same_time_keeps_its_bytes_or_says_so(site: Installation) -> None:
    await lose_some(site)
    before = await site.fetch(sa.select(location.c.digest))
    await site.store([SHARED])
    await site.store(LOST)  # touches what gc has in view
    assert (await collect(site.archive)).locations == 0
    assert set(before) <= set(await site.fetch(sa.select(location.c.digest)))
    await assert_whole(site)


async def test_conflicts_and_staged_instances_keep_their_bytes(site: Installation) -> None:
    await site.store([make_file(1, 1, 1)])
    changed = make_file(1, 1, 1, pixel_bytes=LARGE_BYTES)
    outcome = (await site.store([changed])).outcomes[0]
    assert outcome.judgement.verdict.name == "CONFLICT"
    await age(await reopen(site))
    assert await collect(site.archive) == Collected()
    await assert_whole(site)


async def test_bytes_that_went_and_came_again_are_read_where_they_are(
    site: Installation,
) -> None:
    """Who had looked up where they lay finds them nonetheless."""
    await lose_some(site)
    await reopen(site)
    await site.archive.database.write(lambda c: create_dataset(c, "other"))
    site.dataset = await site.archive.database.read(lambda c: find_dataset(c, "other"))
    committed = await site.store(LOST)
    (row,) = await site.fetch(
        sa.text("SELECT segments FROM instance WHERE size_bytes > :n").bindparams(n=LARGE_BYTES)
    )
    segments = [(bytes(d), n) for d, n in msgspec.msgpack.decode(row[0])]
    size = sum(length for _, length in segments)
    blobs = site.repository.blobs
    whole = await blobs.read(segments, 0, size)
    source = await blobs.open(segments)
    assert committed.created
    await site.archive.database.write(lambda c: delete_dataset(c, "other"))
    await age(site)
    assert (await collect(site.archive)).packs > 0
    site.dataset = await site.archive.database.read(lambda c: find_dataset(c, "default"))
    await site.store([LOST[0]])

    assert await blobs.read(segments, 0, size) == whole
    assert b"".join([chunk async for chunk in blobs.stream(segments, 10, 5000)]) == whole[10:5010]
    assert await asyncio.to_thread(source.read_at, 7, 1000) == whole[7:1007]


async def test_a_killed_gc_loses_nothing_that_lives(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    site = await open_site(folder)
    await lose_some(site)
    await site.archive.close()
    age_files(site)  # what grew was cut to its length just now
    settings = choose_stack(folder) | {"data_dir": str(folder)}
    is_local = isinstance(site.archive.packs, LocalPackStore)
    # before and after the locations' transaction, between a pack's row and the pack; the stray
    # that is left then, before and after; and at last not at all
    for point in (0, 1, 2, *((0, 1) if is_local else ()), 100):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(point), "gc"],
            env=make_environ(**settings),
            capture_output=True,
            check=False,
        )
        assert done.returncode == (0 if point == 100 else -signal.SIGKILL), (point, done.stderr)
        site = await open_site(folder)
        await assert_whole(site)
        await site.archive.close()
    site = await open_site(folder)
    names = await list_packs(site)
    known = {row[0] for row in await site.fetch(sa.select(pack.c.name))}
    await site.archive.close()
    assert known == names if is_local else known < names

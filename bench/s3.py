"""`python -m bench s3`: what S3 costs, by the client used and by the way there.

One SeaweedFS on this machine, one pack after the other. CPU is this process's own, the server's
is not in it; wall time is of a busy machine's loopback, so it flatters both.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import aioboto3
import obstore
from aiobotocore.config import AioConfig
from obstore.store import S3Store

from lamella.archive.packs.s3.chunk_cache import ChunkCache
from lamella.archive.packs.s3.place import BucketPlace
from lamella.archive.packs.s3.store import S3PackStore
from lamella.archive.packs.store import name_pack
from tests.harness.faulty_s3 import Plan, faulty_proxy
from tests.harness.s3_server import CREDENTIALS, S3Server, run_s3_server

PACK_BYTES = 32 << 20
SIZES_BYTES = (100 << 10, 512 << 10, 1 << 20, 4 << 20)
MOST_BYTES = 200 << 20
MOST_READS = 300
FRAME_BYTES = 512 << 10
N_FRAMES = 500
AT_ONCE = (1, 8)
FAR_S = 0.010

Read = Callable[[str, int, int], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one read: time and this process's CPU."""

    wall_ms: float
    cpu_ms: float


def measure_s3() -> list[str]:
    """Return the lines of a report."""
    os.environ.update(CREDENTIALS)
    with run_s3_server() as server:
        lines = asyncio.run(_compare_clients(server))
        for latency_s in (0.0, FAR_S):
            with faulty_proxy(server.url, Plan(latency_s=latency_s)) as proxy:
                url = proxy.url if latency_s else server.url
                lines += asyncio.run(_measure_series(server, url, latency_s))
    return lines


async def _compare_clients(server: S3Server) -> list[str]:
    place = BucketPlace(server.make_bucket(), "", server.url)
    (pack,) = await _put_packs(place, 1)
    session = aioboto3.Session(region_name="us-east-1")
    config = AioConfig(max_pool_connections=32, retries={"total_max_attempts": 1})
    lines = [
        "## Ranged reads by client",
        "",
        "| bytes | at once | client | ms | CPU ms |",
        "|-|-|-|-|-|",
    ]
    async with session.client("s3", endpoint_url=server.url, config=config) as client:
        readers = {"aioboto3": _read_by_aioboto3(client, place), "obstore": _read_bare(place)}
        for size in SIZES_BYTES:
            count = min(MOST_READS, MOST_BYTES // size)
            ranges = [(pack, n * size % (PACK_BYTES - size), size) for n in range(count)]
            for at_once in AT_ONCE:
                for name, read in readers.items():
                    cost = await _time(read, ranges, at_once)
                    lines.append(_format_row(size, at_once, name, cost))
    return lines


async def _measure_series(server: S3Server, url: str, latency_s: float) -> list[str]:
    """Read a series frame by frame: bare, and through the pack store cold and warm."""
    place = BucketPlace(server.make_bucket(), "", url)
    packs = await _put_packs(place, -(-N_FRAMES * FRAME_BYTES // PACK_BYTES))
    each = PACK_BYTES // FRAME_BYTES
    ranges = [(packs[n // each], n % each * FRAME_BYTES, FRAME_BYTES) for n in range(N_FRAMES)]
    title = (
        f"## A series of {N_FRAMES} frames of 512 KiB, first byte {latency_s * 1e3:.0f} ms later"
    )
    lines = ["", title, "", "| bytes | at once | reader | ms | CPU ms |", "|-|-|-|-|-|"]
    for at_once in AT_ONCE:
        cost = await _time(_read_bare(place), ranges, at_once)
        lines.append(_format_row(FRAME_BYTES, at_once, "bare obstore", cost))
        with tempfile.TemporaryDirectory() as folder:
            for state in ("pack store, cold", "pack store, cached"):
                store = S3PackStore(place, ChunkCache(Path(folder), 1 << 30))
                cost = await _time(store.read, ranges, at_once)
                lines.append(_format_row(FRAME_BYTES, at_once, state, cost))
                await store.close()
    return lines


async def _put_packs(place: BucketPlace, count: int) -> list[str]:
    store = S3PackStore(place, None)
    names = [name_pack() for _ in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            spool = Path(folder, name)
            spool.write_bytes(os.urandom(PACK_BYTES))
            await store.adopt(name, spool)
    await store.close()
    return names


async def _time(read: Read, ranges: Sequence[tuple[str, int, int]], at_once: int) -> Cost:
    turns = asyncio.Semaphore(at_once)

    async def read_one(name: str, offset: int, length: int) -> None:
        async with turns:
            await read(name, offset, length)

    wall, cpu = monotonic(), process_time()
    await asyncio.gather(*(read_one(*one) for one in ranges))
    scale = 1e3 / len(ranges)
    return Cost((monotonic() - wall) * scale, (process_time() - cpu) * scale)


def _read_by_aioboto3(client: Any, place: BucketPlace) -> Read:
    async def read(name: str, offset: int, length: int) -> bytes:
        answer = await client.get_object(
            Bucket=place.bucket,
            Key=place.key_of(name),
            Range=f"bytes={offset}-{offset + length - 1}",
        )
        async with answer["Body"] as body:
            data: bytes = await body.read()
        assert len(data) == length
        return data

    return read


def _read_bare(place: BucketPlace) -> Read:
    """Return what reads by obstore in threads, as the pack store does, and nothing else."""
    store = S3Store(
        place.bucket,
        endpoint=place.endpoint_url,
        region="us-east-1",
        client_options={"allow_http": True},
    )
    threads = ThreadPoolExecutor(max(AT_ONCE))

    def read_now(name: str, offset: int, length: int) -> bytes:
        data = bytes(obstore.get_range(store, place.key_of(name), start=offset, length=length))
        assert len(data) == length
        return data

    async def read(name: str, offset: int, length: int) -> bytes:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, read_now, name, offset, length)

    return read


def _format_row(size: int, at_once: int, name: str, cost: Cost) -> str:
    line = f"| {size >> 10} KiB | {at_once} | {name} | {cost.wall_ms:.2f} | {cost.cpu_ms:.2f} |"
    print(line, flush=True)
    return line

"""doctor: what it says of sound and of unsound machines."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa

from lamella.archive.installation import ServerLock, open_archive
from lamella.settings import Settings
from lamella.upkeep.doctor import CheckResult, Status, examine
from lamella.upkeep.doctor.clock import check_clock
from lamella.upkeep.doctor.data_folder import check_data_folder, find_existing
from lamella.upkeep.doctor.database import check_database
from lamella.upkeep.doctor.file_system import read_file_system
from lamella.upkeep.doctor.ports import check_ports
from lamella.upkeep.doctor.redis_server import check_redis
from lamella.upkeep.doctor.server import find_server
from lamella.vcs.datasets import ensure_default
from lamella.vcs.tables import reflog
from tests.harness.redis_server import run_redis

FREE = {"http": "127.0.0.1:0", "dimse": "127.0.0.1:0"}


async def make_installation(folder: Path) -> Settings:
    settings = Settings(data_dir=folder, **FREE)
    archive = await open_archive(settings)
    await archive.database.write(ensure_default)
    await archive.close()
    return settings


async def test_redis_is_looked_at_where_it_is_named() -> None:
    assert await check_redis(Settings(**FREE)) == []
    with run_redis() as server, redis.Redis.from_url(server.url_of()) as client:
        settings = Settings(redis_url=server.url_of(), **FREE)
        (sound,) = await check_redis(settings)
        assert sound.status is Status.OK
        assert "maxmemory-policy=noeviction, not persistent." in sound.sentence
        client.config_set("save", "60 1")
        client.config_set("maxmemory-policy", "allkeys-lru")
        (unbounded,) = await check_redis(settings)
        assert unbounded.status is Status.OK
        assert "maxmemory-policy=allkeys-lru, persistent." in unbounded.sentence
        client.config_set("maxmemory", "100mb")
        (evicting,) = await check_redis(settings)
        assert evicting.status is Status.WARN
        assert "set it to noeviction" in evicting.sentence
        server.kill()
        (gone,) = await check_redis(settings)
        assert gone.status is Status.FAIL
    (wrong,) = await check_redis(Settings(redis_url="nonsense", **FREE))
    assert wrong.status is Status.FAIL


def find(results: list[CheckResult], name: str) -> list[CheckResult]:
    return [result for result in results if result.name == name]


async def test_a_fresh_machine_is_fine_and_stays_untouched(tmp_path: Path) -> None:
    results = await examine(Settings(data_dir=tmp_path / "not" / "yet", **FREE))
    assert not [result for result in results if result.status is Status.FAIL]
    assert "first start" in find(results, "data folder")[0].sentence
    assert list(tmp_path.iterdir()) == []


async def test_an_installation_is_fine(tmp_path: Path) -> None:
    settings = await make_installation(tmp_path / "data")
    before = sorted(path.name for path in (tmp_path / "data").rglob("*"))
    results = await examine(settings)
    assert not [result for result in results if result.status is Status.FAIL]
    sentences = " ".join(result.sentence for result in find(results, "database"))
    assert "journal_mode=wal" in sentences
    assert "synchronous=FULL" in sentences
    after = sorted(path.name for path in (tmp_path / "data").rglob("*"))
    assert [name for name in after if "-wal" not in name and "-shm" not in name] == before


async def test_a_folder_of_something_else_fails(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    [result] = await check_data_folder(Settings(data_dir=tmp_path))
    assert result.status is Status.FAIL
    (tmp_path / "format").write_text("lamella-data 999\n")
    [result] = await check_data_folder(Settings(data_dir=tmp_path))
    assert result.status is Status.FAIL
    assert "999" in result.sentence
    [result] = await check_data_folder(Settings(data_dir=tmp_path / "thesis.txt"))
    assert result.status is Status.FAIL


async def test_a_database_that_is_none_fails_without_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "lamella.db"
    path.write_bytes(b"this is no database, and long enough to be sure of it" * 100)
    [result] = await check_database(Settings(data_dir=tmp_path))
    assert result.status is Status.FAIL
    [result] = await check_database(Settings(database_url="mysql://localhost/x"))
    assert result.status is Status.FAIL


async def test_an_unreachable_postgresql_fails_and_keeps_its_password(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        url = f"postgresql://user:secret@127.0.0.1:{port}/lamella"
        results = await examine(Settings(data_dir=tmp_path, database_url=url, **FREE))
    [result] = find(results, "database")
    assert result.status is Status.FAIL
    assert "secret" not in " ".join(one.sentence for one in results)


async def test_another_schema_is_a_warning(tmp_path: Path) -> None:
    settings = await make_installation(tmp_path / "data")
    with sqlite3.connect(tmp_path / "data" / "lamella.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.close()
    result = (await check_database(settings))[0]
    assert result.status is Status.WARN
    assert "lamella migrate" in result.sentence


async def test_ports_in_use_are_told_apart(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        body = b'{"status":"ok","version":"1"}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    settings = Settings(data_dir=tmp_path, **FREE)
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        results = await check_ports(replace(settings, http=f"{host}:{port}"))
        assert [result.status for result in results] == [Status.OK, Status.OK]
        assert "by a Lamella" in results[0].sentence
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        address = "{}:{}".format(*deaf.getsockname())
        results = await check_ports(replace(settings, http=address, dimse=address))
        assert [result.status for result in results] == [Status.FAIL, Status.WARN]
        results = await check_ports(replace(settings, dimse="off"))
        assert [result.status for result in results] == [Status.OK, Status.OK]


async def test_an_open_door_fails_as_it_would_on_start(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, http="0.0.0.0:0", dimse="off")
    assert find(await examine(settings), "exposure")[0].status is Status.FAIL
    guarded = find(await examine(replace(settings, insecure=True)), "exposure")[0]
    assert guarded.status is Status.WARN


async def test_a_held_lock_is_seen_without_taking_it(tmp_path: Path) -> None:
    assert find_server(tmp_path) is None
    lock = ServerLock(tmp_path)
    if find_server(tmp_path) is None:
        lock.release()
        pytest.skip("this system does not list its locks in /proc/locks")
    lock.release()
    assert find_server(tmp_path) is None


async def test_a_commit_from_the_future_is_a_warning(tmp_path: Path) -> None:
    settings = await make_installation(tmp_path / "data")
    assert (await check_clock(settings))[0].status is Status.OK
    archive = await open_archive(settings)
    ahead_us = time.time_ns() // 1000 + 3_600_000_000
    await archive.database.write(lambda c: c.execute(sa.update(reflog).values(time_us=ahead_us)))
    await archive.close()
    [result] = await check_clock(settings)
    assert result.status is Status.WARN
    assert "set back" in result.sentence


def test_the_deepest_mount_counts(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"22 21 0:5 / {folder} rw,relatime shared:1 - tmpfs tmpfs rw\n"
        "23 21 0:6 / /proc rw - proc proc rw\n"
    )
    assert read_file_system(folder / "data", mounts) == "tmpfs"
    assert read_file_system(Path("/"), mounts) == "ext4"
    assert read_file_system(folder, tmp_path / "absent") == "unknown"


def test_the_nearest_parent_is_found(tmp_path: Path) -> None:
    assert find_existing(tmp_path / "a" / "b") == tmp_path
    assert find_existing(Path("/")) == Path("/")

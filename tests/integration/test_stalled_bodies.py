"""Senders that are slow are served; senders that stop in the middle are not waited for."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lamella.app.application import build_application
from lamella.app.http_server import HttpServer, listen
from lamella.archive.installation import Archive, open_archive
from lamella.dicomweb.services import Services
from lamella.settings import Settings
from lamella.vcs.datasets import ensure_default
from lamella.vcs.repository import Repository
from tests.harness.collection import join_parts
from tests.harness.samples import make_instance

# litestar tells of its next version when an application is built
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

STALL_S = 2.0
STORE = "/dicomweb/default/main/studies"


@dataclass
class House:
    """An archive behind an HTTP door, in this process."""

    archive: Archive
    port: int

    async def post(self, path: str, content_type: str, pieces: list[bytes], length: int) -> bytes:
        """Send a request's body in pieces with pauses between; return the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
        writer.write(f"{head}Content-Length: {length}\r\nConnection: close\r\n\r\n".encode())
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(STALL_S / 4)
        answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    """No connection may end only because objects that refer to themselves are looked for."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path / "data") as opened:
        yield opened


@asynccontextmanager
async def open_house(folder: Path) -> AsyncIterator[House]:
    """Open an archive and its HTTP door, which waits `STALL_S` for the next bytes of a body."""
    settings = Settings(data_dir=folder, http="127.0.0.1:0", dimse="off")
    archive = await open_archive(settings)
    await archive.database.write(ensure_default)
    services = Services(Repository(archive), settings)
    listener = listen(settings.http_address)
    port = listener.getsockname()[1]
    http = HttpServer(build_application(services, STALL_S), listener)
    http.start()
    try:
        yield House(archive, port)
    finally:
        await http.finish(10)
        await services.decoders.close()
        await archive.close()


@pytest.mark.parametrize("kind", ["application/dicom", "application/dicom+json", "application/zip"])
async def test_a_store_that_stalls_is_refused_and_leaves_nothing(house: House, kind: str) -> None:
    content_type, body = join_parts([make_instance(rows=256, columns=256)], part_type=kind)

    answer = await house.post(STORE, content_type, [body[:1000], body[1000:50_000]], len(body))

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["title"] == "Request timeout"
    assert list(house.archive.spool_folder.iterdir()) == []


async def test_a_json_body_that_stalls_is_refused(house: House) -> None:
    answer = await house.post("/api/v1/datasets", "application/json", [b'{"name":'], 100)

    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("path", ["/dicomweb/nowhere/studies", "/dicomweb/default/main/series"])
async def test_a_body_that_nobody_wants_is_not_waited_for(house: House, path: str) -> None:
    content_type, body = join_parts([make_instance(rows=256, columns=256)])

    answer = await house.post(path, content_type, [body[:1000]], len(body))

    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 405 "))


async def test_a_slow_sender_is_served(house: House) -> None:
    content_type, body = join_parts([make_instance()])
    step = len(body) // 6 + 1
    pieces = [body[start : start + step] for start in range(0, len(body), step)]

    answer = await house.post(STORE, content_type, pieces, len(body))  # longer than `STALL_S`

    assert answer.startswith(b"HTTP/1.1 200 ")


def test_connections_whose_peer_reads_nothing_are_ended() -> None:
    """By the system: accepted connections have the listener's options."""
    with (
        listen(Settings(http="127.0.0.1:0").http_address) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        listener.setblocking(True)
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000

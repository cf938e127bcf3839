"""What is no proper HTTP, on a bare socket: answered, refused or hung up on, and never in the way.

Each exchange is bounded in time, and the server answers the next client as before.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, serve
from tests.harness.web import send, store

PATIENCE_S = 20.0
STUDIES = "/dicomweb/default/main/studies"
GET = f"GET {STUDIES} HTTP/1.1\r\nHost: x\r\n".encode()
POST = f"POST {STUDIES} HTTP/1.1\r\nHost: x\r\nContent-Type: application/dicom\r\n".encode()
NAMED = b"POST /api/v1/datasets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BAD = b"HTTP/1.1 4"
HIDDEN = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

REFUSED = {
    "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300),
    "HTTP/2's first word": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no such version": b"GET / HTTP/3.9\r\nHost: x\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "a blank in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a NUL in the target": b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
    "a blank before the colon": b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
    "a NUL in a header": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
    "a bare CR in a header": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc: d\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "a header of 2 MB": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * (2 << 20) + b"\r\n\r\n",
    "20,000 headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
    "a target of 1 MB": b"GET /" + b"x" * (1 << 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "two lengths": NAMED + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "a length below zero": NAMED + b"Content-Length: -2\r\n\r\n{}",
    "a length with a sign": NAMED + b"Content-Length: +2\r\n\r\n{}",
    "a length beyond numbers": NAMED + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n{}",
    "an unknown transfer coding": NAMED + b"Transfer-Encoding: rot13\r\n\r\n{}",
    "chunked, but not last": NAMED + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunks that are none": NAMED + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk beyond numbers": NAMED + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n{}",
    "a chunk longer than it says": NAMED + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n\r\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("odd") / "data", dimse="off") as running:
        assert store(running.root(), [make_instance()]).status == 200
        yield running
        log = "\n".join(running.errors)
        assert "Traceback" not in log
        assert "panicked" not in log


def open_socket(server: RunningServer) -> socket.socket:
    parts = urlsplit(server.http)
    return socket.create_connection((str(parts.hostname), parts.port), timeout=PATIENCE_S)


def exchange(server: RunningServer, *pieces: bytes, half_close: bool = False) -> bytes:
    """Send pieces; return all that comes back until the server hangs up or is silent for 2 s."""
    received = b""
    with closing(open_socket(server)) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            connection.settimeout(2)
            while piece := connection.recv(1 << 16):
                received += piece
        except (TimeoutError, ConnectionResetError, BrokenPipeError):
            pass  # it stays open for the next request, or was hung up on with bytes on the way
    return received


def check(server: RunningServer) -> None:
    """The next client is served, promptly."""
    found = send(f"{server.root()}/studies")
    assert found.status == 200
    assert len(found.json) == 1


@pytest.mark.parametrize("name", REFUSED)
def test_no_proper_request(server: RunningServer, name: str) -> None:
    answer = exchange(server, REFUSED[name])
    assert answer == b"" or answer.startswith(BAD), answer[:200]
    assert answer.count(b"HTTP/1.1 ") <= 1
    check(server)


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + HIDDEN,
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + HIDDEN,
        b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n" + HIDDEN,
    ],
)
def test_a_request_hidden_in_a_body_is_not_answered_twice(server: RunningServer, body: bytes):
    """One that a proxy takes for a body, and the server for a request: at most one answer each."""
    answer = exchange(server, NAMED + body)
    assert answer.count(b"HTTP/1.1 2") <= 1
    assert b"HTTP/1.1 5" not in answer
    check(server)


def test_pipelined_requests_are_answered_in_order(server: RunningServer) -> None:
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = exchange(server, (GET + b"\r\n") * 30 + last)
    assert answer.count(b"HTTP/1.1 200 ") == 31
    assert answer.rindex(b'"status":"ok"') > answer.rindex(b"0020000D")
    check(server)


def test_a_request_in_single_bytes_is_answered(server: RunningServer) -> None:
    request = GET + b"Connection: close\r\n\r\n"
    answer = exchange(server, *(request[at : at + 1] for at in range(len(request))))
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "request_",
    [
        GET,
        GET + b"\r\n",
        b"G",
        POST + b"Content-Length: 5000\r\n\r\nabc",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        POST + b"Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n",
        POST + b"Content-Length: 0\r\n\r\n",
    ],
)
def test_clients_that_leave_are_forgotten(server: RunningServer, request_: bytes) -> None:
    for _ in range(20):
        with closing(open_socket(server)) as connection:
            connection.sendall(request_)
    answer = exchange(server, request_, half_close=True)
    assert b"HTTP/1.1 5" not in answer
    check(server)


def test_many_silent_clients_are_in_nobodys_way(server: RunningServer) -> None:
    silent = [open_socket(server) for _ in range(200)]
    try:
        for number, connection in enumerate(silent):
            connection.sendall(
                (b"", b"GET / HT", GET, POST + b"Content-Length: 9\r\n\r\n")[number % 4]
            )
        check(server)
    finally:
        for connection in silent:
            connection.close()
    check(server)
    wait_until_closed(server)


def wait_until_closed(server: RunningServer) -> None:
    """Wait until the server has let go of clients that left."""
    port = f":{urlsplit(server.http).port:04X}"
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        states = {line[3] for line in lines if line[1].endswith(port)}
        if "08" not in states:  # CLOSE_WAIT: the client left, the server has not noticed
            return
        time.sleep(0.1)
    raise AssertionError("the server keeps connections of clients that have left")

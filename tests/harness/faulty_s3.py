"""A proxy before an S3 server that is slow and makes mistakes, as told."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep
from urllib.parse import urlsplit

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
SILENCE_S = 1.5
"""How long a proxy says nothing; clients in these tests wait for less."""


class Fault(StrEnum):
    """What goes wrong with one request."""

    ERROR = "500, and nothing is done"
    LATE_ERROR = "500, although it is done"
    SLOW_DOWN = "503 SlowDown"
    SILENCE = "no answer, and nothing is done"
    LOST_ANSWER = "no answer, although it is done"
    TORN_ANSWER = "the connection ends in the middle of the answer"
    TORN_REQUEST = "the connection ends in the middle of the request"
    CHANGED_REQUEST = "a byte of the body changes on its way"
    WRONG_ETAG = "the answer has another ETag"
    WRONG_RANGE = "the answer has other bytes than were asked for"


Choose = Callable[[str, str], "Fault | None"]
"""From method and path to what goes wrong."""


@dataclass
class Plan:
    """What a proxy does; may be changed at any time.

    Attributes:
        choose: Says what goes wrong with a request.
        latency_s: How long each request takes longer.
        requests: Method and path of all requests so far.
        done: What went wrong so far.
    """

    choose: Choose = lambda _method, _path: None
    latency_s: float = 0.0
    requests: list[tuple[str, str]] = field(default_factory=list)
    done: list[Fault] = field(default_factory=list)

    def count(self, method: str) -> int:
        """Return how many requests of a method there were."""
        return sum(one == method for one, _ in self.requests)


def choose_first(fault: Fault, times: int, methods: tuple[str, ...]) -> Choose:
    """Return what lets the first so many requests of these methods go wrong."""
    left = [times]
    lock = threading.Lock()

    def choose(method: str, _path: str) -> Fault | None:
        with lock:
            if method not in methods or left[0] <= 0:
                return None
            left[0] -= 1
            return fault

    return choose


def choose_often(seed: int, share: float, faults: tuple[Fault, ...]) -> Choose:
    """Return what lets a share of all requests go wrong, in any of these ways."""
    source = random.Random(seed)
    lock = threading.Lock()

    def choose(_method: str, _path: str) -> Fault | None:
        with lock:
            return source.choice(faults) if source.random() < share else None

    return choose


class FaultyProxy(ThreadingHTTPServer):
    """Passes requests on, or not quite.

    Attributes:
        plan: What it does.
        upstream: `host:port` of the server behind it.
    """

    daemon_threads = True
    plan: Plan
    upstream = ""

    @property
    def url(self) -> str:
        """The endpoint, as clients see it."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def answer(self) -> None:
        plan = self.server.plan
        plan.requests.append((self.command, self.path))
        fault = plan.choose(self.command, self.path)
        if fault is not None:
            plan.done.append(fault)
        sleep(plan.latency_s)
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(length)
        match fault:
            case Fault.ERROR:
                self._refuse(500, "InternalError")
            case Fault.SLOW_DOWN:
                self._refuse(503, "SlowDown")
            case Fault.SILENCE:
                self._say_nothing()
            case Fault.TORN_REQUEST:
                self._ask(body[: length // 2], length)
                self.close_connection = True
            case _:
                if fault is Fault.CHANGED_REQUEST and body:
                    body = bytes([body[0] ^ 1]) + body[1:]
                self._pass_on(body, length, fault)

    def _pass_on(self, body: bytes, length: int, fault: Fault | None) -> None:
        found = self._ask(body, length)
        if found is None or fault is Fault.LOST_ANSWER:
            self._say_nothing()
        elif fault is Fault.LATE_ERROR:
            self._refuse(500, "InternalError")
        else:
            self._send_back(*found, fault)

    def _ask(self, body: bytes, length: int) -> tuple[int, list[tuple[str, str]], bytes] | None:
        """Return status, headers and body of the server's answer; None if it gives none."""
        connection = HTTPConnection(self.server.upstream, timeout=30)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() in _HOP_BY_HOP or name.lower() == "expect":
                    continue
                connection.putheader(name, value)
            if self.headers.get("Content-Length") is not None:
                connection.putheader("Content-Length", str(length))
            connection.endheaders(body or None)
            if len(body) < length:
                return None
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()

    def _send_back(
        self, status: int, headers: list[tuple[str, str]], body: bytes, fault: Fault | None
    ) -> None:
        length = {name.lower(): value for name, value in headers}.get("content-length")
        if fault is Fault.WRONG_RANGE and status == 206:
            body, length = body[:1], "1"
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() == "etag" and fault is Fault.WRONG_ETAG:
                self.send_header(name, f'"{random.getrandbits(128):032x}"')
            elif name.lower() == "content-range" and fault is Fault.WRONG_RANGE:
                first = value.split()[1].split("-")[0]
                self.send_header(name, f"bytes {first}-{first}/{value.rpartition('/')[2]}")
            elif name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        torn = fault is Fault.TORN_ANSWER
        self.wfile.write(body[: len(body) // 2] if torn else body)
        self.close_connection = torn

    def _refuse(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _say_nothing(self) -> None:
        sleep(SILENCE_S)
        self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            return  # the client has gone, which some of these faults make it do

    def log_message(self, *_arguments: object) -> None:
        return


@contextmanager
def faulty_proxy(upstream_url: str, plan: Plan) -> Iterator[FaultyProxy]:
    """Run a proxy for the time of a block."""
    server = FaultyProxy(("127.0.0.1", 0), _Handler)
    server.upstream = urlsplit(upstream_url).netloc
    server.plan = plan
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

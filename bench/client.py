"""A load client that costs little: one thread, epoll, raw sockets, bodies into one buffer.

The machine has two cores and the server needs one, so the client must not parse what it does
not look at: of each answer the status, the length and, for a sample, the body are kept. wrk
reads 8 KiB at a time, which is dearer than this for bodies of 0.5 MB.
"""

from __future__ import annotations

import gzip
import resource
import select
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from time import perf_counter

BUFFER_BYTES = 1 << 20
TIMEOUT_S = 120.0
LENGTH_TOLERANCE_BYTES = 4096  # chunk framing and times vary; a missing frame does not hide in it


class BadAnswer(Exception):
    """A server answered with an error, or with something that cannot be read."""


@dataclass(frozen=True)
class HttpRequest:
    """One request, ready to send.

    Attributes:
        pieces: Head and body; sent one after the other.
        label: What is asked for; answers are compared by it.
    """

    pieces: tuple[bytes, ...]
    label: str


@dataclass
class HttpAnswer:
    """One answer.

    Attributes:
        head: Status line and headers, as they came.
        body: Decoded from chunks and gzip.
        coded: Decoded from chunks alone.
        length: Bytes of the body on the wire, chunk framing included.
    """

    label: str
    status: int
    head: bytes
    body: bytes
    coded: bytes
    length: int
    seconds: float

    def header(self, name: str) -> str:
        """Return a header's value, or an empty text."""
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return ""


@dataclass
class Load:
    """What a run of requests came to.

    Attributes:
        latencies_s: Of each request.
        kept: Answers whose bodies were kept.
        client_cpu_s: What the client itself cost.
    """

    seconds: float = 0.0
    body_bytes: int = 0
    latencies_s: list[float] = field(default_factory=list)
    kept: list[HttpAnswer] = field(default_factory=list)
    client_cpu_s: float = 0.0

    @property
    def requests(self) -> int:
        """How many were answered."""
        return len(self.latencies_s)


def build_get(path: str, accept: str, *, gzip_ok: bool = False, label: str = "") -> HttpRequest:
    """Return a GET request."""
    coding = "Accept-Encoding: gzip\r\n" if gzip_ok else ""
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n{coding}\r\n"
    return HttpRequest((head.encode(),), label or path)


def build_post(path: str, body: bytes) -> HttpRequest:
    """Return a POST request of a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return HttpRequest((head.encode(), body), path)


def build_stow(path: str, instances: Sequence[bytes], label: str) -> HttpRequest:
    """Return a store request."""
    boundary = b"bench-3f9c1d7a5e"
    pieces: list[bytes] = []
    for data in instances:
        pieces += [b"--" + boundary + b"\r\nContent-Type: application/dicom\r\n\r\n", data, b"\r\n"]
    pieces.append(b"--" + boundary + b"--\r\n")
    length = sum(map(len, pieces))
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/dicom+json\r\n"
        f'Content-Type: multipart/related; type="application/dicom"; boundary={boundary.decode()}'
        f"\r\nContent-Length: {length}\r\n\r\n"
    )
    return HttpRequest((head.encode(), b"".join(pieces)), label)


def send_once(port: int, request: HttpRequest) -> HttpAnswer:
    """Send one request on a connection of its own."""
    return run_load(port, [request], concurrency=1, keep=1).kept[0]


def run_load(
    port: int,
    requests: Sequence[HttpRequest],
    *,
    concurrency: int,
    seconds: float = 0.0,
    at_least: int = 0,
    keep: int = 16,
    expected_status: Sequence[int] = (200,),
) -> Load:
    """Send requests over persistent connections.

    Args:
        requests: In this order; again from the first one while time is left.
        seconds: How long new requests are sent; 0 sends each request once.
        at_least: Requests to send even when the time is over.
        keep: How many answers' bodies are kept, of different labels, the first ones.

    Raises:
        BadAnswer: An answer has another status, or differs in length from the one before to
            the same request.
    """
    return _Run(port, requests, concurrency, seconds, at_least, keep, expected_status).go()


class _Connection:
    """One persistent connection and the request on it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.sock = self._connect()
        self.request: HttpRequest | None = None
        self.started = 0.0
        self.pending: list[memoryview] = []
        self.reset()

    def reset(self) -> None:
        """Forget the last answer."""
        self.head = b""
        self.status = 0
        self.missing: int | None = None
        self.chunked = False
        self.tail = b""
        self.length = 0
        self.body: bytearray | None = None

    def reconnect(self) -> None:
        """Open it again, after the server closed it."""
        self.sock.close()
        self.sock = self._connect()

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        return sock


class _Run:
    def __init__(
        self,
        port: int,
        requests: Sequence[HttpRequest],
        concurrency: int,
        seconds: float,
        at_least: int,
        keep: int,
        expected_status: Sequence[int],
    ) -> None:
        self._seconds = seconds
        self._at_least = at_least
        self._keep = keep
        self._expected = frozenset(expected_status)
        self._queue = iter(requests) if not seconds else cycle(requests)
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._poll = select.epoll()
        if not seconds:
            concurrency = min(concurrency, len(requests))
        self._connections = [_Connection(port) for _ in range(concurrency)]
        self._by_fd: dict[int, _Connection] = {}
        self._chosen: set[str] = set()
        self._lengths: dict[str, int] = {}
        self._sent = 0
        self._load = Load()

    def go(self) -> Load:
        cpu = resource.getrusage(resource.RUSAGE_SELF)
        begun = perf_counter()
        self._deadline = begun + self._seconds
        try:
            for connection in self._connections:
                self._begin(connection)
            while self._by_fd:
                events = self._poll.poll(TIMEOUT_S)
                if not events:
                    raise BadAnswer("a server has not answered for two minutes")
                for fd, event in events:
                    self._advance(self._by_fd[fd], event)
        finally:
            for connection in self._connections:
                connection.sock.close()
            self._poll.close()
        self._load.seconds = perf_counter() - begun
        after = resource.getrusage(resource.RUSAGE_SELF)
        self._load.client_cpu_s = after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime
        return self._load

    def _begin(self, connection: _Connection) -> None:
        """Send the next request on a connection, or retire it."""
        fd = connection.sock.fileno()
        over = self._seconds and perf_counter() >= self._deadline and self._sent >= self._at_least
        request = None if over else next(self._queue, None)
        if request is None:
            if self._by_fd.pop(fd, None) is not None:
                self._poll.unregister(fd)
            return
        self._sent += 1
        connection.reset()
        connection.request = request
        connection.pending = [memoryview(piece) for piece in request.pieces]
        connection.started = perf_counter()
        if request.label not in self._chosen and len(self._chosen) < self._keep:
            self._chosen.add(request.label)
            connection.body = bytearray()
        if fd not in self._by_fd:
            self._by_fd[fd] = connection
            self._poll.register(fd, select.EPOLLIN | select.EPOLLOUT)
        else:
            self._poll.modify(fd, select.EPOLLIN | select.EPOLLOUT)
        self._push(connection)

    def _advance(self, connection: _Connection, event: int) -> None:
        if event & select.EPOLLOUT and connection.pending:
            self._push(connection)
        if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            self._pull(connection)

    def _push(self, connection: _Connection) -> None:
        while connection.pending:
            try:
                sent = connection.sock.send(connection.pending[0])
            except BlockingIOError:
                return
            rest = connection.pending[0][sent:]
            if rest:
                connection.pending[0] = rest
            else:
                del connection.pending[0]
        self._poll.modify(connection.sock.fileno(), select.EPOLLIN)

    def _pull(self, connection: _Connection) -> None:
        try:
            count = connection.sock.recv_into(self._buffer)
        except BlockingIOError:
            return
        if count == 0:
            self._close(connection)
            return
        piece = self._view[:count]
        if not connection.status:
            connection.head += bytes(piece)
            end = connection.head.find(b"\r\n\r\n")
            if end < 0:
                return
            piece = memoryview(connection.head)[end + 4 :]
            connection.head = connection.head[:end]
            _read_head(connection)
            if connection.status not in self._expected:
                connection.body = bytearray()  # it says why
        self._take(connection, piece)

    def _take(self, connection: _Connection, piece: memoryview) -> None:
        connection.length += len(piece)
        if connection.body is not None:
            connection.body += piece
        if connection.chunked:
            connection.tail = (connection.tail + bytes(piece[-7:]))[-7:]
            if connection.tail in (b"\r\n0\r\n\r\n", b"0\r\n\r\n"):
                self._finish(connection)
        elif connection.missing is not None and connection.length >= connection.missing:
            self._finish(connection)

    def _close(self, connection: _Connection) -> None:
        """The server closed: the end of an answer without a length, or a failure."""
        if not connection.status or connection.chunked or connection.missing is not None:
            raise BadAnswer(f"connection closed amid the answer to {_label(connection)}")
        self._finish(connection, closed=True)

    def _finish(self, connection: _Connection, *, closed: bool = False) -> None:
        seconds = perf_counter() - connection.started
        label = _label(connection)
        if connection.status not in self._expected:
            text = bytes(connection.body or b"")[:300]
            raise BadAnswer(f"{connection.status} for {label}: {text!r}")
        usual = self._lengths.setdefault(label, connection.length)
        if abs(connection.length - usual) > LENGTH_TOLERANCE_BYTES:
            raise BadAnswer(f"{connection.length} bytes for {label}, {usual} before")
        self._load.latencies_s.append(seconds)
        self._load.body_bytes += connection.length
        if connection.body is not None:
            self._load.kept.append(_keep_answer(connection, label, seconds))
        if closed or b"connection: close" in connection.head.lower():
            self._poll.unregister(connection.sock.fileno())
            del self._by_fd[connection.sock.fileno()]
            connection.reconnect()
        self._begin(connection)


def _label(connection: _Connection) -> str:
    return connection.request.label if connection.request is not None else ""


def _read_head(connection: _Connection) -> None:
    lines = connection.head.split(b"\r\n")
    connection.status = int(lines[0].split(b" ", 2)[1])
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        match name.lower():
            case b"content-length":
                connection.missing = int(value)
            case b"transfer-encoding":
                connection.chunked = b"chunked" in value.lower()


def _keep_answer(connection: _Connection, label: str, seconds: float) -> HttpAnswer:
    raw = bytes(connection.body or b"")
    coded = _join_chunks(raw) if connection.chunked else raw
    is_gzip = b"content-encoding: gzip" in connection.head.lower()
    body = gzip.decompress(coded) if is_gzip else coded
    return HttpAnswer(
        label, connection.status, connection.head, body, coded, connection.length, seconds
    )


def _join_chunks(raw: bytes) -> bytes:
    pieces: list[bytes] = []
    position = 0
    while True:
        end = raw.index(b"\r\n", position)
        size = int(raw[position:end].split(b";")[0], 16)
        if size == 0:
            return b"".join(pieces)
        pieces.append(raw[end + 2 : end + 2 + size])
        position = end + 2 + size + 2

"""The HTTP client of the suite: plain, so that what is sent is what a check wrote.

Nothing is normalised, added or followed: no default Accept, no decoding of content codings, no
redirects. One connection is kept open and opened again when the server closed it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from lamella.conformance.exchange import Reply, Request
from lamella.errors import LamellaError

TIMEOUT_S = 60
_CHUNK_BYTES = 16_384


class ServerUnreachable(LamellaError):
    """No answer came: the connection failed, broke off, or took too long."""

    title = "Server unreachable"


class Client:
    """Sends requests to one server, one at a time.

    Args:
        headers: Sent with every request, such as Authorization.
        timeout_s: How long to wait for an answer.
    """

    def __init__(
        self, headers: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.headers = dict(headers or {})
        self._timeout_s = timeout_s
        self._connections: dict[str, HTTPConnection] = {}

    def send(self, request: Request) -> Reply:
        """Send a request and read its answer.

        Raises:
            ServerUnreachable: No whole answer came.
        """
        parts = urlsplit(request.url)
        key = f"{parts.scheme}://{parts.netloc}"
        is_reused = key in self._connections
        try:
            return self._exchange(key, request)
        except (OSError, HTTPException) as error:
            self._drop(key)
            if is_reused:
                return self._retry(key, request)
            raise ServerUnreachable(_describe(request, error)) from error

    def close(self) -> None:
        """Close all connections."""
        for key in list(self._connections):
            self._drop(key)

    def _retry(self, key: str, request: Request) -> Reply:
        """Send again on a new connection: the server may close an idle one at any time."""
        try:
            return self._exchange(key, request)
        except (OSError, HTTPException) as error:
            self._drop(key)
            raise ServerUnreachable(_describe(request, error)) from error

    def _exchange(self, key: str, request: Request) -> Reply:
        connection = self._connections.get(key) or self._connect(key)
        parts = urlsplit(request.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.putrequest(request.method, target, skip_accept_encoding=True)
        for name, value in (*self.headers.items(), *request.headers):
            connection.putheader(name, value)
        self._send_body(connection, request)
        answer = connection.getresponse()
        body = answer.read()
        reply = Reply(request, answer.status, tuple(answer.getheaders()), body)
        if answer.will_close:
            self._drop(key)
        return reply

    def _connect(self, key: str) -> HTTPConnection:
        parts = urlsplit(key)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection: HTTPConnection = HTTPSConnection(
                parts.netloc, timeout=self._timeout_s, context=context
            )
        else:
            connection = HTTPConnection(parts.netloc, timeout=self._timeout_s)
        self._connections[key] = connection
        return connection

    def _send_body(self, connection: HTTPConnection, request: Request) -> None:
        if request.body is None:
            connection.endheaders()
        elif request.chunked:
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders(_cut(request.body), encode_chunked=True)
        else:
            connection.putheader("Content-Length", str(len(request.body)))
            self._send_whole(connection, request.body)

    def _send_whole(self, connection: HTTPConnection, body: bytes) -> None:
        """Send head and body; a server may answer, and close, before it has read all."""
        try:
            connection.endheaders(body)
        except (BrokenPipeError, ConnectionResetError):
            if connection.sock is None:
                raise

    def _drop(self, key: str) -> None:
        connection = self._connections.pop(key, None)
        if connection is not None:
            connection.close()


def _cut(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), _CHUNK_BYTES):
        yield body[start : start + _CHUNK_BYTES]


def _describe(request: Request, error: Exception) -> str:
    reason = str(error) or type(error).__name__
    return f"{request.method} {request.url} was not answered: {reason}."

"""A plain HTTP client for tests: it streams, and it reads an answer that comes early."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

BOUNDARY = "lamella-test-boundary"
MULTIPART = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
TIMEOUT_S = 120
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Reply:
    """An answer that was read to its end.

    Attributes:
        headers: By lower-case name.
        body: Empty if it was passed on to a consumer.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def send(
    url: str,
    method: str = "GET",
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | Iterable[bytes] | None = None,
    consume: Callable[[bytes], None] | None = None,
) -> Reply:
    """Send one request on a connection of its own.

    Args:
        url: Absolute.
        method: The HTTP method.
        headers: Of the request.
        body: Bytes, or pieces that are sent chunked, as a client does that knows no length.
        consume: Takes the pieces of the answer's body, so that nobody holds it whole.

    Raises:
        OSError: The connection broke before an answer came.
        http.client.HTTPException: The answer broke off.
    """
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        try:
            is_chunked = body is not None and not isinstance(body, bytes)
            connection.request(
                method, target, body=body, headers=dict(headers or {}), encode_chunked=is_chunked
            )
        except (BrokenPipeError, ConnectionResetError):
            if connection.sock is None:
                raise
            # The server answered before it had read all; what it said is still to be read.
            answer = HTTPResponse(connection.sock, method=method)
            answer.begin()
            return _read(answer, consume)
        return _read(connection.getresponse(), consume)
    finally:
        connection.close()


def store(root: str, files: Sequence[bytes], *, headers: Mapping[str, str] | None = None) -> Reply:
    """Store instances by STOW-RS.

    Args:
        root: A DICOMweb root.
        files: Part 10 files.
        headers: More headers.
    """
    body = b"".join(piece for file in files for piece in frame_part([file]))
    body += f"--{BOUNDARY}--\r\n".encode()
    return send(
        f"{root}/studies",
        "POST",
        headers={"Content-Type": MULTIPART, "Accept": "application/dicom+json", **(headers or {})},
        body=body,
    )


def store_stream(root: str, chunks: Iterable[bytes]) -> Reply:
    """Store one instance by STOW-RS, chunked, as it is made."""

    def make_body() -> Iterator[bytes]:
        yield from frame_part(chunks)
        yield f"--{BOUNDARY}--\r\n".encode()

    headers = {"Content-Type": MULTIPART, "Accept": "application/dicom+json"}
    return send(f"{root}/studies", "POST", headers=headers, body=make_body())


def frame_part(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield one part of a multipart body, with its delimiter before it."""
    yield f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    yield from chunks
    yield b"\r\n"


def fetch_file(http: str, sop_uid: str, *, dataset: str = "default") -> Reply:
    """Fetch an instance's original file at the head of the default branch."""
    return send(f"{http}/api/v1/datasets/{dataset}/instances/{sop_uid}/file")


def read_head(http: str, *, dataset: str = "default", branch: str = "main") -> str:
    """Return the commit id that a branch points to."""
    reply = send(f"{http}/api/v1/datasets/{dataset}/branches")
    assert reply.status == 200, reply.body
    heads = {ref["name"]: ref["commit"] for ref in reply.json}
    return str(heads[branch])


def _read(answer: HTTPResponse, consume: Callable[[bytes], None] | None) -> Reply:
    headers = {name.lower(): value for name, value in answer.getheaders()}
    if consume is None:
        return Reply(answer.status, headers, answer.read())
    while piece := answer.read(READ_BYTES):
        consume(piece)
    return Reply(answer.status, headers, b"")

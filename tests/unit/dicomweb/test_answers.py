"""Answers as ASGI messages."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lamella.dicomweb.answers import Answer, compress_all, compress_pieces


async def collect(answer: Answer, method: str = "GET") -> tuple[dict[bytes, bytes], list[bytes]]:
    """Return the headers that an answer sends, and its pieces; it must end, and once only."""
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        await asyncio.sleep(3600)

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "method": method}
    await answer(scope, receive, send)
    start, *bodies = sent
    assert start["type"] == "http.response.start"
    assert [body["more_body"] for body in bodies] == [True] * (len(bodies) - 1) + [False]
    return dict(start["headers"]), [body["body"] for body in bodies]


async def give(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@pytest.mark.parametrize("body", [b"", b"whole", (b"opening", b"data", b"closing"), (b"one",)])
async def test_what_is_at_hand_is_sent_as_it_is_with_its_length(
    body: bytes | tuple[bytes, ...],
) -> None:
    headers, pieces = await collect(Answer(200, [("etag", '"x"')], body))
    expected = (body,) if isinstance(body, bytes) else body
    assert tuple(pieces) == expected
    assert headers == {
        b"etag": b'"x"',
        b"content-length": str(len(b"".join(expected))).encode(),
    }


async def test_head_gets_the_length_and_no_body() -> None:
    headers, pieces = await collect(Answer(200, [], (b"opening", b"data")), "HEAD")
    assert headers == {b"content-length": b"11"}
    assert pieces == [b""]


async def test_a_body_to_come_has_a_length_only_if_it_is_told() -> None:
    headers, pieces = await collect(Answer(200, [], give(b"a", b"b")))
    assert headers == {}
    assert b"".join(pieces) == b"ab"
    headers, _ = await collect(Answer(200, [], give(b"a", b"b"), 2))
    assert headers == {b"content-length": b"2"}


async def test_not_modified_has_neither() -> None:
    headers, pieces = await collect(Answer(304, [("etag", '"x"')]))
    assert headers == {b"etag": b'"x"'}
    assert b"".join(pieces) == b""


async def test_pieces_are_compressed_as_one_body() -> None:
    pieces = [b"some text " * 1000, b"", b"and more"]
    packed = b"".join([piece async for piece in compress_pieces(give(*pieces))])
    assert gzip.decompress(packed) == b"".join(pieces)
    assert b"".join(compress_all(pieces)) == packed
    assert len(packed) < 1000

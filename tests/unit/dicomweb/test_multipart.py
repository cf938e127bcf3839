"""Multipart bodies as the field sends them, and as it breaks them."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator

import pytest

from lamella.dicomweb.media_types import parse_content_type
from lamella.dicomweb.multipart_reader import MAX_HEADER_BYTES, boundary_of, read_parts
from lamella.dicomweb.multipart_writer import closing, new_boundary, part_header
from lamella.errors import InvalidRequest, TooLarge, UnsupportedMediaType


async def pieces_of(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read_all(data: bytes, size: int = 7) -> list[tuple[dict[str, str], bytes]]:
    parts = read_parts(pieces_of(data, size), b"B")
    return [(part.headers, await part.read(1 << 20)) async for part in parts]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"--B\r\nA: 1\r\n\r\nx\r\n--B--", [({"a": "1"}, b"x")]),
        (b"\r\n--B\r\n\r\nx\r\n--B--\r\n", [({}, b"x")]),
        (b"hello\r\n--B  \r\nA:1\r\n\r\n\r\n--B--bye", [({"a": "1"}, b"")]),
        (b"--B\r\nA: 1\r\n\r\n--B--", [({"a": "1"}, b"")]),
        (b"--B\r\nA: 1\r\n--B--", [({"a": "1"}, b"")]),
        (b"--B--", []),
        (b"--B\nA: 1\n\nx\ny\n--B\n\n\n--B--", [({"a": "1"}, b"x\ny"), ({}, b"")]),
        (b"--B\r\n\r\na--B--\n--B--\r\n--BB\r\n--B--", [({}, b"a--B--\n--B--\r\n--BB")]),
        (b"--B\r\nA: 1\r\n  2\r\na: 3\r\n\r\nx\r\n--B--", [({"a": "1 2, 3"}, b"x")]),
        (b"x--B\r\n--Bx\r\n--B\r\n\r\ny\r\n--B--", [({}, b"y")]),
    ],
)
async def test_forms_that_are_read(data, expected, size):
    assert await read_all(data, size) == expected


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no boundary at all",
        b"--B",
        b"--B\r\n",
        b"--B\r\nA: 1\r\n\r\n",
        b"--B\r\n\r\nx",
        b"--B\r\n\r\nx\r\n--B",
        b"--B\r\n\r\nx\r\n--B-",
        b"--B\r\n\r\nx\r\n--B\r\n",
        b"--B\r\nno colon\r\n\r\nx\r\n--B--",
        b"--B\r\n: 1\r\n\r\nx\r\n--B--",
        b"--B\r\nA: " + b"1" * MAX_HEADER_BYTES + b"\r\n\r\nx\r\n--B--",
    ],
)
async def test_forms_that_are_refused(data, size):
    with pytest.raises(InvalidRequest):
        await read_all(data, size)


async def test_an_unread_part_is_skipped():
    data = b"--B\r\n\r\n" + b"x" * 1000 + b"\r\n--B\r\nA: 2\r\n\r\nyes\r\n--B--"
    parts = read_parts(pieces_of(data, 10), b"B")
    first = await anext(parts)
    assert set(await anext(first.chunks())) == {ord("x")}
    second = await anext(parts)
    assert (second.headers, await second.read(3)) == ({"a": "2"}, b"yes")
    assert [piece async for piece in first.chunks()] == []
    assert [part async for part in parts] == []


async def test_a_part_longer_than_allowed_is_too_large():
    part = await anext(read_parts(pieces_of(b"--B\r\n\r\n12345\r\n--B--", 100), b"B"))
    with pytest.raises(TooLarge):
        await part.read(4)


async def test_memory_stays_flat():
    chunk = bytes(65536)

    async def body() -> AsyncIterator[bytes]:
        yield b"--B\r\n\r\n"
        for _ in range(1024):
            yield chunk
        yield b"\r\n--B--"

    size = 0
    tracemalloc.start()
    try:
        async for part in read_parts(body(), b"B"):
            async for piece in part.chunks():
                size += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 1024 * 65536
    assert peak < 16 * 65536


def test_boundaries():
    assert boundary_of(parse_content_type('multipart/related; boundary="a b:c"')) == b"a b:c"
    with pytest.raises(UnsupportedMediaType):
        boundary_of(parse_content_type("multipart/form-data; boundary=B"))
    for bad in ("", "; boundary=" + "x" * 201, '; boundary="x "', "; boundary=é"):
        with pytest.raises(InvalidRequest):
            boundary_of(parse_content_type("multipart/related" + bad))


async def test_the_writer_frames_parts():
    boundary = new_boundary()
    assert boundary != new_boundary()
    head = part_header(boundary, "image/jls", "/frames/1", 3, is_first=True)
    assert (
        head
        == (
            f"--{boundary}\r\nContent-Type: image/jls\r\nContent-Length: 3\r\n"
            "Content-Location: /frames/1\r\n\r\n"
        ).encode()
    )
    body = head + b"abc" + part_header(boundary, "image/jls") + b"de" + closing(boundary)
    parts = read_parts(pieces_of(body, 5), boundary.encode())
    found = [(part.headers, await part.read(10)) async for part in parts]
    assert [payload for _, payload in found] == [b"abc", b"de"]
    assert found[0][0]["content-length"] == "3"
    with pytest.raises(ValueError, match="cannot be sent"):
        part_header(boundary, "image/jls", "/a\r\nX: 1")

"""Whatever is written in parts is read back, however the network cuts it up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from hypothesis import given, settings
from hypothesis import strategies as st

from lamella.dicomweb.media_types import parse_content_type
from lamella.dicomweb.multipart_reader import boundary_of, read_parts
from lamella.dicomweb.multipart_writer import (
    closing,
    multipart_content_type,
    new_boundary,
    part_header,
)
from lamella.errors import InvalidRequest

# Short boundaries made of what bodies are made of, so that near misses are common.
BOUNDARIES = st.text("-ab", min_size=1, max_size=4).filter(lambda text: not text.endswith("-"))
PIECES = st.lists(
    st.one_of(st.sampled_from([b"\r\n", b"\n", b"--", b"\r", b"a", b"ab", b"--a", b"\r\n--"]),
              st.binary(max_size=20)),
    max_size=12,
)  # fmt: skip


async def stream(data: bytes, sizes: list[int]) -> AsyncIterator[bytes]:
    """Yield `data` cut into pieces of the given sizes, over and over."""
    position = turn = 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        yield data[position : position + size]
        position, turn = position + size, turn + 1


async def read_all(data: bytes, boundary: bytes, sizes: list[int]) -> list[tuple[dict, bytes]]:
    found = []
    async for part in read_parts(stream(data, sizes), boundary):
        body = b"".join([piece async for piece in part.chunks()])
        found.append((part.headers, body))
    return found


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=5)


@given(
    boundary=BOUNDARIES,
    bodies=st.lists(PIECES.map(b"".join), max_size=4),
    sizes=SIZES,
    preamble=st.sampled_from([b"", b"\r\n", b"hello\r\n", b"x\n", b"--\r\n"]),
    epilogue=st.sampled_from([b"", b"\r\n", b"bye--"]),
    padding=st.sampled_from([b"", b" ", b" \t "]),
)
@settings(max_examples=400, deadline=None)
def test_any_parts_in_any_chunks_come_back(boundary, bodies, sizes, preamble, epilogue, padding):
    mark = b"--" + boundary.encode()
    # A body must not hold the delimiter, also not together with the line end in front of it.
    bodies = [body for body in bodies if b"\r\n" + mark not in b"\r\n" + body + b"\r\n"]
    if mark in preamble:
        preamble = b""
    data = preamble
    for index, body in enumerate(bodies):
        data += b"" if index == 0 else b"\r\n"
        data += mark + padding + b"\r\nX-Number: %d\r\n\r\n" % index + body
    data += (b"\r\n" if bodies else b"") + mark + b"--" + epilogue
    found = asyncio.run(read_all(data, boundary.encode(), sizes))
    assert found == [({"x-number": str(index)}, body) for index, body in enumerate(bodies)]


@given(bodies=st.lists(st.binary(max_size=200), min_size=1, max_size=4), sizes=SIZES)
@settings(max_examples=100, deadline=None)
def test_what_the_writer_writes_the_reader_reads(bodies, sizes):
    boundary = new_boundary()
    data = b""
    for index, body in enumerate(bodies):
        data += part_header(
            boundary, "application/dicom", f"/{index}", len(body), is_first=index == 0
        )
        data += body
    data += closing(boundary)
    content_type = parse_content_type(multipart_content_type(boundary, "application/dicom"))
    found = asyncio.run(read_all(data, boundary_of(content_type), sizes))
    assert [body for _, body in found] == bodies
    assert [headers["content-location"] for headers, _ in found] == [
        f"/{index}" for index in range(len(bodies))
    ]


@given(boundary=BOUNDARIES, pieces=PIECES, sizes=SIZES, opened=st.booleans())
@settings(max_examples=400, deadline=None)
def test_garbage_is_an_invalid_request_or_parts(boundary, pieces, sizes, opened):
    data = (b"--" + boundary.encode() + b"\r\n" if opened else b"") + b"".join(pieces)
    try:
        found = asyncio.run(read_all(data, boundary.encode(), sizes))
    except InvalidRequest:
        return
    # Success takes a closing delimiter.
    assert b"--" + boundary.encode() + b"--" in data
    assert isinstance(found, list)


@given(body=st.binary(max_size=60), cut=st.integers(0, 200), sizes=SIZES)
@settings(max_examples=200, deadline=None)
def test_every_truncation_is_an_invalid_request(body, cut, sizes):
    whole = b"--lamella-x\r\nContent-Type: application/dicom\r\n\r\n" + body + b"\r\n--lamella-x--"
    data = whole[: min(cut, len(whole) - 1)]
    try:
        asyncio.run(read_all(data, b"lamella-x", sizes))
    except InvalidRequest:
        return
    raise AssertionError("a truncated body was taken for a whole one")

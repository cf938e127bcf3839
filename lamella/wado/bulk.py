"""Bulk data: the bytes behind a BulkDataURI.

Source:
    PS3.18 §10.4.1.1.5, §8.7.3.3; PS3.5 §8.1.1 (little endian), §A.4 (encapsulation).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from lamella.archive.bulk_values import ValueLocation, find_value
from lamella.archive.threads import run_in_thread
from lamella.archive.values import swap_words
from lamella.dicomweb.answers import Answer
from lamella.dicomweb.media_types import OCTET_STREAM
from lamella.dicomweb.multipart_writer import (
    closing,
    multipart_content_type,
    new_boundary,
    part_header,
)
from lamella.dicomweb.negotiation import negotiate_bulk
from lamella.dicomweb.pinned import Pinned
from lamella.dicomweb.ranges import ByteRange, parse_range
from lamella.errors import InvalidInstance, ResourceNotFound
from lamella.vcs.selection import Selected
from lamella.wado.frames import open_frames, send_frames

CHUNK_BYTES = 1 << 20


async def answer_bulk_data(pinned: Pinned, instance: Selected, path: str) -> Answer:
    """Return one value of an instance, or the range of it that is asked for.

    Compressed pixel data go out as frames, in whatever form the client accepts.

    Raises:
        ResourceNotFound: The instance has no bulk value there.
        NotAcceptable: The client takes no octets.
        RangeNotSatisfiable: The range lies outside the value.
    """
    stored = await pinned.services.repository.blobs.open(instance.entry.segments)
    try:
        value = await run_in_thread(find_value, stored, path)
    except InvalidInstance as error:
        raise ResourceNotFound(f"There is no bulk data {path} here.") from error
    if value.fragments is not None and path == "7FE00010":
        del value  # with its fragments, which may be a million, as the table's
        reader = await open_frames(pinned, instance)
        return await send_frames(pinned, reader, range(1, reader.table.n_frames + 1))
    form = negotiate_bulk(pinned.accept)
    headers = pinned.headers(f"{form.media_type} {form.is_multipart}")
    if pinned.is_fresh(headers):
        return Answer(304, headers)
    size = value.length_bytes
    if form.is_multipart:
        boundary = new_boundary()
        headers.append(("content-type", multipart_content_type(boundary, OCTET_STREAM)))
        url = pinned.url(*instance.path, "bulkdata", *path.split("/"))
        opening = part_header(boundary, OCTET_STREAM, url, size, is_first=True)
        return Answer(200, headers, _surround(opening, read_value(value), closing(boundary)))
    asked = pinned.request.headers
    part = parse_range(
        asked.get("range"), size, if_range=asked.get("if-range"), etag=dict(headers)["etag"]
    )
    headers += [("content-type", OCTET_STREAM), ("accept-ranges", "bytes")]
    if part is None:
        return Answer(200, headers, read_value(value), size)
    headers.append(("content-range", part.describe(size)))
    return Answer(206, headers, read_value(value, part), part.stop - part.start)


async def _surround(
    opening: bytes, pieces: AsyncIterator[bytes], ending: bytes
) -> AsyncIterator[bytes]:
    yield opening
    async for piece in pieces:
        yield piece
    yield ending


async def read_value(value: ValueLocation, part: ByteRange | None = None) -> AsyncIterator[bytes]:
    """Yield a value in little endian order; words are never cut while they are swapped."""
    part = part or ByteRange(0, value.length_bytes)
    first = part.start - part.start % value.word_bytes
    for start in range(first, part.stop, CHUNK_BYTES):
        length = min(CHUNK_BYTES, value.length_bytes - start)
        data = await run_in_thread(value.source.read_at, value.offset_bytes + start, length)
        data = swap_words(data, value.word_bytes)
        yield data[max(0, part.start - start) : part.stop - start]

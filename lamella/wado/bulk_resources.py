"""All bulk data, or all pixel data, of a study, a series or an instance in one answer.

Native values are a part each; compressed pixel data are a part for each frame, as the frames
resource sends them.

Source:
    PS3.18 §10.4.1.1.5, §10.4.1.1.6 and Table 10.3-2, with CP-2040 (the resource pixeldata).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from litestar import Request, route
from litestar.types import ASGIApp

from lamella.archive.bulk_values import ValueLocation, find_value
from lamella.archive.threads import run_in_thread
from lamella.archive.upsert import split_batches
from lamella.dicomweb.answers import Answer
from lamella.dicomweb.frame_negotiation import FramesAnswer, negotiate_frames
from lamella.dicomweb.media_types import MULTIPART_RELATED, OCTET_STREAM
from lamella.dicomweb.multipart_writer import (
    closing,
    multipart_content_type,
    new_boundary,
    part_header,
)
from lamella.dicomweb.negotiation import negotiate_bulk
from lamella.dicomweb.pinned import Pinned
from lamella.dicomweb.transactions import Transaction, declare, related
from lamella.errors import BrokenInstance, NotAcceptable, ResourceNotFound
from lamella.imaging.decoders import can_decode
from lamella.vcs.selection import Selected
from lamella.wado.bulk import read_value
from lamella.wado.frames import FrameReader, open_frames
from lamella.wado.stored_documents import BATCH, read_documents
from lamella.wado.targets import INSTANCE, READ, SERIES, STUDY, list_paths, select_target

PIXELS: Final = frozenset({"7FE00008", "7FE00009", "7FE00010"})
_URI: Final = re.compile(rb'"BulkDataURI":"bulkdata/([0-9A-F/]+)"')


@dataclass(frozen=True, slots=True)
class Wanted:
    """A value that goes out.

    Attributes:
        path: Of its BulkDataURI.
    """

    instance: Selected
    path: str


@route(
    list_paths(f"{STUDY}/bulkdata", f"{SERIES}/bulkdata", f"{INSTANCE}/bulkdata"),
    http_method=READ,
    name="retrieve-all-bulk-data",
    opt=declare(Transaction("10.4.1.1.5", (related(OCTET_STREAM),))),
)
async def retrieve_all_bulk_data(request: Request[Any, Any, Any]) -> ASGIApp:
    """Retrieve every value that metadata show as a BulkDataURI."""
    pinned, selected = await select_target(request)
    return await answer_values(pinned, selected, pixels_only=False)


@route(
    list_paths(f"{STUDY}/pixeldata", f"{SERIES}/pixeldata", f"{INSTANCE}/pixeldata"),
    http_method=READ,
    name="retrieve-pixel-data",
    opt=declare(Transaction("10.4.1.1.6", (related(OCTET_STREAM),))),
)
async def retrieve_pixel_data(request: Request[Any, Any, Any]) -> ASGIApp:
    """Retrieve the pixel data of all instances."""
    pinned, selected = await select_target(request)
    return await answer_values(pinned, selected, pixels_only=True)


ROUTES = (retrieve_all_bulk_data, retrieve_pixel_data)


async def answer_values(
    pinned: Pinned, selected: Sequence[Selected], *, pixels_only: bool
) -> Answer:
    """Return values of instances as parts of one answer.

    Raises:
        ResourceNotFound: There are none.
        NotAcceptable: The client does not take octets as multipart/related.
    """
    negotiate_bulk(pinned.accept)
    if not any(one.weight and one.fits(MULTIPART_RELATED) for one in pinned.accept):
        raise NotAcceptable(f"Several values come as {MULTIPART_RELATED} alone.")
    headers = pinned.headers(f"all {OCTET_STREAM}")
    if pinned.is_fresh(headers):
        return Answer(304, headers)
    wanted = await _list_values(pinned, selected, pixels_only)
    if not wanted:
        raise ResourceNotFound("There is no such data here.")
    boundary = new_boundary()
    headers.append(("content-type", multipart_content_type(boundary, OCTET_STREAM)))
    return Answer(200, headers, _write(pinned, wanted, boundary))


async def _list_values(
    pinned: Pinned, selected: Sequence[Selected], pixels_only: bool
) -> list[Wanted]:
    found = []
    for batch in split_batches(selected, BATCH):
        documents = await read_documents(pinned, batch)
        for instance in batch:
            for match in _URI.finditer(documents[instance.key].dicom_json):
                path = match[1].decode()
                if path in PIXELS or not pixels_only:
                    found.append(Wanted(instance, path))
    return found


async def _write(pinned: Pinned, wanted: Sequence[Wanted], boundary: str) -> AsyncIterator[bytes]:
    """Yield the parts; frames that cannot be told apart are left out, unless that is all there is.

    Raises:
        NotAcceptable: It is.
    """
    is_first, refusal = True, None
    for value in wanted:
        stored = await pinned.services.repository.blobs.open(value.instance.entry.segments)
        location = await run_in_thread(find_value, stored, value.path)
        if location.fragments is not None and value.path in PIXELS:
            try:
                reader = await open_frames(pinned, value.instance)
            except NotAcceptable as error:
                refusal = error
                continue
            pieces = _write_frames(pinned, reader, boundary, is_first)
        else:
            pieces = _write_value(pinned, value, location, boundary, is_first)
        async for piece in pieces:
            yield piece
        is_first = False
    if is_first and refusal is not None:
        raise refusal
    yield closing(boundary)


async def _write_value(
    pinned: Pinned, value: Wanted, location: ValueLocation, boundary: str, is_first: bool
) -> AsyncIterator[bytes]:
    url = pinned.url(*value.instance.path, "bulkdata", *value.path.split("/"))
    yield part_header(boundary, OCTET_STREAM, url, location.length_bytes, is_first=is_first)
    async for chunk in read_value(location):
        yield chunk


async def _write_frames(
    pinned: Pinned, reader: FrameReader, boundary: str, is_first: bool
) -> AsyncIterator[bytes]:
    form = _choose_form(pinned, reader.transfer_syntax_uid)
    base = pinned.url(*reader.instance.path, "frames")
    for index in range(reader.table.n_frames):
        try:
            data = await reader.read_as(index, form)
        except BrokenInstance:
            form = _as_stored(reader.transfer_syntax_uid)
            data = await reader.read_as(index, form)
        url, is_start = f"{base}/{index + 1}", is_first and index == 0
        yield part_header(boundary, form.part_content_type, url, len(data), is_first=is_start)
        yield data


def _choose_form(pinned: Pinned, stored: str) -> FramesAnswer:
    """Return the form of compressed frames; as they are stored where nothing else will do."""
    is_decodable = can_decode(stored)
    try:
        return negotiate_frames(pinned.accept, stored, single_item=False, is_decodable=is_decodable)
    except NotAcceptable:
        return _as_stored(stored)


def _as_stored(transfer_syntax_uid: str) -> FramesAnswer:
    return FramesAnswer(True, OCTET_STREAM, transfer_syntax_uid, True)

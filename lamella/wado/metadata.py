"""Metadata of a study, series or instance: the stored DICOM JSON, with bulk data located.

Source:
    PS3.18 §10.4.1.1.2 and Annex F.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from isal import isal_zlib

from lamella.archive.upsert import split_batches
from lamella.dicomweb.answers import Answer
from lamella.dicomweb.bulk_uris import fill_holes
from lamella.dicomweb.media_types import DICOM_JSON, DICOM_XML, JSON, negotiate_json
from lamella.dicomweb.pinned import Pinned, takes_gzip
from lamella.errors import NotAcceptable
from lamella.vcs.selection import Selected
from lamella.vcs.stored import Document, load_documents

WHOLE_UP_TO = 2000  # instances; a longer answer is streamed
BATCH = 200
_GZIP_FORMAT = 31  # window bits: gzip rather than zlib


async def answer_metadata(pinned: Pinned, selected: Sequence[Selected]) -> Answer:
    """Return the metadata of instances as one JSON array."""
    form = negotiate_json(pinned.accept, (DICOM_JSON, JSON, DICOM_XML))
    if form.is_xml:
        return await _answer_xml(pinned, selected)
    if len(selected) <= WHOLE_UP_TO:
        pieces = [piece async for piece in _write_array(pinned, selected)]
        return pinned.answer(form.media_type, b"".join(pieces))
    coding = "gzip" if takes_gzip(pinned.request) else ""
    headers = pinned.headers(form.media_type, coding)
    if pinned.is_fresh(headers):
        return Answer(304, headers)
    headers.append(("content-type", form.media_type))
    body = _write_array(pinned, selected)
    if coding:
        headers.append(("content-encoding", coding))
        body = _compress(body)
    return Answer(200, headers, body)


async def read_documents(pinned: Pinned, selected: Sequence[Selected]) -> dict[bytes, Document]:
    """Return the derived data of instances by key."""
    database = pinned.services.repository.archive.database
    keys = [one.key for one in selected]
    return await database.read(lambda c: load_documents(c, pinned.view.dataset.id, keys))


async def _answer_xml(pinned: Pinned, selected: Sequence[Selected]) -> Answer:
    if len(selected) > WHOLE_UP_TO:
        raise NotAcceptable(f"XML is given for {WHOLE_UP_TO} instances at most: ask for JSON.")
    documents = await read_documents(pinned, selected)
    data_sets = (
        msgspec.json.decode(fill_holes(documents[one.key].dicom_json, pinned.url(*one.path)))
        for one in selected
    )
    return pinned.answer_xml(data_sets)


async def _write_array(pinned: Pinned, selected: Sequence[Selected]) -> AsyncIterator[bytes]:
    opening = b"["
    for batch in split_batches(selected, BATCH):
        documents = await read_documents(pinned, batch)
        filled = [fill_holes(documents[one.key].dicom_json, pinned.url(*one.path)) for one in batch]
        yield opening + b",".join(filled)
        opening = b","
    yield b"]"


async def _compress(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packer: Any = isal_zlib.compressobj(1, wbits=_GZIP_FORMAT)
    async for piece in pieces:
        packed = packer.compress(piece)
        if packed:
            yield packed
    yield packer.flush()

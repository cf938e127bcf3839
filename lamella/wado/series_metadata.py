"""Metadata of whole series: assembled once for each series node and URL, then sent as kept.

Source:
    PS3.18 §10.4.1.1.2 and Annex F.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from lamella.archive.threads import run_in_thread
from lamella.archive.upsert import split_batches
from lamella.dicomweb.answers import GZIP_FROM_BYTES, Answer, compress_all, compress_pieces
from lamella.dicomweb.bulk_uris import fill_holes
from lamella.dicomweb.known_answers import remember
from lamella.dicomweb.locations import escape
from lamella.dicomweb.pinned import Pinned, takes_gzip
from lamella.dicomweb.services import Body, BodyKey
from lamella.vcs.cache import LeastRecent
from lamella.vcs.repository import Repository
from lamella.vcs.selection import SelectedSeries, select
from lamella.vcs.series_documents import Documents, PackedDocuments, load_series
from lamella.vcs.view import View
from lamella.wado.stored_documents import BATCH, read_documents

# An answer beyond either is sent while it is made, and not kept.
WHOLE_UP_TO = 2000  # instances
LONGEST_BODY_BYTES = 8 << 20
REMEMBERED_SERIES = 16  # in one answer; the names of more take too much memory


async def answer_series(
    pinned: Pinned, selected: Sequence[SelectedSeries], media_type: str
) -> Answer:
    """Return the metadata of all instances of series as one JSON array."""
    coding = "gzip" if takes_gzip(pinned.request) else ""
    key = _name_body(pinned, selected, coding)
    body = pinned.services.bodies.get(key)
    if body is None:
        async with pinned.services.assembly:
            body = pinned.services.bodies.get(key) or await _assemble(pinned, selected, key)
    if body is None:
        return _stream(pinned, selected, media_type, coding)
    headers = pinned.headers(media_type, body.coding)
    if pinned.is_fresh(headers):
        return Answer(304, headers)
    if body.coding:
        headers.append(("content-encoding", body.coding))
    answer = Answer(200, [*headers, ("content-type", media_type)], body.data)
    if len(selected) <= REMEMBERED_SERIES:
        remember(pinned, answer, KeptBody(pinned.services.bodies, key))
    return answer


@dataclass(frozen=True, slots=True)
class KeptBody:
    """The body of an answer, for as long as it is kept."""

    bodies: LeastRecent[BodyKey, Body]
    key: BodyKey

    async def read(self) -> tuple[bytes, ...] | None:
        """Return the body in one piece, or None if it is no longer kept."""
        body = self.bodies.get(self.key)
        return None if body is None else (body.data,)


def _name_body(pinned: Pinned, selected: Sequence[SelectedSeries], coding: str) -> BodyKey:
    parts = tuple((pinned.url(*one.path), one.subtree.root) for one in selected)
    return pinned.view.dataset.id, parts, coding


async def _assemble(
    pinned: Pinned, selected: Sequence[SelectedSeries], key: BodyKey
) -> Body | None:
    """Make and keep a body; None if it is too long for that."""
    if sum(one.subtree.summary.n_instances for one in selected) > WHOLE_UP_TO:
        return None
    opened: list[tuple[str, Documents]] = []
    length = 0
    for one in selected:
        documents = await _open_documents(pinned, one)
        if documents is None:
            return None
        opened.append((pinned.url(*one.path), documents))
        length += documents.length_bytes
        if length > LONGEST_BODY_BYTES:
            return None
    coding = key[2] if length >= GZIP_FROM_BYTES else ""
    body = Body(coding, await run_in_thread(_write_body, opened, coding))
    pinned.services.bodies.put(key, body, len(body.data))
    return body


def _write_body(opened: Sequence[tuple[str, Documents]], coding: str) -> bytes:
    pieces = _list_pieces(opened)
    return b"".join(compress_all(pieces) if coding else pieces)


def _list_pieces(opened: Sequence[tuple[str, Documents]]) -> Iterator[bytes]:
    opening = b"["
    for series_url, documents in opened:
        for document in _fill(documents, series_url):
            yield opening
            yield document
            opening = b","
    yield b"]"


def _fill(documents: Documents, series_url: str) -> Iterator[bytes]:
    for sop_uid, document in documents:
        yield fill_holes(document, f"{series_url}/instances/{escape(sop_uid)}")


def _stream(
    pinned: Pinned, selected: Sequence[SelectedSeries], media_type: str, coding: str
) -> Answer:
    headers = pinned.headers(media_type, coding)
    if pinned.is_fresh(headers):
        return Answer(304, headers)
    headers.append(("content-type", media_type))
    body = _write_array(pinned, selected)
    if coding:
        headers.append(("content-encoding", coding))
        body = compress_pieces(body)
    return Answer(200, headers, body)


async def _write_array(pinned: Pinned, selected: Sequence[SelectedSeries]) -> AsyncIterator[bytes]:
    opening = b"["
    for one in selected:
        async for piece in _write_series(pinned, one):
            yield opening
            yield piece
            opening = b","
    yield b"]"


async def _write_series(pinned: Pinned, series: SelectedSeries) -> AsyncIterator[bytes]:
    """Yield the documents of a series, filled: all at once unless they are too long for that."""
    documents = await _open_documents(pinned, series)
    if documents is not None:
        yield await run_in_thread(b",".join, _fill(documents, pinned.url(*series.path)))
        return
    repository, view = pinned.services.repository, pinned.view
    instances = await repository.archive.database.read(
        lambda c: select(c, repository, view, series.study_uid, series.series_uid)
    )
    for batch in split_batches(instances, BATCH):
        found = await read_documents(pinned, batch)
        yield b",".join(
            [fill_holes(found[one.key].dicom_json, pinned.url(*one.path)) for one in batch]
        )


async def _open_documents(pinned: Pinned, series: SelectedSeries) -> Documents | None:
    repository, view = pinned.services.repository, pinned.view
    kept = await run_in_thread(repository.shelf.find, view.dataset.id, series.subtree)
    if kept is not None:
        return kept
    documents = await read_series(repository, view, series)
    if documents is not None:
        keep = run_in_thread(repository.shelf.keep, view.dataset.id, series.subtree, documents)
        pinned.services.chores.start(keep)  # nobody has to wait for it
    return documents


async def read_series(
    repository: Repository, view: View, series: SelectedSeries
) -> PackedDocuments | None:
    """Read the documents of a series of a view, in a transaction; None as `load_series`.

    Raises:
        IntegrityError: An instance has no derived data.
    """

    def load(connection: sa.Connection) -> PackedDocuments | None:
        tree = view.tree(connection, repository)
        entries = dict(tree.instances(series.study_uid, series.series_uid))
        return load_series(connection, view.dataset.id, entries)

    return await repository.archive.database.read(load)

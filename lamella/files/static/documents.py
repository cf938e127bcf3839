"""Lists and metadata of a static export: DICOM JSON whose links lead on within it.

A BulkDataURI is relative to the document that it stands in (RFC 3986 §5), so the tree can be moved;
viewers that know static trees resolve these forms too. Where frames are written, the URI of pixel
data is that of the frames, and their bytes are not there twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from tempfile import SpooledTemporaryFile
from typing import IO, Any, cast

import msgspec
import sqlalchemy as sa

from lamella.archive.levels import Level
from lamella.archive.query import Query
from lamella.archive.results import shape_result
from lamella.archive.upsert import split_batches
from lamella.files.static.destination import Destination
from lamella.files.static.doors import IN_MEMORY_BYTES
from lamella.files.static.layout import DICOM_JSON_TYPE, INDEX, METADATA
from lamella.vcs.finder import count_related, find_rows
from lamella.vcs.repository import Repository
from lamella.vcs.selection import Selected
from lamella.vcs.stored import Document, load_documents
from lamella.vcs.view import View

BATCH = 100
ROWS_AT_A_TIME = 1000
PIXEL_DATA = ("7FE00008", "7FE00009", "7FE00010")
_LINK = b'"BulkDataURI":"'
_FRAMES = b'"BulkDataURI":"frames"'


def link_frames(document: Document) -> bytes:
    """Return a document whose pixel data are said to be in its frames, if it has frames."""
    text = document.dicom_json
    if document.frames is not None:
        for tag in PIXEL_DATA:
            # no nested element has this path: it would name the sequence before
            text = text.replace(_LINK + f'bulkdata/{tag}"'.encode(), _FRAMES)
    return text


def move_links(document: bytes, prefix: str) -> bytes:
    """Return a document whose links are relative to a folder further up."""
    return document.replace(_LINK, _LINK + prefix.encode())


def list_bulk_paths(document: bytes) -> list[str]:
    """Return the links of a document that lead to bulk data, below `bulkdata/`."""
    found: list[str] = []
    _gather(msgspec.json.decode(document), found)
    return found


def _gather(attributes: Mapping[str, Any], found: list[str]) -> None:
    for element in attributes.values():
        uri = element.get("BulkDataURI")
        if isinstance(uri, str) and uri.startswith("bulkdata/"):
            found.append(uri.removeprefix("bulkdata/"))
        if element.get("vr") == "SQ":
            for item in element.get("Value", ()):
                _gather(item, found)


class Librarian:
    """Writes the lists of one view.

    Args:
        repository: The installation.
        view: What is exported.
        destination: Where lists go.
    """

    def __init__(self, repository: Repository, view: View, destination: Destination) -> None:
        self._repository = repository
        self._read = repository.archive.database.read
        self._view = view
        self._destination = destination

    async def write_studies(self) -> None:
        """Write the list of all studies."""
        await self._write(f"studies/{INDEX}", self._search(Level.STUDY, None))

    async def write_series(self, path: str, study_uid: str) -> None:
        """Write the list of the series of a study, whose folder is `path`."""
        await self._write(f"{path}/series/{INDEX}", self._search(Level.SERIES, study_uid))

    async def write_instances(self, path: str, selected: Sequence[Selected]) -> None:
        """Write list and metadata of the instances of a study or series, whose folder is `path`."""
        is_study = "/series/" not in path

        def link(one: Selected, document: Document) -> bytes:
            above = f"series/{one.series_uid}/" if is_study else ""
            return move_links(link_frames(document), f"{above}instances/{one.sop_uid}/")

        await self._write(f"{path}/{METADATA}", self._map(selected, lambda _: link))
        levels = {Level.SERIES, Level.INSTANCE} if is_study else {Level.INSTANCE}
        query = Query(Level.INSTANCE, default_levels=frozenset(levels))
        listed = self._map(selected, lambda c: self._shape_as_search(c, query))
        await self._write(f"{path}/instances/{INDEX}", listed)

    async def _search(self, level: Level, study_uid: str | None) -> AsyncIterator[list[bytes]]:
        """Yield what a search for all attributes finds, page by page."""
        query = Query(
            level,
            study_uid,
            include_all=True,
            default_levels=frozenset({Level.STUDY, level}),
            limit=ROWS_AT_A_TIME,
        )

        def read(connection: sa.Connection) -> tuple[list[bytes], bool]:
            tree = self._view.tree(connection, self._repository)
            found = find_rows(connection, self._repository, self._view, query)
            results = []
            for row in found.rows:
                names = (row.study_uid, row.series_uid or "")
                counts = count_related(tree, *names)
                results.append(msgspec.json.encode(shape_result(row.attributes, query, counts)))
            return results, found.has_more

        has_more = True
        while has_more:
            page, has_more = await self._read(read)
            query = replace(query, offset=query.offset + ROWS_AT_A_TIME)
            yield page

    async def _map(
        self,
        selected: Sequence[Selected],
        begin: Callable[[sa.Connection], Callable[[Selected, Document], bytes]],
    ) -> AsyncIterator[list[bytes]]:
        """Yield what is made of instances and their documents, batch by batch."""
        for batch in split_batches(selected, BATCH):

            def read(connection: sa.Connection, batch: Sequence[Selected] = batch) -> list[bytes]:
                keys = [one.key for one in batch]
                documents = load_documents(connection, self._view.dataset.id, keys)
                make = begin(connection)
                return [make(one, documents[one.key]) for one in batch]

            yield await self._read(read)

    def _shape_as_search(
        self, connection: sa.Connection, query: Query
    ) -> Callable[[Selected, Document], bytes]:
        tree = self._view.tree(connection, self._repository)

        def shape(one: Selected, document: Document) -> bytes:
            counts = count_related(tree, one.study_uid, one.series_uid)
            attributes = msgspec.json.decode(document.dicom_json)
            return msgspec.json.encode(shape_result(attributes, query, counts))

        return shape

    async def _write(self, name: str, pages: AsyncIterator[list[bytes]]) -> None:
        with SpooledTemporaryFile(IN_MEMORY_BYTES) as body:
            opening = b"["
            async for page in pages:
                if page:
                    body.write(opening + b",".join(page))
                    opening = b","
            body.write(b"]" if opening == b"," else b"[]")
            await self._destination.write(name, cast(IO[bytes], body), DICOM_JSON_TYPE)

"""Pictures of frames, each made once and kept for a while."""

from __future__ import annotations

import dataclasses
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lamella.archive.bulk_values import find_value
from lamella.archive.threads import run_in_thread
from lamella.archive.values import swap_words
from lamella.dicomweb.frame_types import NATIVE_TRANSFER_SYNTAXES
from lamella.dicomweb.pinned import Pinned
from lamella.dicomweb.renditions import name_rendition
from lamella.imaging.decoders import PixelDescription
from lamella.imaging.pool import Job
from lamella.imaging.rendering.attributes import (
    find_bulk_elements,
    read_frame_rate,
    select_attributes,
)
from lamella.imaging.rendering.options import RenderOptions
from lamella.vcs.selection import Selected
from lamella.wado.frames import FrameReader, open_frames
from lamella.wado.stored_documents import read_documents

_MOST_TABLE_BYTES = 16 << 20  # an ICC profile of a slide scanner has some 2 MB
_BULK = "bulkdata/"
MOVIE_TIMEOUT_S, MOVIE_FRAME_TIMEOUT_S = 60.0, 1.0


@dataclass
class Subject:
    """An instance that pictures are made of, opened when the first one has to be made."""

    pinned: Pinned
    instance: Selected
    _reader: FrameReader | None = field(default=None, repr=False)
    _document: dict[str, Any] = field(default_factory=dict, repr=False)

    async def make_picture(self, frame_index: int, options: RenderOptions) -> bytes:
        """Return a frame as a picture.

        Raises:
            InvalidRequest: The viewport lies outside the image.
            NotAcceptable: The frame cannot be rendered.
            BrokenInstance: It is broken.
        """

        async def make() -> bytes:
            return await self._make(frame_index, options)

        name = self.name_picture(frame_index, options)
        # A native frame is rendered in 2 ms; reading a file takes not much less.
        is_native = self.instance.entry.transfer_syntax_uid in NATIVE_TRANSFER_SYNTAXES
        return await self.pinned.services.renditions.get(name, make, is_shelved=not is_native)

    def name_picture(self, frame_index: int, options: RenderOptions) -> str:
        """Return the name under which a picture is kept."""
        return name_rendition(self.instance.key, "picture", frame_index, options.to_json())

    async def _make(self, frame_index: int, options: RenderOptions) -> bytes:
        reader = await self.open()
        attributes = await self.read_attributes(frame_index, options)
        data = await reader.read(frame_index, as_stored=True)
        fields = {"task": "render", "attributes": attributes, "options": options.to_json()}
        fields["pixel"] = dataclasses.asdict(self.describe())
        result = await self.pinned.services.decoders.work(Job(fields, data))
        return result.data

    async def make_movie(self, indices: Sequence[int], options: RenderOptions) -> bytes:
        """Return frames as a movie.

        Raises:
            InvalidRequest: The viewport lies outside the image.
            NotAcceptable: The frames cannot be rendered so.
            BrokenInstance: One of them is broken.
        """
        name = name_rendition(self.instance.key, "movie", list(indices), options.to_json())

        async def make() -> bytes:
            return await self._animate(indices, options)

        return await self.pinned.services.renditions.get(name, make)

    async def _animate(self, indices: Sequence[int], options: RenderOptions) -> bytes:
        reader = await self.open()
        looks: list[dict[str, Any]] = []
        own: list[int] = []
        for index in indices:
            look = await self.read_attributes(index, options)
            if not looks or look != looks[-1]:
                looks.append(look)
            own.append(len(looks) - 1)

        async def frames() -> AsyncIterator[bytes]:
            for index in indices:
                yield await reader.read(index, as_stored=True)

        fields: dict[str, Any] = {"task": "animate", "attributes": looks, "looks": own}
        fields |= {"options": options.to_json(), "pixel": dataclasses.asdict(self.describe())}
        fields["frames_per_second"] = read_frame_rate(self._document)
        timeout_s = MOVIE_TIMEOUT_S + MOVIE_FRAME_TIMEOUT_S * len(indices)
        job = Job(fields, frames(), len(indices), timeout_s)
        return (await self.pinned.services.decoders.work(job)).data

    async def open(self) -> FrameReader:
        """Find the frames.

        Raises:
            ResourceNotFound: The instance has none.
            NotAcceptable: They cannot be told apart.
        """
        if self._reader is None:
            self._reader = await open_frames(self.pinned, self.instance)
            self._document = await self._reader.read_attributes()
        return self._reader

    async def read_document(self) -> dict[str, Any]:
        """Return the DICOM JSON of an instance that is no image."""
        if not self._document:
            documents = await read_documents(self.pinned, [self.instance])
            self._document = msgspec.json.decode(documents[self.instance.key].dicom_json)
        return self._document

    def describe(self) -> PixelDescription:
        """Return what the opened instance's pixels are.

        Raises:
            BrokenInstance: Its attributes contradict each other.
        """
        uid = self.instance.entry.transfer_syntax_uid
        return PixelDescription.from_dicom_json(self._document, uid)

    async def read_attributes(self, frame_index: int, options: RenderOptions) -> dict[str, Any]:
        """Return what the opened instance says of how a frame looks, tables included."""
        selected = select_attributes(self._document, frame_index, options.annotation)
        missing = [
            element
            for element in find_bulk_elements(selected)
            if element["BulkDataURI"].startswith(_BULK)
        ]
        if missing:
            source = await self.pinned.services.repository.blobs.open(self.instance.entry.segments)
            for element in missing:
                path = element.pop("BulkDataURI").removeprefix(_BULK)
                value = await run_in_thread(find_value, source, path)
                length = min(value.length_bytes, _MOST_TABLE_BYTES)
                raw = await run_in_thread(value.source.read_at, value.offset_bytes, length)
                raw = swap_words(raw, value.word_bytes)
                element["InlineBinary"] = b64encode(raw).decode("ascii")
        return selected

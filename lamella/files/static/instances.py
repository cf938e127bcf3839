"""What a static export has of one instance: metadata, the file, frames, bulk data, pictures."""

from __future__ import annotations

import io
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from lamella.archive.frames import FrameTable
from lamella.archive.threads import run_in_thread
from lamella.dicomweb.multipart_writer import closing, part_header
from lamella.errors import IntegrityError
from lamella.files.exporter import copy_segments
from lamella.files.static.destination import Destination, iterate_chunks
from lamella.files.static.documents import link_frames, list_bulk_paths
from lamella.files.static.doors import IN_MEMORY_BYTES, Doors, Reply
from lamella.files.static.layout import (
    BOUNDARY,
    DICOM_JSON_TYPE,
    EXTENSIONS,
    FRAME_TYPE,
    INSTANCE,
    INSTANCE_TYPE,
    METADATA,
    THUMBNAIL,
    describe_instance,
)
from lamella.vcs.repository import Repository
from lamella.vcs.stored import Document
from lamella.vcs.tree import Entry

_FRAME = "application/octet-stream; transfer-syntax=*"
_PICTURE = "image/jpeg"


@dataclass(frozen=True, slots=True)
class InstanceWriter:
    """Writes instances.

    Attributes:
        repository: The installation.
        destination: Where they go.
        doors: Are asked for what is more than DICOM JSON.
        has_pictures: Whether thumbnails and rendered forms are written.
    """

    repository: Repository
    destination: Destination
    doors: Doors
    has_pictures: bool

    async def write(self, path: str, entry: Entry, document: Document) -> None:
        """Write an instance.

        Args:
            path: `studies/…/series/…/instances/…`.
            entry: What it is made of.
            document: Its derived data.

        Raises:
            IntegrityError: Something of it cannot be read.
            OutOfResources: The destination is full, or does not answer.
        """
        text = link_frames(document)
        await self.write_bytes(f"{path}/{METADATA}", b"[" + text + b"]", DICOM_JSON_TYPE)
        file = await self._read_file(entry)
        await self._write_part(f"{path}/{INSTANCE}", file, INSTANCE_TYPE)
        if document.frames is not None:
            await self._write_frames(path, FrameTable.from_bytes(document.frames).n_frames)
        for bulk_path in list_bulk_paths(text):
            name = f"{path}/bulkdata/{bulk_path}"
            found = _check(await self.doors.get(name, "application/octet-stream"), name)
            await self._write_reply(name, found)
        if self.has_pictures:
            await self.write_thumbnail(path)
            await self._write_rendered(path)

    async def write_thumbnail(self, path: str) -> None:
        """Write the thumbnail of a study, series or instance, if it has one."""
        found = await self.doors.get(f"{path}/{THUMBNAIL}", _PICTURE)
        with found.body:
            if found.status == 200:
                await self.destination.write(f"{path}/{THUMBNAIL}", found.body, _PICTURE)

    async def write_bytes(self, name: str, data: bytes, content_type: str) -> None:
        """Write a file that is in memory."""
        await self.destination.write(name, io.BytesIO(data), content_type)

    async def _read_file(self, entry: Entry) -> Reply:
        """Return the file as it was stored; the door would give some in another transfer syntax."""
        places = await self.repository.blobs.locate(entry.segments)
        digests = [digest for digest, _ in entry.segments]
        body: Any = SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - the caller's
        try:
            packs = self.repository.archive.packs
            await run_in_thread(copy_segments, packs, places, digests, body.write)
        except BaseException:
            body.close()
            raise
        return Reply(200, describe_instance(entry.transfer_syntax_uid), body)

    async def _write_frames(self, path: str, n_frames: int) -> None:
        for number in range(1, n_frames + 1):
            name = f"{path}/frames/{number}"
            await self._write_part(
                name, _check(await self.doors.get(name, _FRAME), name), FRAME_TYPE
            )

    async def _write_rendered(self, path: str) -> None:
        found = await self.doors.get(f"{path}/rendered", "*/*")
        with found.body:
            media_type = found.content_type.partition(";")[0]
            extension = EXTENSIONS.get(media_type, "bin")
            if found.status == 200:
                name = f"{path}/rendered/index.{extension}"
                await self.destination.write(name, found.body, found.content_type)

    async def _write_part(self, name: str, found: Reply, content_type: str) -> None:
        with found.body, SpooledTemporaryFile(IN_MEMORY_BYTES) as whole:
            await run_in_thread(_wrap, found, whole)
            await self.destination.write(name, whole, content_type)

    async def _write_reply(self, name: str, found: Reply) -> None:
        with found.body:
            await self.destination.write(name, found.body, found.content_type)


def _check(found: Reply, name: str) -> Reply:
    """Return an answer that has what was asked for.

    Raises:
        IntegrityError: It has not.
    """
    if found.status != 200:
        found.body.close()
        what = name.partition("/instances/")[2] or name
        raise IntegrityError(f"{what} cannot be read (status {found.status}).")
    return found


def _wrap(found: Reply, whole: Any) -> None:
    """Write an answer as the one part of a multipart body.

    Raises:
        IntegrityError: The boundary stands in it.
    """
    length = found.body.tell()
    whole.write(part_header(BOUNDARY, found.content_type, None, length, is_first=True))
    _copy(found.body, whole)
    whole.write(closing(BOUNDARY))


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    mark, before = f"--{BOUNDARY}".encode(), b""
    for chunk in iterate_chunks(source):
        if mark in before + chunk:
            raise IntegrityError("An instance holds the boundary of static exports.")
        before = chunk[-len(mark) :]
        target.write(chunk)

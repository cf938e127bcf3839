"""The body of a store request, in every form that it may have, into an intake.

    multipart/related     application/dicom parts go straight to the intake
                          metadata parts and bulk parts wait on the shelf until all are there
                          application/zip parts wait there, too
    application/dicom     one instance
    application/zip       the files of an archive
    application/dicom+json, application/dicom+xml     metadata whose binary values are inline

The form of each part is told by its own Content-Type, so they may be mixed. A body that ends
before its time is refused before anything that waits is looked at, and nothing is stored.

Source:
    PS3.18 §8.6.1.2, §8.7.3 and §10.5.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from lamella.archive.facts import InstanceFacts
from lamella.archive.instances import Received
from lamella.archive.intake import Intake, Taken
from lamella.archive.spool import Chunk
from lamella.archive.threads import run_in_thread
from lamella.dicomweb.media_types import DICOM, OCTET_STREAM, MediaType, parse_content_type
from lamella.dicomweb.multipart_reader import Part, boundary_of, read_parts
from lamella.errors import (
    InstanceRefused,
    InvalidRequest,
    LamellaError,
    StudyMismatch,
    TooLarge,
    UnsupportedMediaType,
)
from lamella.imaging.elements import Span
from lamella.stow.archives import ZIP, Archive, Member
from lamella.stow.bulk_parts import BulkPart, BulkParts
from lamella.stow.composition import compose, read_name
from lamella.stow.metadata import (
    LONGEST_METADATA_BYTES,
    METADATA_TYPES,
    DataSet,
    read_metadata,
)
from lamella.stow.results import ELEMENTS_DISCARDED, StoreResult
from lamella.stow.shelf import Shelf, iterate

_ROOT_TYPES = frozenset({DICOM, OCTET_STREAM, ZIP, *METADATA_TYPES})


@dataclass(slots=True)
class Delivery:
    """One request's instances on their way into an intake.

    Attributes:
        intake: What takes them.
        shelf: Where parts wait.
        bulk: Bulk parts on the shelf.
        composing: Held while metadata are in memory, by one request at a time.
        study_uid: The one study that they have to belong to; None for any.
        result: Notes what fails.
        received: What the intake took, each with its Warning Reason; 0 for none.
    """

    intake: Intake
    shelf: Shelf
    bulk: BulkParts
    composing: asyncio.Lock
    study_uid: str | None
    result: StoreResult
    received: list[tuple[Received, int]] = field(default_factory=list)
    _taken: list[_Waiting] = field(default_factory=list)
    _metadata: list[tuple[MediaType, Span]] = field(default_factory=list)
    _archives: list[Span] = field(default_factory=list)

    async def take(self, content_type: MediaType, body: AsyncIterator[bytes]) -> None:
        """Take a whole body.

        Raises:
            InvalidRequest: It is cut off, or holds nothing.
            UnsupportedMediaType: It is of a type that cannot be stored.
            TooLarge: A part is longer than it may be.
            OutOfResources: There is no room.
        """
        if content_type.essence == "multipart/related":
            root_type = _find_root_type(content_type)
            async for part in read_parts(body, boundary_of(content_type)):
                await self._take_part(part, root_type)
        elif content_type.essence == OCTET_STREAM or content_type.essence not in _ROOT_TYPES:
            raise UnsupportedMediaType(f"{content_type.essence} cannot be stored; send {DICOM}.")
        else:
            await self._take_whole(content_type, body)
        await self._take_waiting()
        await self.intake.read_taken()
        for waiting in self._taken:
            self._note(waiting)
        if not self.received and not self.result.failures:
            raise InvalidRequest("The request holds no instance.")

    async def _take_part(self, part: Part, root_type: str) -> None:
        header = part.headers.get("content-type")
        kind = parse_content_type(header or root_type)
        location = part.headers.get("content-location")
        is_bulk = root_type in METADATA_TYPES or location is not None
        if kind.essence in (DICOM, ZIP, *METADATA_TYPES):
            await self._take_whole(kind, part.chunks())
        elif kind.essence == OCTET_STREAM and not is_bulk:
            await self._take_instance(part.chunks())
        elif is_bulk:
            self.bulk.add(location, BulkPart(await self.shelf.put(part.chunks()), kind))
        else:
            raise UnsupportedMediaType(f"A part must be {DICOM}.")

    async def _take_whole(self, kind: MediaType, chunks: AsyncIterator[Chunk]) -> None:
        if kind.essence == DICOM:
            await self._take_instance(chunks)
            return
        span = await self.shelf.put(chunks)
        if kind.essence == ZIP:
            self._archives.append(span)
        elif len(span) > LONGEST_METADATA_BYTES:
            raise TooLarge(f"A metadata part is longer than {LONGEST_METADATA_BYTES >> 20} MiB.")
        else:
            self._metadata.append((kind, span))

    async def _take_waiting(self) -> None:
        """Take what waits on the shelf, now that all of the request is there."""
        for span in self._archives:
            await self._take_archive(span)
        if self._metadata:
            async with self.composing:
                for kind, span in self._metadata:
                    await self._take_metadata(kind, span)
        for _ in range(self.bulk.count_unused()):
            self.result.refuse_unknown("A bulk part belongs to no instance.")

    async def _take_archive(self, span: Span) -> None:
        archive = Archive(self.shelf.view(span))
        await archive.open()
        try:
            while (member := await archive.next_member()) is not None:
                await self._take_member(member)
        finally:
            archive.close()

    async def _take_member(self, member: Member) -> None:
        if member.trouble:
            self.result.refuse_unknown(member.trouble)
            return
        await self._take_instance(iterate(member.chunks()))

    async def _take_metadata(self, kind: MediaType, span: Span) -> None:
        document = await run_in_thread(self.shelf.source().read_at, span.offset_bytes, len(span))
        data_sets = read_metadata(document, kind.essence)
        while (found := await run_in_thread(next, data_sets, None)) is not None:
            if isinstance(found, LamellaError):
                self.result.refuse(found)
            else:
                await self._take_composed(found, kind)

    async def _take_composed(self, data_set: DataSet, kind: MediaType) -> None:
        names = (read_name(data_set, "00080016"), read_name(data_set, "00080018"))
        try:
            composed = await run_in_thread(compose, data_set, kind, self.bulk, self.shelf)
        except InstanceRefused as error:
            self.result.refuse(error, *names)
            return
        await self._take_instance(
            iterate(composed.chunks), ELEMENTS_DISCARDED if composed.lost_elements else 0, names
        )

    async def _take_instance(
        self,
        chunks: AsyncIterator[Chunk],
        warning: int = 0,
        names: tuple[str, str] = ("", ""),
    ) -> None:
        """Take one instance, or note why it is refused.

        Args:
            chunks: Its file.
            warning: What to warn of once it is stored.
            names: Its SOP Class and Instance UID as far as they are known.
        """
        check = _Check(self.study_uid, names)
        try:
            taken = await self.intake.take(chunks, check)
        except InstanceRefused as error:
            self.result.refuse(error, *names)
        else:
            self._taken.append(_Waiting(taken, check, warning))

    def _note(self, waiting: _Waiting) -> None:
        """Note what became of an instance, now that it has been read."""
        try:
            self.received.append((waiting.taken.result(), waiting.warning))
        except InstanceRefused as error:
            self.result.refuse(error, *waiting.check.names)


class _Check:
    """Looks whether an instance belongs where it is sent to.

    Attributes:
        names: Its SOP Class and Instance UID as far as they are known.
    """

    def __init__(self, study_uid: str | None, names: tuple[str, str]) -> None:
        self.names = names
        self._study_uid = study_uid

    def __call__(self, facts: InstanceFacts) -> None:
        """Look at an instance that has been read.

        Raises:
            StudyMismatch: It is of another study.
        """
        self.names = (facts.sop_class_uid, facts.sop_uid)
        if self._study_uid is not None and facts.study_uid != self._study_uid:
            raise StudyMismatch(f"Instance {facts.sop_uid} belongs to study {facts.study_uid}.")


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An instance that is read once all have come, and the warning that goes with it."""

    taken: Taken
    check: _Check
    warning: int


def _find_root_type(content_type: MediaType) -> str:
    """Return what a multipart body says that it is made of.

    Raises:
        UnsupportedMediaType: Its parts cannot be stored.
    """
    kind = (content_type.parameter("type") or DICOM).lower()
    essence = parse_content_type(kind).essence
    if essence not in _ROOT_TYPES:
        raise UnsupportedMediaType(f"Parts of type {essence} are not taken here; send {DICOM}.")
    return essence

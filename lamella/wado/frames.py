"""Frames of an instance: byte ranges of packs, decoded only where the client asks for it.

Source:
    PS3.18 §10.4.1.1.6 (frames, 1-based), §8.7.3.3 (media types); PS3.5 §A.4, §8.1.1.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from lamella.archive.blobs import Blobs
from lamella.archive.frames import DoubtfulFrames, FrameTable, Range, build_frame_table
from lamella.archive.header import read_header
from lamella.archive.source import ByteSource
from lamella.archive.threads import run_in_thread
from lamella.archive.values import swap_words
from lamella.dicomweb.answers import Answer
from lamella.dicomweb.frame_negotiation import FramesAnswer, asks_for_encoding, negotiate_frames
from lamella.dicomweb.known_answers import remember
from lamella.dicomweb.multipart_writer import (
    closing,
    multipart_content_type,
    new_boundary,
    part_header,
)
from lamella.dicomweb.pinned import Pinned
from lamella.dicomweb.renditions import name_rendition
from lamella.errors import BrokenInstance, InvalidRequest, NotAcceptable, ResourceNotFound
from lamella.imaging.answers import list_encodable
from lamella.imaging.decoders import PixelDescription, can_decode
from lamella.imaging.encoders import EncodedFrame
from lamella.vcs.selection import Selected
from lamella.wado.frame_tables import find_frame_table
from lamella.wado.stored_documents import read_document

MOST_FRAMES = 100_000
_FRAME_NUMBER = re.compile(r" *0*[1-9][0-9]{0,17} *")  # NumberOfFrames has 12 digits at most
LONG_FRAME_BYTES = 4 << 20  # beyond this a frame is sent in chunks, for the sake of memory


@dataclass(frozen=True, slots=True)
class FrameReader:
    """Reads the frames of one instance.

    Attributes:
        source: The inflated data set of a deflated file; None for all others, whose frames are
            ranges of the stored bytes.
    """

    pinned: Pinned
    instance: Selected
    table: FrameTable
    source: ByteSource | None

    @property
    def transfer_syntax_uid(self) -> str:
        return self.instance.entry.transfer_syntax_uid

    async def read(self, frame_index: int, *, as_stored: bool) -> bytes:
        """Return one frame: its codestream, or native little endian pixels.

        Args:
            frame_index: 0-based.
            as_stored: Leave a compressed frame as it is.

        Raises:
            BrokenInstance: The frame is broken.
        """
        data = await self._read_stored(frame_index)
        if self.table.encapsulated:
            return data if as_stored else await self._decode(data)
        data = swap_words(data, self.table.word_bytes)
        if self.table.bit_packed:
            return _align_bits(data, self.table.bit_offset(frame_index), self.table.frame_bits)
        return data[: self.table.frame_bits // 8]

    async def read_as(self, frame_index: int, form: FramesAnswer) -> bytes:
        """Return one frame in the form that was negotiated.

        What has to be computed is made once for all that ask at the same time, and kept.

        Raises:
            BrokenInstance: The frame is broken.
        """
        if form.is_encoded:
            return (await self.encode(frame_index, form.transfer_syntax_uid)).data
        if form.is_stored or not self.table.encapsulated:
            return await self.read(frame_index, as_stored=form.is_stored)
        name = name_rendition(self.instance.key, "decoded", frame_index)
        renditions = self.pinned.services.renditions
        return await renditions.get(name, lambda: self.read(frame_index, as_stored=False))

    async def encode(self, frame_index: int, transfer_syntax_uid: str) -> EncodedFrame:
        """Return a frame in a compressed transfer syntax, made once and kept for a while.

        Args:
            frame_index: 0-based.
            transfer_syntax_uid: One that `list_targets` lists.

        Raises:
            NotAcceptable: It has no such form.
            BrokenInstance: The frame is broken.
        """

        async def make() -> bytes:
            data = await self.read(frame_index, as_stored=True)
            decoders = self.pinned.services.decoders
            made = await decoders.encode_frame(data, await self.describe(), transfer_syntax_uid)
            return msgspec.msgpack.encode((made.photometric_interpretation, made.data))

        name = name_rendition(self.instance.key, "encoded", frame_index, transfer_syntax_uid)
        kept = await self.pinned.services.renditions.get(name, make)
        photometric, data = msgspec.msgpack.decode(kept, type=tuple[str, bytes])
        return EncodedFrame(data, photometric)

    async def describe(self) -> PixelDescription:
        """Return what the instance's pixels are.

        Raises:
            BrokenInstance: Its attributes contradict each other.
        """
        attributes = await self.read_attributes()
        return PixelDescription.from_dicom_json(attributes, self.transfer_syntax_uid)

    async def list_targets(self) -> tuple[str, ...]:
        """Return the compressed transfer syntaxes that the frames can be given in."""
        attributes = await self.read_attributes()
        return list_encodable(self.transfer_syntax_uid, attributes, self.table.n_frames)

    async def read_attributes(self) -> dict[str, Any]:
        """Return the instance's DICOM JSON, decoded."""
        document = await read_document(self.pinned, self.instance)
        attributes: dict[str, Any] = msgspec.json.decode(document.dicom_json)
        return attributes

    def list_ranges(self, frame_index: int, form: FramesAnswer) -> tuple[Range, ...]:
        """Return the ranges of a frame that goes out as it lies; () for others."""
        if form.is_encoded or self.source is not None:
            return ()
        ranges = self.table.ranges(frame_index)
        if self.table.encapsulated:
            return ranges if form.is_stored else ()
        is_plain = self.table.word_bytes == 1 and not self.table.bit_packed
        return ranges if is_plain and ranges[0][1] == self.table.frame_bits // 8 else ()

    def measure_long(self, frame_index: int, form: FramesAnswer) -> int | None:
        """Return the length in bytes of a long frame that goes out as it lies; None for others."""
        length = sum(length for _, length in self.list_ranges(frame_index, form))
        return length if length > LONG_FRAME_BYTES else None

    async def stream(self, frame_index: int) -> AsyncIterator[bytes]:
        """Yield the stored bytes of a frame in chunks of at most 1 MiB.

        Raises:
            IntegrityError: The stored bytes are missing.
        """
        blobs, segments = self.pinned.services.repository.blobs, self.instance.entry.segments
        for offset, length in self.table.ranges(frame_index):
            async for chunk in blobs.stream(segments, offset, length):
                yield chunk

    async def _read_stored(self, frame_index: int) -> bytes:
        blobs, segments = self.pinned.services.repository.blobs, self.instance.entry.segments
        pieces = []
        for offset, length in self.table.ranges(frame_index):
            if self.source is not None:
                pieces.append(self.source.read_at(offset, length))
            else:
                pieces.append(await blobs.read(segments, offset, length))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _decode(self, codestream: bytes) -> bytes:
        decoders = self.pinned.services.decoders
        return (await decoders.decode_frame(codestream, await self.describe())).data


def parse_frame_list(text: str) -> list[int]:
    """Return the 1-based frame numbers of a target, in the order asked.

    Raises:
        InvalidRequest: Not a list of positive numbers.
    """
    numbers = []
    for member in text.split(","):
        if _FRAME_NUMBER.fullmatch(member) is None:
            raise InvalidRequest("Frames are asked for as numbers from 1 on, joined by commas.")
        numbers.append(int(member))
    if len(numbers) > MOST_FRAMES:
        raise InvalidRequest(f"At most {MOST_FRAMES} frames can be asked for at once.")
    return numbers


class _PixelData(msgspec.Struct, gc=False):
    """The kinds of pixel data that a document may have; nothing else of it is decoded."""

    integer: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="7FE00010", default=msgspec.UNSET)
    single: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="7FE00008", default=msgspec.UNSET)
    double: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="7FE00009", default=msgspec.UNSET)


_NO_PIXEL_DATA = _PixelData()
_find_pixel_data = msgspec.json.Decoder(_PixelData).decode


async def open_frames(pinned: Pinned, instance: Selected) -> FrameReader:
    """Find the frames of an instance.

    Raises:
        ResourceNotFound: It has no pixel data.
        NotAcceptable: It has, but its frames cannot be told apart.
    """
    known = await find_frame_table(pinned, instance)
    if known is not None:
        return FrameReader(pinned, instance, known, None)
    document = await read_document(pinned, instance)
    if _find_pixel_data(document.dicom_json) == _NO_PIXEL_DATA:
        raise ResourceNotFound(f"Instance {instance.sop_uid} has no pixel data.")
    stored = await pinned.services.repository.blobs.open(instance.entry.segments)
    table, source = await run_in_thread(_map_inflated, stored)
    return FrameReader(pinned, instance, table, source)


async def answer_frames(pinned: Pinned, instance: Selected, frames: str) -> Answer:
    """Return frames by number.

    Raises:
        InvalidRequest: The numbers make no sense.
        ResourceNotFound: There is no such frame.
        NotAcceptable: The client takes no form they can be given in.
    """
    numbers = parse_frame_list(frames)
    reader = await open_frames(pinned, instance)
    for number in numbers:
        if number > reader.table.n_frames:
            raise ResourceNotFound(f"There are {reader.table.n_frames} frames, no {number}.")
    return await send_frames(pinned, reader, numbers)


async def send_frames(pinned: Pinned, reader: FrameReader, numbers: Sequence[int]) -> Answer:
    """Return these frames in the form that the client prefers."""
    stored = reader.transfer_syntax_uid
    is_asked = asks_for_encoding(pinned.accept, stored)
    form = negotiate_frames(
        pinned.accept,
        stored,
        single_item=len(numbers) == 1,
        is_decodable=can_decode(stored),
        encodable=await reader.list_targets() if is_asked else (),
    )
    headers = pinned.headers(f"{form.part_content_type} {form.is_multipart}")
    if pinned.is_fresh(headers):
        return Answer(304, headers)
    first: bytes | None = None
    length = reader.measure_long(numbers[0] - 1, form)
    if length is None:
        first = await reader.read_as(numbers[0] - 1, form)
    if not form.is_multipart:
        headers.append(("content-type", form.part_content_type))
        if first is None:
            return Answer(200, headers, reader.stream(numbers[0] - 1), length)
        return _answer_one(pinned, reader, numbers[0] - 1, form, headers, (first,))
    boundary = new_boundary()
    headers.append(("content-type", multipart_content_type(boundary, form.media_type)))
    if first is not None and len(numbers) == 1:
        url = pinned.url(*reader.instance.path, "frames", str(numbers[0]))
        opening = part_header(boundary, form.part_content_type, url, len(first), is_first=True)
        body = (opening, first, closing(boundary))
        return _answer_one(pinned, reader, numbers[0] - 1, form, headers, body)
    parts = _write_parts(pinned, reader, numbers, form, boundary, first)
    return Answer(200, headers, parts)


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """The body of an answer with one frame as it lies in a pack.

    Attributes:
        segments: Of the instance.
        place: Offset and length of the frame in it, in bytes.
        opening: What goes before it; may be empty, as `closing`.
        closing: What goes after it.
    """

    blobs: Blobs
    segments: tuple[tuple[bytes, int], ...]
    place: Range
    opening: bytes
    closing: bytes

    async def read(self) -> tuple[bytes, ...]:
        """Return the body in a few pieces.

        Raises:
            IntegrityError: The stored bytes are missing.
        """
        data = await self.blobs.read(self.segments, *self.place)
        return (self.opening, data, self.closing) if self.opening else (data,)


def _answer_one(
    pinned: Pinned,
    reader: FrameReader,
    frame_index: int,
    form: FramesAnswer,
    headers: Sequence[tuple[str, str]],
    body: tuple[bytes, ...],
) -> Answer:
    """Return an answer with one frame, which is kept if the frame goes out as it lies."""
    answer = Answer(200, headers, body)
    ranges = reader.list_ranges(frame_index, form)
    if len(ranges) == 1:
        opening, closing = (body[0], body[-1]) if len(body) > 1 else (b"", b"")
        blobs, segments = pinned.services.repository.blobs, reader.instance.entry.segments
        remember(pinned, answer, StoredFrame(blobs, segments, ranges[0], opening, closing))
    return answer


async def _write_parts(
    pinned: Pinned,
    reader: FrameReader,
    numbers: Sequence[int],
    form: FramesAnswer,
    boundary: str,
    first: bytes | None,
) -> AsyncIterator[bytes]:
    base = pinned.url(*reader.instance.path, "frames")
    for position, number in enumerate(numbers):
        url, is_first = f"{base}/{number}", position == 0
        length = reader.measure_long(number - 1, form)
        if length is not None:
            yield part_header(boundary, form.part_content_type, url, length, is_first=is_first)
            async for chunk in reader.stream(number - 1):
                yield chunk
            continue
        data = first if is_first else None
        if data is None:
            data = await reader.read_as(number - 1, form)
        yield part_header(boundary, form.part_content_type, url, len(data), is_first=is_first)
        yield data
    yield closing(boundary)


def _map_inflated(stored: ByteSource) -> tuple[FrameTable, ByteSource]:
    header = read_header(stored)
    try:
        table = build_frame_table(
            header.source, header.attributes, header.bulk_values, header.transfer_syntax_uid
        )
    except DoubtfulFrames as doubt:
        raise NotAcceptable(f"The frames of this instance cannot be given: {doubt}.") from doubt
    if table is None:
        raise BrokenInstance("The pixel data of this instance cannot be found.")
    return table, header.source


def _align_bits(data: bytes, bit_offset: int, n_bits: int) -> bytes:
    """Return a 1-bit frame from its own first bit on; the last byte is filled with zeros."""
    bits = (int.from_bytes(data, "little") >> bit_offset) & ((1 << n_bits) - 1)
    return bits.to_bytes((n_bits + 7) // 8, "little")

"""Stored Part 10 files in a compressed transfer syntax.

The header is rewritten element by element, frames come from elsewhere, one after the other, and
go out as one fragment each behind an empty basic offset table, so that a file of any length is
made in flat memory.

Source:
    PS3.5 Annex A.4 (encapsulation); PS3.3 §C.7.6.1.1.5 (lossy image compression).
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, dropwhile, islice, takewhile
from typing import Any

from lamella.archive.source import ByteSource
from lamella.errors import BrokenInstance, NotAcceptable
from lamella.imaging.decoders import PixelDescription
from lamella.imaging.elements import (
    NATIVE_ENCODINGS,
    PIXEL_DATA,
    UNDEFINED_LENGTH,
    Encoding,
    Reencoder,
    Span,
    encode_element,
    find_encoding,
)
from lamella.imaging.encoders import TARGETS, EncodedFrame
from lamella.imaging.explicit import FrameRanges, find_tail, read_file_meta, read_pieces

_PHOTOMETRIC_INTERPRETATION, _PLANAR_CONFIGURATION = 0x00280004, 0x00280006
_LOSSY, _RATIO, _METHOD = 0x00282110, 0x00282112, 0x00282114
_EXTENDED_OFFSETS = (0x7FE00001, 0x7FE00002, 0x7FE00003)
_ITEM = struct.pack("<HH", 0xFFFE, 0xE000)
_SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
_PIXELS_HERE = b"the pixels"  # stands for them among the pieces; told by identity


@dataclass(frozen=True)
class Original:
    """A stored file that is transcoded.

    Attributes:
        source: The whole file.
        inflated: The data set of a deflated one; None for all others.
        frame_ranges: Of an encapsulated one, for each frame, (offset_bytes, length_bytes) of its
            fragments; None for a native one.
        pixel: Its pixels.
        document: Its DICOM JSON.
    """

    source: ByteSource
    inflated: ByteSource | None
    frame_ranges: Sequence[FrameRanges] | None
    pixel: PixelDescription
    document: Mapping[str, Any]


@dataclass(frozen=True)
class TranscodedFile:
    """A Part 10 file on its way out.

    Attributes:
        length_bytes: Of all chunks together; None if there are several frames.
        chunks: To be taken once.
    """

    length_bytes: int | None
    chunks: AsyncIterator[bytes]


def transcode_instance(
    original: Original, target_uid: str, first: EncodedFrame, rest: AsyncIterator[EncodedFrame]
) -> TranscodedFile:
    """Return an instance in a compressed transfer syntax.

    What encoding changes is changed: Photometric Interpretation, Planar Configuration, Pixel
    Data, and for a lossy one Lossy Image Compression with its ratio (that of the first frame) and
    method, added to what was there. The SOP Instance UID stays: what goes out is a form of the
    instance that was asked for, made for this answer.

    Args:
        original: What is stored.
        target_uid: One of `encoders.TARGETS`.
        first: The first frame, encoded.
        rest: The other frames, as they are encoded.

    Raises:
        NotAcceptable: The header cannot be rewritten.
    """
    meta = read_file_meta(original.source, target_uid)
    replacements = _replace_elements(original, target_uid, first)
    surroundings = _Surroundings(original, meta.end_bytes, replacements)
    try:
        length = surroundings.measure()
    except BrokenInstance as error:
        raise NotAcceptable("The instance's header cannot be rewritten.") from error
    opening, closing = _open_pixels(), _SEQUENCE_END

    async def chunks() -> AsyncIterator[bytes]:
        head = chain([meta.rewritten], surroundings.head(), [opening])
        for chunk in read_pieces(surroundings.data_set, head):
            yield chunk
        for piece in _wrap(first.data):
            yield piece
        async for frame in rest:
            if frame.photometric_interpretation != first.photometric_interpretation:
                raise BrokenInstance("The frames of the instance differ in colour space.")
            for piece in _wrap(frame.data):
                yield piece
        for chunk in read_pieces(surroundings.data_set, chain([closing], surroundings.tail())):
            yield chunk

    if original.pixel.frames > 1:
        return TranscodedFile(None, chunks())
    length += len(meta.rewritten) + len(opening) + len(closing)
    return TranscodedFile(length + sum(map(len, _wrap(first.data))), chunks())


class _Surroundings:
    """What goes before and after Pixel Data, walked as often as it is needed.

    A header of many MB (a slide's functional groups) is never held.
    """

    def __init__(
        self, original: Original, meta_end_bytes: int, replacements: Mapping[int, bytes]
    ) -> None:
        self.data_set = original.inflated or original.source
        self._start = meta_end_bytes if original.inflated is None else 0
        self._original = original
        self._replacements = dict(replacements)
        self._tail_start: int | None = None
        uid = original.pixel.transfer_syntax_uid
        declared = NATIVE_ENCODINGS.get(uid, Encoding())
        self._encoding = find_encoding(self.data_set, self._start, declared)
        if original.frame_ranges is None:
            self._replacements[PIXEL_DATA] = _PIXELS_HERE

    def measure(self) -> int:
        """Return the length of both.

        Raises:
            BrokenInstance: The data set is damaged, or has no such Pixel Data.
        """
        return sum(map(len, self.head())) + sum(map(len, self.tail()))

    def head(self) -> Iterator[bytes | Span]:
        """Yield what goes before."""
        ranges = self._original.frame_ranges
        if ranges is None:
            yield from takewhile(lambda piece: piece is not _PIXELS_HERE, self._walk().pieces())
            return
        reader = self._walk(stops_at_pixels=True)
        yield from reader.pieces()
        if reader.stopped_at is None:
            raise BrokenInstance("The instance has no encapsulated Pixel Data.")
        self._tail_start = find_tail(self.data_set, ranges, reader.stopped_at)

    def tail(self) -> Iterator[bytes | Span]:
        """Yield what goes after; once `head` has been walked."""
        if self._tail_start is not None:
            return Reencoder(self.data_set, self._tail_start, self._encoding).pieces()
        pieces = dropwhile(lambda piece: piece is not _PIXELS_HERE, self._walk().pieces())
        return islice(pieces, 1, None)

    def _walk(self, *, stops_at_pixels: bool = False) -> Reencoder:
        return Reencoder(
            self.data_set,
            self._start,
            self._encoding,
            self._replacements,
            stops_at_pixels=stops_at_pixels,
        )


def _replace_elements(original: Original, target_uid: str, first: EncodedFrame) -> dict[int, bytes]:
    """Return the encoded elements that encoding changes; b"" where one goes."""
    target = TARGETS[target_uid]
    replacements = dict.fromkeys(_EXTENDED_OFFSETS, b"")
    replacements[_PHOTOMETRIC_INTERPRETATION] = _encode_text(
        _PHOTOMETRIC_INTERPRETATION, "CS", [first.photometric_interpretation]
    )
    if original.pixel.samples > 1:
        planar = struct.pack("<H", target.planar_configuration)
        replacements[_PLANAR_CONFIGURATION] = encode_element(_PLANAR_CONFIGURATION, "US", planar)
    if target.lossy_method:
        ratio = original.pixel.frame_bytes / max(1, len(first.data))
        ratios = [*_read_texts(original.document, _RATIO), f"{ratio:.2f}"]
        methods = [*_read_texts(original.document, _METHOD), target.lossy_method]
        replacements[_LOSSY] = _encode_text(_LOSSY, "CS", ["01"])
        replacements[_RATIO] = _encode_text(_RATIO, "DS", ratios)
        replacements[_METHOD] = _encode_text(_METHOD, "CS", methods)
    return replacements


def _read_texts(document: Mapping[str, Any], tag: int) -> list[str]:
    return [str(value) for value in document.get(f"{tag:08X}", {}).get("Value", [])]


def _encode_text(tag: int, vr: str, values: Sequence[str]) -> bytes:
    text = "\\".join(values).encode("ascii", "replace")
    return encode_element(tag, vr, text + b" " * (len(text) % 2))


def _open_pixels() -> bytes:
    """Return the header of Pixel Data of undefined length, and an empty basic offset table."""
    header = encode_element(PIXEL_DATA, "OB", b"")[:8] + struct.pack("<L", UNDEFINED_LENGTH)
    return header + _ITEM + struct.pack("<L", 0)


def _wrap(codestream: bytes) -> Iterator[bytes]:
    """Yield a frame as one fragment of even length."""
    padding = len(codestream) % 2
    if len(codestream) + padding >= UNDEFINED_LENGTH:
        raise NotAcceptable("A frame is too long for one fragment.")
    yield _ITEM + struct.pack("<L", len(codestream) + padding)
    yield codestream
    if padding:
        yield b"\0"

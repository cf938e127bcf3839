"""Stored Part 10 files as Explicit VR Little Endian, in flat memory and of known length.

Two ways lead there. A native original (implicit, big endian, deflated) is re-encoded element by
element; its pixels are copied or swapped in passing, never held. A compressed original gets a new
header, then one frame after the other is decoded and sent.

Source:
    PS3.10 §7.1 (file meta information), PS3.5 Annex A; PS3.18 §8.7.3 (why).
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from lamella.archive.source import ByteSource
from lamella.archive.values import swap_words
from lamella.errors import BrokenInstance, NotAcceptable
from lamella.imaging.decoders import DecodedFrame, PixelDescription
from lamella.imaging.elements import (
    NATIVE_ENCODINGS,
    PIXEL_DATA,
    Encoding,
    Reencoder,
    Span,
    encode_element,
    find_encoding,
)

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
# The longest even length that a 32-bit length field can tell (PS3.5 §7.1.1).
MAX_VALUE_BYTES = 0xFFFFFFFE
CHUNK_BYTES = 1 << 20

_EXTENDED_OFFSETS = (0x7FE00001, 0x7FE00002, 0x7FE00003)
_PHOTOMETRIC_INTERPRETATION, _PLANAR_CONFIGURATION = 0x00280004, 0x00280006
_GROUP_LENGTH, _TRANSFER_SYNTAX_UID = 0x00020000, 0x00020010
_LONG_VRS = (b"OB", b"OW", b"UN", b"UT", b"UC", b"UR", b"SQ", b"OD", b"OF", b"OL", b"OV")
_MAX_FILE_META = 1 << 20
_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"

DecodeFrame = Callable[[bytes, PixelDescription], Awaitable[DecodedFrame]]
FrameRanges = Sequence[tuple[int, int]]
_Pieces = Callable[[], Iterator[bytes | Span]]


@dataclass(frozen=True)
class ExplicitFile:
    """A Part 10 file on its way out.

    Attributes:
        length_bytes: Of all chunks together; None if only their end tells (deflated originals).
        chunks: Pieces of at most 1 MiB, to be taken once.
    """

    length_bytes: int | None
    chunks: Iterator[bytes]


@dataclass(frozen=True)
class DecompressedFile:
    """A Part 10 file whose frames are decoded while it goes out.

    Attributes:
        length_bytes: Of all chunks together.
        photometric_interpretation: After decoding.
        chunks: Header, frames and what follows them, to be taken once.
    """

    length_bytes: int
    photometric_interpretation: str
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True)
class FileMeta:
    """Preamble and file meta information of a stored file.

    Attributes:
        end_bytes: Where the data set starts.
        rewritten: The same for a data set in another transfer syntax.
    """

    transfer_syntax_uid: str
    end_bytes: int
    rewritten: bytes


def read_file_meta(source: ByteSource, target_uid: str = EXPLICIT_VR_LITTLE_ENDIAN) -> FileMeta:
    """Return a file's meta information, and the form it has in another transfer syntax.

    Raises:
        BrokenInstance: There is none, or it names no transfer syntax.

    Source:
        PS3.10 §7.1.
    """
    head = source.read_at(0, 132)
    if head[128:] != b"DICM":
        raise BrokenInstance("The stored file has no DICM prefix.")
    position, uid, kept = 132, "", []
    while (found := _read_meta_element(source, position)) is not None:
        tag, value_start, end = found
        raw = source.read_at(position, end - position)
        if tag == _TRANSFER_SYNTAX_UID:
            uid = raw[value_start - position :].decode("latin-1").strip(" \x00")
            padded = target_uid.encode("ascii") + b"\x00" * (len(target_uid) % 2)
            kept.append(encode_element(_TRANSFER_SYNTAX_UID, "UI", padded))
        elif tag != _GROUP_LENGTH:
            kept.append(raw)
        position = end
    if not uid:
        raise BrokenInstance("The stored file names no transfer syntax.")
    body = b"".join(kept)
    group_length = encode_element(_GROUP_LENGTH, "UL", struct.pack("<L", len(body)))
    return FileMeta(uid, position, head + group_length + body)


def _read_meta_element(source: ByteSource, position: int) -> tuple[int, int, int] | None:
    """Return tag, start and end of the value of the element at `position`; None after the last."""
    header = source.read_at(position, 12)
    if header[:2] != b"\x02\x00" or len(header) < 8:
        return None
    element, vr, length = struct.unpack_from("<H2sH", header, 2)
    start = position + 8
    if vr in _LONG_VRS:
        if len(header) < 12:
            return None
        length = int.from_bytes(header[8:12], "little")
        start = position + 12
    if not vr.isalpha() or start + length > min(source.size, position + _MAX_FILE_META):
        raise BrokenInstance("The stored file's meta information is damaged.")
    return 0x00020000 | element, start, start + length


def rewrite_explicit(source: ByteSource) -> ExplicitFile:
    """Return a stored file as Explicit VR Little Endian, for everything that needs no decoder.

    Explicit little endian goes out as it is. Any other transfer syntax but implicit, big endian
    and deflated is taken for an encapsulated one without pixels, whose data set already is
    Explicit VR Little Endian: only its file meta is new.

    Args:
        source: The whole stored file.

    Raises:
        BrokenInstance: The file is damaged. Raised before the first chunk, except for deflated
            originals, whose damage shows only while they go out.

    Source:
        PS3.5 Annexes A.1 to A.5.
    """
    meta = read_file_meta(source)
    uid = meta.transfer_syntax_uid
    if uid == EXPLICIT_VR_LITTLE_ENDIAN:
        return ExplicitFile(source.size, read_pieces(source, [Span(0, source.size)]))
    if uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return ExplicitFile(None, _inflate(source, meta))
    declared = NATIVE_ENCODINGS.get(uid)
    if declared is None:
        rest = Span(meta.end_bytes, source.size - meta.end_bytes)
        length = len(meta.rewritten) + len(rest)
        return ExplicitFile(length, read_pieces(source, [meta.rewritten, rest]))

    encoding = find_encoding(source, meta.end_bytes, declared)

    def pieces() -> Iterator[bytes | Span]:
        yield meta.rewritten
        yield from Reencoder(source, meta.end_bytes, encoding).pieces()

    # The first pass reads headers only; it finds the length, and damage before anything is sent.
    length = sum(map(len, pieces()))
    return ExplicitFile(length, read_pieces(source, pieces()))


def read_pieces(source: ByteSource, pieces: Iterable[bytes | Span]) -> Iterator[bytes]:
    """Yield the bytes of pieces, small ones joined, long ones cut to `CHUNK_BYTES`.

    Raises:
        BrokenInstance: The source ends before a piece does.
    """
    waiting = bytearray()
    for piece in pieces:
        if isinstance(piece, bytes):
            waiting += piece
        else:
            for start in range(0, piece.length_bytes, CHUNK_BYTES):
                length = min(CHUNK_BYTES, piece.length_bytes - start)
                data = source.read_at(piece.offset_bytes + start, length)
                if len(data) != length:
                    raise BrokenInstance("The stored file ends before its time.")
                if waiting:
                    yield bytes(waiting)
                    waiting.clear()
                yield swap_words(data, piece.word_bytes)
        if len(waiting) >= CHUNK_BYTES // 4:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _inflate(source: ByteSource, meta: FileMeta) -> Iterator[bytes]:
    yield meta.rewritten
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    position = meta.end_bytes
    try:
        while not inflater.eof:
            data = source.read_at(position, CHUNK_BYTES // 4)
            position += len(data)
            if not data:
                raise BrokenInstance("The stored file's deflated data set is cut short.")
            while data and not inflater.eof:
                yield inflater.decompress(data, CHUNK_BYTES)
                data = inflater.unconsumed_tail
    except zlib.error as error:
        raise BrokenInstance("The stored file's deflated data set is damaged.") from error


async def decompress_instance(
    source: ByteSource,
    frame_ranges: Sequence[FrameRanges],
    pixel: PixelDescription,
    decode: DecodeFrame,
    *,
    frames_ahead: int = 2,
) -> DecompressedFile:
    """Return a compressed instance as Explicit VR Little Endian.

    Only what decoding changes is changed: Photometric Interpretation, Planar Configuration
    (0 where there are several samples), Pixel Data, no offset tables. Lossy Image Compression
    stays: what was lost remains lost.

    Args:
        source: The whole stored file; its transfer syntax is an encapsulated one.
        frame_ranges: For each frame, (offset_bytes, length_bytes) of its fragments in the file.
        pixel: Of the same instance; as many `frames` as there are ranges.
        decode: Usually `DecoderPool.decode_frame`.
        frames_ahead: How many frames are decoded at a time.

    Raises:
        NotAcceptable: The instance has no such form: too long, no or too few frames, encapsulated
            pixels in a sequence, or a transfer syntax without decoder. The stored form has to go.
        BrokenInstance: The first frame cannot be decoded. (Later ones raise while chunks are
            taken.)

    Source:
        PS3.5 Annex A.2 and §8.1.1; PS3.18 §8.7.3.
    """
    if len(frame_ranges) != pixel.frames or pixel.value_bytes > MAX_VALUE_BYTES:
        raise NotAcceptable("The instance cannot be given in Explicit VR Little Endian.")
    first = await decode(_read_frame(source, frame_ranges[0]), pixel)
    photometric = first.photometric_interpretation
    head, tail, surroundings = _surround_pixels(source, frame_ranges, pixel, photometric)
    padding = pixel.value_bytes % 2

    async def chunks() -> AsyncIterator[bytes]:
        for chunk in read_pieces(source, head()):
            yield chunk
        frames = _decode_in_order(source, frame_ranges, pixel, decode, first, frames_ahead)
        async for data in _join_bits(frames, pixel):
            for start in range(0, len(data), CHUNK_BYTES):
                yield data[start : start + CHUNK_BYTES]
        for chunk in read_pieces(source, chain([b"\x00" * padding], tail())):
            yield chunk

    length = surroundings + pixel.value_bytes + padding
    return DecompressedFile(length, photometric, chunks())


def _read_frame(source: ByteSource, ranges: FrameRanges) -> bytes:
    return b"".join(source.read_at(offset, length) for offset, length in ranges)


def _surround_pixels(
    source: ByteSource,
    frame_ranges: Sequence[FrameRanges],
    pixel: PixelDescription,
    photometric_interpretation: str,
) -> tuple[_Pieces, _Pieces, int]:
    """Return what goes before and after the native Pixel Data value, and the length of both.

    Headers are walked twice, here and while they go out, so that one of many MB (a slide's
    functional groups) is never held.
    """
    meta = read_file_meta(source)
    replacements = _replace_elements(pixel, photometric_interpretation)
    vr = "OB" if pixel.bits_allocated <= 8 else "OW"
    pixel_header = _pixel_header(vr, pixel.value_bytes + pixel.value_bytes % 2)

    encoding = find_encoding(source, meta.end_bytes, Encoding())

    def read_head() -> Reencoder:
        return Reencoder(source, meta.end_bytes, encoding, replacements, stops_at_pixels=True)

    def head() -> Iterator[bytes | Span]:
        yield meta.rewritten
        yield from read_head().pieces()
        yield pixel_header

    try:
        scout = read_head()
        length = len(meta.rewritten) + sum(map(len, scout.pieces())) + len(pixel_header)
        if scout.stopped_at is None:
            raise BrokenInstance("The instance has no encapsulated Pixel Data.")
        tail_start = find_tail(source, frame_ranges, scout.stopped_at)

        def tail() -> Iterator[bytes | Span]:
            return Reencoder(source, tail_start, encoding).pieces()

        length += sum(map(len, tail()))
    except BrokenInstance as error:
        raise NotAcceptable("The instance's header cannot be rewritten.") from error
    return head, tail, length


def _replace_elements(pixel: PixelDescription, photometric_interpretation: str) -> dict[int, bytes]:
    """Return the encoded elements that decoding changes; b"" where one goes."""
    photometric = photometric_interpretation.encode("ascii")
    photometric += b" " * (len(photometric) % 2)
    replacements = dict.fromkeys(_EXTENDED_OFFSETS, b"")
    replacements[_PHOTOMETRIC_INTERPRETATION] = encode_element(
        _PHOTOMETRIC_INTERPRETATION, "CS", photometric
    )
    if pixel.samples > 1:
        replacements[_PLANAR_CONFIGURATION] = encode_element(
            _PLANAR_CONFIGURATION, "US", b"\x00\x00"
        )
    return replacements


def _pixel_header(vr: str, length_bytes: int) -> bytes:
    # encode_element writes length and value together, but this value comes frame by frame.
    return encode_element(PIXEL_DATA, vr, b"")[:8] + struct.pack("<L", length_bytes)


def find_tail(source: ByteSource, frame_ranges: Sequence[FrameRanges], value_start: int) -> int:
    """Return where the element after the encapsulated Pixel Data starts.

    Args:
        source: Of the whole file.
        frame_ranges: Of each frame's fragments.
        value_start: Where the value starts.

    The walk over items starts behind the last frame's last fragment, so that it does not cost a
    read a fragment; if no item stands there, it starts at the value.
    """
    last = max((offset + length for ranges in frame_ranges for offset, length in ranges), default=0)
    for position in (last, value_start):
        while (header := source.read_at(position, 8))[:4] == _ITEM and len(header) == 8:
            position += 8 + int.from_bytes(header[4:], "little")
        if header[:4] == _SEQUENCE_END:
            return position + 8
    # Some writers leave the delimiter out; then nothing follows.
    return source.size


async def _decode_in_order(
    source: ByteSource,
    frame_ranges: Sequence[FrameRanges],
    pixel: PixelDescription,
    decode: DecodeFrame,
    first: DecodedFrame,
    frames_ahead: int,
) -> AsyncIterator[bytes]:
    """Yield decoded frames, decoding a few at a time."""

    async def decode_one(ranges: FrameRanges) -> DecodedFrame:
        return await decode(await asyncio.to_thread(_read_frame, source, ranges), pixel)

    running: deque[asyncio.Task[DecodedFrame]] = deque()
    remaining = islice(frame_ranges, 1, None)
    try:
        yield first.data
        while True:
            while len(running) < frames_ahead and (ranges := next(remaining, None)) is not None:
                running.append(asyncio.create_task(decode_one(ranges)))
            if not running:
                return
            frame = await running.popleft()
            if frame.photometric_interpretation != first.photometric_interpretation:
                raise BrokenInstance("The frames of the instance differ in colour space.")
            yield frame.data
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _join_bits(frames: AsyncIterator[bytes], pixel: PixelDescription) -> AsyncIterator[bytes]:
    """Yield frames as they lie in a native value: 1-bit frames follow each other without gaps.

    Source:
        PS3.5 §8.1.1 and Annex D.
    """
    used_bits = pixel.pixels * pixel.bits_allocated % 8
    if used_bits == 0 or pixel.frames == 1:
        async for data in frames:
            yield data
        return
    carry, carry_bits = 0, 0
    async for data in frames:
        bits = int.from_bytes(data, "little") << carry_bits | carry
        total = pixel.pixels + carry_bits
        whole = total // 8
        yield (bits & ((1 << 8 * whole) - 1)).to_bytes(whole, "little")
        carry, carry_bits = bits >> 8 * whole, total % 8
    if carry_bits:
        yield carry.to_bytes(1, "little")

"""Where the frames of an instance lie, as byte ranges of its Part 10 file.

A table is made at put from what the header says and checked against the item tags, so that a frame
is read later without a look at the header. A table that cannot be sure is not made: the caller
gets the reason, and serves frames the slow way.

Source:
    PS3.5 §8.1 and §8.2 (native pixel cells), §A.4 (fragments, basic and extended offset tables);
    PS3.3 §C.7.6.3 (image pixel), §C.7.6.3.1.2 (YBR_FULL_422).
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct, unpack
from typing import overload

import msgspec

from lamella.archive.recorder import Attributes, BulkValue
from lamella.archive.source import ByteSource

Range = tuple[int, int]

_FORMAT = 1
_PIXEL_DATA_KEYS = ("7FE00010", "7FE00008", "7FE00009")
_NATIVE = frozenset(
    {
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.2",
    }
)
_REFERENCED = frozenset(
    {f"1.2.840.10008.1.2.4.{suffix}" for suffix in ("94", "95", "204", "205")}
)  # JPIP: pixel data are elsewhere
_VIDEO = frozenset({f"1.2.840.10008.1.2.4.{suffix}" for suffix in range(100, 109)})
# Decoded as they are to be: lists first take twice the memory, and frames may be a million.
_ENCODED = msgspec.msgpack.Decoder(
    tuple[int, int, bool, int, int, int, tuple[tuple[int, ...], ...]]
)
_MAX_ITEMS = 4_000_000
_ITEM_CHUNK_BYTES = 4 * 1024
_WRAP = 1 << 32

# First bytes of a JPEG family codestream or file, and last ones of a codestream.
_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ", b"\xff\x0a")
_END = b"\xff\xd9"


class DoubtfulFrames(Exception):
    """No frame table can be made; the message says why in a few words."""


@dataclass(frozen=True, slots=True)
class FrameTable:
    """Byte ranges of frames inside the Part 10 file.

    Attributes:
        n_frames: Number of frames.
        encapsulated: Whether frames are compressed, or at least in fragments.
        word_bytes: Size of the words to swap to get little endian; 1 if none.
        offset_bytes: Start of native pixel data; 0 if encapsulated.
        frame_bits: Length of a native frame in bits; 0 if encapsulated.
        fragments: For each encapsulated frame, offset and length of each fragment, flat.
    """

    n_frames: int
    encapsulated: bool
    word_bytes: int
    offset_bytes: int
    frame_bits: int
    fragments: tuple[tuple[int, ...], ...]

    @property
    def bit_packed(self) -> bool:
        """Whether frames do not all begin at a byte (1-bit pixels)."""
        return self.frame_bits % 8 != 0

    def bit_offset(self, frame_index: int) -> int:
        """Return how many bits of the frame's first byte belong to the frame before (0–7)."""
        return frame_index * self.frame_bits % 8

    def ranges(self, frame_index: int) -> tuple[Range, ...]:
        """Return `(offset_bytes, length_bytes)` of a frame's parts, in order.

        A native range holds whole words, so it may be a few bytes longer than the frame.

        Args:
            frame_index: 0-based.

        Raises:
            IndexError: There is no such frame.
        """
        if not 0 <= frame_index < self.n_frames:
            raise IndexError(frame_index)
        if self.encapsulated:
            flat = self.fragments[frame_index]
            return tuple(zip(flat[::2], flat[1::2], strict=True))
        first_bit = frame_index * self.frame_bits
        start, stop = first_bit // 8, (first_bit + self.frame_bits + 7) // 8
        stop += -stop % self.word_bytes
        return ((self.offset_bytes + start, stop - start),)

    @property
    def all_ranges(self) -> Sequence[tuple[Range, ...]]:
        """The ranges of every frame, by index."""
        return _AllRanges(self)

    def to_bytes(self) -> bytes:
        """Return the table as it is kept."""
        return msgspec.msgpack.encode(
            [
                _FORMAT,
                self.n_frames,
                self.encapsulated,
                self.word_bytes,
                self.offset_bytes,
                self.frame_bits,
                self.fragments,
            ]
        )

    @classmethod
    def from_bytes(cls, encoded: bytes) -> FrameTable:
        """Return the table that `to_bytes` made.

        Raises:
            ValueError: It is of a format this version does not know.
        """
        try:
            form, n_frames, encapsulated, word, offset, bits, fragments = _ENCODED.decode(encoded)
        except msgspec.ValidationError as error:
            raise ValueError("frame table of unknown format") from error
        if form != _FORMAT:
            raise ValueError(f"frame table of unknown format {form}")
        return cls(n_frames, encapsulated, word, offset, bits, fragments)


class _AllRanges(Sequence[tuple[Range, ...]]):
    """The ranges of a table's frames, made as they are looked at: there may be a million."""

    def __init__(self, table: FrameTable) -> None:
        self._table = table

    def __len__(self) -> int:
        return self._table.n_frames

    @overload
    def __getitem__(self, index: int) -> tuple[Range, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[Range, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Range, ...] | list[tuple[Range, ...]]:
        numbers = range(len(self))[index]
        if isinstance(numbers, range):
            return list(map(self._table.ranges, numbers))
        return self._table.ranges(numbers)


def is_encapsulated(transfer_syntax_uid: str) -> bool:
    """Return whether Pixel Data of a transfer syntax are fragments in items."""
    return transfer_syntax_uid not in _NATIVE and transfer_syntax_uid not in _REFERENCED


def find_pixel_data(bulk_values: dict[str, BulkValue]) -> BulkValue | None:
    """Return Pixel Data, else Float, else Double Float Pixel Data."""
    return next((bulk_values[key] for key in _PIXEL_DATA_KEYS if key in bulk_values), None)


def build_frame_table(
    source: ByteSource,
    attributes: Attributes,
    bulk_values: dict[str, BulkValue],
    transfer_syntax_uid: str,
) -> FrameTable | None:
    """Return the frame table of an instance, or None if it has no pixel data.

    Args:
        source: What the offsets of `bulk_values` count in.
        attributes: The DICOM JSON structure.
        bulk_values: By bulk data path.
        transfer_syntax_uid: Of the file.

    Raises:
        DoubtfulFrames: Where frames lie is not certain.
    """
    value = find_pixel_data(bulk_values)
    if value is None:
        return None
    n_frames = _read_count(attributes, "00280008", default=1)
    if not value.encapsulated:
        return _build_native(attributes, value, n_frames)
    if transfer_syntax_uid in _VIDEO:
        raise DoubtfulFrames("frames of a video are not byte ranges")
    items = read_items(source, value)
    frames = _map_fragments(source, attributes, bulk_values, items, n_frames)
    flat = tuple(tuple(number for part in frame for number in part) for frame in frames)
    return FrameTable(n_frames, True, 1, 0, 0, flat)


def _read_count(attributes: Attributes, key: str, default: int | None = None) -> int:
    values = attributes.get(key, {}).get("Value")
    if not values:
        if default is None:
            raise DoubtfulFrames(f"{key} is missing")
        return default
    if not isinstance(values[0], int) or values[0] < 1:
        raise DoubtfulFrames(f"{key} is no positive number")
    return values[0]


def _build_native(attributes: Attributes, value: BulkValue, n_frames: int) -> FrameTable:
    samples = _read_count(attributes, "00280002", default=1)
    pixels = _read_count(attributes, "00280010") * _read_count(attributes, "00280011")
    bits = _read_count(attributes, "00280100", default={"OF": 32, "OD": 64}.get(value.vr))
    frame_bits = pixels * samples * bits
    photometric = (attributes.get("00280004", {}).get("Value") or [""])[0]
    whole_bytes = (frame_bits * n_frames + 7) // 8
    # two luminance samples share their colour differences: two samples a pixel, unless the length
    # shows that the writer did not mean it
    # any JSON value may stand there: a name's is an object, which no set looks for
    shared = photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") and samples == 3
    if shared and value.length_bytes not in {whole_bytes, whole_bytes + whole_bytes % 2}:
        frame_bits = pixels * 2 * bits
    words = value.word_bytes
    needed = (frame_bits * n_frames + 7) // 8
    if needed + -needed % words > value.length_bytes:
        raise DoubtfulFrames("pixel data are shorter than their frames")
    if words > 1 and n_frames > 1 and frame_bits % (8 * words):
        raise DoubtfulFrames("big-endian words span frames")
    return FrameTable(n_frames, False, words, value.offset_bytes, frame_bits, ())


def read_items(source: ByteSource, value: BulkValue) -> list[Range]:
    """Return `(offset_bytes, length_bytes)` of the items of an encapsulated value.

    The first is the basic offset table.

    Raises:
        DoubtfulFrames: The items do not end where the value does.
    """
    position, stop = value.offset_bytes, value.offset_bytes + value.length_bytes
    items: list[Range] = []
    buffer, base = b"", position
    while position + 8 <= stop and len(items) <= _MAX_ITEMS:
        index = position - base
        if index + 8 > len(buffer):
            buffer, base, index = source.read_at(position, _ITEM_CHUNK_BYTES), position, 0
        mark = buffer[index : index + 4]
        length = int.from_bytes(buffer[index + 4 : index + 8], "little")
        position += 8
        if mark == b"\xfe\xff\xdd\xe0" and position == stop and items:
            return items
        if mark != b"\xfe\xff\x00\xe0":
            break
        items.append((position, length))
        position += length
    raise DoubtfulFrames("fragments do not fit their items")


def _map_fragments(
    source: ByteSource,
    attributes: Attributes,
    bulk_values: dict[str, BulkValue],
    items: list[Range],
    n_frames: int,
) -> list[Sequence[Range]]:
    """Say which fragments are which frame's, by the surest evidence there is."""
    fragments = items[1:]
    if not fragments:
        raise DoubtfulFrames("there are no fragments")
    extended = _read_extended_offsets(source, attributes, bulk_values)
    if extended is not None:
        frames = _split_at(fragments, extended[0], n_frames)
        if frames is not None:
            return _trim(frames, extended[1])
    offsets = _read_basic_offsets(source, items[0])
    frames = _split_at(fragments, offsets, n_frames)
    if frames is not None:
        return frames
    if len(fragments) == n_frames:
        return [[fragment] for fragment in fragments]
    if n_frames == 1:
        return [fragments]
    frames = _split_by_markers(source, fragments, n_frames)
    if frames is None:
        raise DoubtfulFrames("nothing says which fragments are which frame's")
    return frames


def _read_extended_offsets(
    source: ByteSource, attributes: Attributes, bulk_values: dict[str, BulkValue]
) -> tuple[list[int], list[int]] | None:
    """Return the Extended Offset Table and its Lengths, if both are there."""
    offsets = _read_very_long(source, attributes, bulk_values, "7FE00001")
    lengths = _read_very_long(source, attributes, bulk_values, "7FE00002")
    if not offsets or len(offsets) != len(lengths):
        return None
    return offsets, lengths


def _read_very_long(
    source: ByteSource, attributes: Attributes, bulk_values: dict[str, BulkValue], key: str
) -> list[int]:
    inline = attributes.get(key, {}).get("InlineBinary")
    if inline is not None:
        raw = a2b_base64(inline)
    elif key in bulk_values and bulk_values[key].length_bytes <= 8 * _MAX_ITEMS:
        value = bulk_values[key]
        raw = source.read_at(value.offset_bytes, value.length_bytes)
    else:
        return []
    return list(unpack(f"<{len(raw) // 8}Q", raw[: len(raw) // 8 * 8]))


def _read_basic_offsets(source: ByteSource, item: Range) -> list[int]:
    """Return the basic offset table, its 32-bit offsets unwrapped where they pass 4 GiB."""
    offset, length = item
    raw = source.read_at(offset, min(length, 4 * _MAX_ITEMS))
    offsets: list[int] = []
    wrapped, last = 0, -1
    for (entry,) in Struct("<I").iter_unpack(raw[: len(raw) // 4 * 4]):
        if entry < last:
            wrapped += _WRAP
        last = entry
        offsets.append(entry + wrapped)
    return offsets


def _split_at(
    fragments: list[Range], offsets: list[int], n_frames: int
) -> list[Sequence[Range]] | None:
    """Group fragments by frame starts, if each is the item tag of a fragment."""
    if len(offsets) != n_frames or offsets[0] != 0:
        return None
    origin = fragments[0][0]
    index_at = {offset - origin: index for index, (offset, _) in enumerate(fragments)}
    starts = [index_at.get(offset, -1) for offset in offsets]
    if starts != sorted(set(starts)) or starts[0] != 0:
        return None
    stops = [*starts[1:], len(fragments)]
    return [fragments[start:stop] for start, stop in zip(starts, stops, strict=True)]


def _trim(frames: list[Sequence[Range]], lengths: list[int]) -> list[Sequence[Range]]:
    """Take the padding off frames whose true length the extended table tells."""
    trimmed: list[Sequence[Range]] = []
    for frame, length in zip(frames, lengths, strict=True):
        if len(frame) == 1 and frame[0][1] - 1 <= length <= frame[0][1]:
            frame = [(frame[0][0], length)]
        trimmed.append(frame)
    return trimmed


def _split_by_markers(
    source: ByteSource, fragments: list[Range], n_frames: int
) -> list[Sequence[Range]] | None:
    """Group fragments where codestreams begin or, failing that, end; if the count is right."""
    if n_frames > len(fragments):
        return None
    heads = [source.read_at(offset, min(length, 8)) for offset, length in fragments]
    starts = [index for index, head in enumerate(heads) if head.startswith(_STARTS)]
    if len(starts) != n_frames or starts[0] != 0:
        tails = [_read_tail(source, fragment) for fragment in fragments]
        ends = [index + 1 for index, tail in enumerate(tails) if tail.endswith(_END)]
        if len(ends) != n_frames or ends[-1] != len(fragments):
            return None
        starts = [0, *ends[:-1]]
    stops = [*starts[1:], len(fragments)]
    return [fragments[start:stop] for start, stop in zip(starts, stops, strict=True)]


def _read_tail(source: ByteSource, fragment: Range) -> bytes:
    offset, length = fragment
    size = min(length, 8)
    return source.read_at(offset + length - size, size).rstrip(b"\0")

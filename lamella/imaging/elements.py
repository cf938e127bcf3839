"""Data elements of any native encoding, re-encoded one by one as Explicit VR Little Endian.

This works on bytes, not on values: an element's header is rewritten, its value is copied (or
swapped), so whatever the value holds arrives unharmed, also what no parser would accept. Long
values are never read, only pointed at.

Sequences and items come out with undefined length, because theirs would be known only at their
end. Group lengths and Length to End are dropped: they would be wrong.

Source:
    PS3.5 §7.1 to §7.5, Annex A.1 to A.3, §6.2.2 (UN); VRs from the data dictionary of PS3.6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lamella.archive.dictionary import find_private_vr, find_public_vr, is_private_creator
from lamella.archive.source import ByteSource
from lamella.archive.values import WORD_BYTES, swap_words
from lamella.errors import BrokenInstance

PIXEL_DATA = 0x7FE00010
UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_REPRESENTATION, _LUT_DESCRIPTOR, _LUT_DATA = 0x00280103, 0x00283002, 0x00283006
_LENGTH_TO_END = 0x00080001
_BITS_ALLOCATED = 0x00280100
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_VRS = _LONG_VRS | frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
)
_OPEN_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED_LENGTH)
_CLOSE_ITEM = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
_CLOSE_SEQUENCE = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
_WINDOW_BYTES = 1 << 16
_INLINE_BYTES = 1 << 13
_MAX_DEPTH = 64


@dataclass(frozen=True)
class Encoding:
    """How a data set is encoded; the default is the target, Explicit VR Little Endian."""

    is_implicit: bool = False
    is_big_endian: bool = False


NATIVE_ENCODINGS = {
    "1.2.840.10008.1.2": Encoding(is_implicit=True),
    "1.2.840.10008.1.2.1": Encoding(),
    "1.2.840.10008.1.2.2": Encoding(is_big_endian=True),
}


def find_encoding(source: ByteSource, start: int, declared: Encoding) -> Encoding:
    """Return how a data set really is encoded: some writers declare explicit and write implicit.

    Args:
        source: Of the whole file.
        start: Where the data set starts.
        declared: What the transfer syntax says; big endian is believed.
    """
    vr = source.read_at(start + 4, 2)
    if declared.is_big_endian or len(vr) < 2:
        return declared
    return Encoding(is_implicit=vr not in _VRS)


@dataclass(frozen=True)
class Span:
    """A range of the source to copy, swapping words of `word_bytes` (1: as it is)."""

    offset_bytes: int
    length_bytes: int
    word_bytes: int = 1

    def __len__(self) -> int:
        return self.length_bytes


@dataclass
class _Level:
    """What elements of one data set tell about others that come after them."""

    pixel_representation: int
    creators: dict[int, str] = field(default_factory=dict)
    has_single_lut_entry: bool = False
    bits_allocated: int = 0


def encode_element(tag: int, vr: str, value: bytes) -> bytes:
    """Return one element in Explicit VR Little Endian; the value has to be of even length."""
    return _header(tag, vr.encode("ascii"), len(value)) + value


def _header(tag: int, vr: bytes, length_bytes: int) -> bytes:
    group, element = tag >> 16, tag & 0xFFFF
    if vr in _LONG_VRS:
        return struct.pack("<HH2sHL", group, element, vr, 0, length_bytes)
    return struct.pack("<HH2sH", group, element, vr, length_bytes)


class Reencoder:
    """One pass over the data set of a source, from `start`.

    Args:
        source: Of the whole file.
        start: Where the data set (or its rest) starts.
        encoding: What it is encoded in.
        replacements: Elements by tag that take the place of top-level ones (or come in where
            those would stand), encoded; b"" drops one.
        stops_at_pixels: Stop at a top-level Pixel Data of undefined length, and leave its
            value's offset in `stopped_at`; without it such an element is an error.
    """

    def __init__(
        self,
        source: ByteSource,
        start: int,
        encoding: Encoding,
        replacements: Mapping[int, bytes] | None = None,
        *,
        stops_at_pixels: bool = False,
    ) -> None:
        self.stopped_at: int | None = None
        self._source = source
        self._position = start
        self._window = b""
        self._window_start = start
        self._encoding = encoding
        self._replacements = dict(replacements or {})
        self._stops_at_pixels = stops_at_pixels

    def tagged_pieces(self) -> Iterator[tuple[int, bytes | Span]]:
        """Yield the pieces of the data set as it is, each with its top-level element's tag.

        Raises:
            IntegrityError: As `pieces`.
        """
        return self._data_set(self._source.size, _Level(self._guess_pixel_representation()), 0)

    def pieces(self) -> Iterator[bytes | Span]:
        """Yield what the re-encoded data set is made of, in order.

        Raises:
            BrokenInstance: The bytes are no data set of that encoding, or one that has no
                native form (encapsulated pixels within a sequence).
        """
        waiting = sorted(self._replacements)
        for tag, piece in self.tagged_pieces():
            while waiting and waiting[0] <= tag:
                yield self._replacements[waiting.pop(0)]
            if tag not in self._replacements:
                yield piece
        for tag in waiting:
            yield self._replacements[tag]

    def _guess_pixel_representation(self) -> int:
        """Return the sign that group 0028 will declare, for ambiguous VRs that come before it."""
        if not self._encoding.is_implicit:
            return 0
        head = self._source.read_at(self._position, _WINDOW_BYTES)
        found = head.find(struct.pack("<HHL", 0x0028, 0x0103, 2))
        return head[found + 8] & 1 if 0 <= found < len(head) - 8 else 0

    def _take(self, length: int) -> bytes:
        """Return the next bytes, fewer only at the end of the source."""
        start = self._position - self._window_start
        if start < 0 or start + length > len(self._window):
            self._window = self._source.read_at(self._position, max(length, _WINDOW_BYTES))
            self._window_start, start = self._position, 0
        taken = self._window[start : start + length]
        self._position += len(taken)
        return taken

    def _read_tag(self, encoding: Encoding, end: int) -> int | None:
        """Return the next tag, or None at the end of the enclosing data set."""
        if self._position + 8 > end:
            self._position = end
            return None
        raw = self._take(4)
        group, element = struct.unpack(">HH" if encoding.is_big_endian else "<HH", raw)
        return int(group << 16 | element)

    def _read_length(self, encoding: Encoding) -> int:
        order = "big" if encoding.is_big_endian else "little"
        return int.from_bytes(self._take(4), order)  # type: ignore[arg-type]

    def _read_vr(self, tag: int, encoding: Encoding, level: _Level) -> tuple[bytes, int]:
        """Return VR and length of the element whose tag was read."""
        if encoding.is_implicit:
            return self._implicit_vr(tag, level), self._read_length(encoding)
        raw = self._take(4)
        vr = raw[:2]
        if vr in _LONG_VRS:
            return vr, self._read_length(encoding)
        if not (vr.isalpha() and vr.isupper()):
            raise BrokenInstance(f"An element before offset {self._position} has no VR.")
        return vr, int.from_bytes(raw[2:], "big" if encoding.is_big_endian else "little")

    def _implicit_vr(self, tag: int, level: _Level) -> bytes:
        """Return the VR that the dictionaries give an element of an implicit data set."""
        if is_private_creator(tag):
            return b"LO"
        if tag == _LUT_DATA:
            return b"US" if level.has_single_lut_entry else b"OW"
        if tag >> 16 & 1:
            creator = level.creators.get(tag >> 16 << 16 | (tag & 0xFFFF) >> 8)
            vr = (find_private_vr(tag, creator) if creator else None) or "UN"
        else:
            vr = find_public_vr(tag) or "UN"
        if vr == "US or SS":
            return b"SS" if level.pixel_representation else b"US"
        return b"OW" if " or " in vr else vr.encode("ascii")

    def _data_set(self, end: int, level: _Level, depth: int) -> Iterator[tuple[int, bytes | Span]]:
        """Yield (tag, piece) for each piece of the elements up to `end` or an item's end."""
        encoding = self._encoding
        while (tag := self._read_tag(encoding, end)) is not None:
            if tag >> 16 == 0xFFFE:
                self._position += 4
                if tag == _ITEM_END and depth:
                    return
                raise BrokenInstance(f"A stray delimiter stands before offset {self._position}.")
            vr, length = self._read_vr(tag, encoding, level)
            if length == UNDEFINED_LENGTH:
                if tag == PIXEL_DATA:
                    self._stop(depth)
                    return
                for piece in self._sequence(end, vr, level, depth, tag):
                    yield tag, piece
                continue
            length = max(0, min(length, end - self._position))
            if tag & 0xFFFF == 0 or tag == _LENGTH_TO_END:
                self._position += length
            elif vr == b"SQ" and self._starts_item(length):
                stop = self._position + length
                for piece in self._sequence(stop, vr, level, depth, tag):
                    yield tag, piece
                self._position = stop
            else:
                own = b"UN" if vr == b"SQ" and length else vr
                for piece in self._value(tag, own, length, level):
                    yield tag, piece

    def _stop(self, depth: int) -> None:
        if depth or not self._stops_at_pixels:
            raise BrokenInstance("Encapsulated pixels stand where native ones have to.")
        self.stopped_at = self._position

    def _starts_item(self, length: int) -> bool:
        """Tell whether an item comes next; some writers put other bytes into a sequence."""
        if length < 8:
            return False
        start = self._position
        tag = self._read_tag(self._encoding, start + length)
        self._position = start
        return tag == _ITEM

    def _sequence(
        self, end: int, vr: bytes, level: _Level, depth: int, tag: int
    ) -> Iterator[bytes | Span]:
        """Yield a sequence's header, items and delimiter."""
        if depth >= _MAX_DEPTH:
            raise BrokenInstance(f"Sequences are nested deeper than {_MAX_DEPTH}.")
        if vr not in (b"SQ", b"UN"):
            raise BrokenInstance(f"Element {tag:08X} has an undefined length.")
        outer = self._encoding
        if vr == b"UN":
            # PS3.5 §6.2.2 Note 7: the content of UN is always Implicit VR Little Endian.
            self._encoding = Encoding(is_implicit=True)
        yield _header(tag, b"SQ", UNDEFINED_LENGTH)
        # Delimiters of the sequence itself are in the outer byte order, which for UN is little
        # endian as well.
        while (mark := self._read_tag(self._encoding, end)) is not None:
            length = self._read_length(self._encoding)
            if mark == _SEQUENCE_END:
                break
            if mark != _ITEM:
                raise BrokenInstance(f"No item stands before offset {self._position}.")
            stop = end if length == UNDEFINED_LENGTH else min(end, self._position + length)
            yield _OPEN_ITEM
            inner = _Level(level.pixel_representation)
            for _, piece in self._data_set(stop, inner, depth + 1):
                yield piece
            yield _CLOSE_ITEM
        self._encoding = outer
        yield _CLOSE_SEQUENCE

    def _value(self, tag: int, vr: bytes, length: int, level: _Level) -> Iterator[bytes | Span]:
        """Yield an element that is no sequence."""
        if vr not in _LONG_VRS and length > 0xFFFE:
            # PS3.5 §6.2.2: what is too long for its VR's length field goes out as UN.
            vr = b"UN"
        word = WORD_BYTES.get(vr.decode("ascii"), 1) if self._encoding.is_big_endian else 1
        if tag == PIXEL_DATA and word > 1:
            # Big-endian writers swap whole pixels, although OW has words of 16 bits.
            word = {32: 4, 64: 8}.get(level.bits_allocated, word)
        header = _header(tag, vr, length)
        if length > _INLINE_BYTES:
            yield header
            yield Span(self._position, length, word)
            self._position += length
            return
        value = swap_words(self._take(length), word)
        self._learn(tag, value, level)
        yield header + value

    @staticmethod
    def _learn(tag: int, value: bytes, level: _Level) -> None:
        """Note what later elements of the same data set depend on."""
        if tag == _PIXEL_REPRESENTATION and value:
            level.pixel_representation = value[0] & 1
        elif tag == _BITS_ALLOCATED:
            level.bits_allocated = int.from_bytes(value[:2], "little")
        elif tag == _LUT_DESCRIPTOR:
            level.has_single_lut_entry = value[:2] == b"\x01\x00"
        elif is_private_creator(tag):
            level.creators[tag] = value.decode("latin-1").strip(" \x00")

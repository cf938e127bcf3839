"""`cut.v1`: where one Part 10 file is cut into segments. Frozen.

The segments of stored instances, and so the names of their bytes, follow from this function. It
must give the same answer for the same bytes for ever; a better one is a `cut.v2` beside it, and
`tests/unit/archive/golden/cuts.json` holds this one in place. It shares no code with the parsers
of this room, which may change, and it never asks pydicom.

The rule:

1. `[preamble and file meta] [data set up to the value] [value] [tail]`; empty segments are left
   out, and the concatenation is always the whole file.
2. File meta are the elements of group 0002 after `DICM`, read as Explicit VR Little Endian, however
   many (0002,0000) announces. If there are none, or they do not parse: one segment.
3. The value is that of the first element at the top level, in file order, whose tag is in
   `CUT_TAGS` and whose value field has `CUT_THRESHOLD_BYTES` or more. The value field of an element
   of undefined length reaches through its sequence delimitation item. Never inside sequences.
4. Anything doubtful leaves the cut after file meta as the only one: a transfer syntax that is
   unknown or deflated, tags at the top level that do not strictly ascend, an unknown VR, a length
   that leaves the file, a delimiter that has a length or is missing, bytes left over at the end,
   more than `MAX_DEPTH` levels of undefined length.

Source:
    PS3.10 §7.1 (file meta), PS3.5 §7.1 (elements), §7.5 (sequences), §A.4 (encapsulation).
"""

from __future__ import annotations

from itertools import pairwise
from struct import Struct

from lamella.archive.source import ByteSource

CUT_TAGS = frozenset({0x00420011, 0x56000020, 0x7FE00008, 0x7FE00009, 0x7FE00010})
CUT_THRESHOLD_BYTES = 64 * 1024
MAX_DEPTH = 1024

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_UNDEFINED_VRS = frozenset(b"OB OW SQ UN".split())

_IMPLICIT_LE = "1.2.840.10008.1.2"
_EXPLICIT_BE = "1.2.840.10008.1.2.2"
_STANDARD_ROOT = "1.2.840.10008.1.2."
_DEFLATED = frozenset(
    {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
)

# What an undefined length opens: a sequence, an item of one, or the fragments of a value.
_IN_SEQUENCE, _IN_ITEM, _IN_FRAGMENTS = 0, 1, 2

_HEAD_CHUNK = 64 * 1024
_ITEM_CHUNK = 4 * 1024


class _Doubt(Exception):
    """The bytes cannot be cut with certainty."""


class _Window:
    """A buffered view that is moved forward over the source.

    Attributes:
        size: Length of the source in bytes.
    """

    __slots__ = ("_base", "_buffer", "_source", "size")

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._base = 0
        self._buffer = b""
        self.size = source.size

    def take(self, offset: int, length: int, chunk: int = _HEAD_CHUNK) -> tuple[bytes, int]:
        """Return a buffer and the index in it where `length` bytes from `offset` begin."""
        index = offset - self._base
        if index < 0 or index + length > len(self._buffer):
            self._buffer = self._source.read_at(offset, max(length, chunk))
            self._base, index = offset, 0
            if len(self._buffer) < length:
                raise _Doubt
        return self._buffer, index


class _Encoding:
    """How the data set's elements are encoded.

    Attributes:
        explicit: Whether elements carry a VR.
        tag_length: Unpacks group, element and a 32-bit length.
        tag_vr_length: Unpacks group, element, VR and a 16-bit length.
        short: Unpacks the 16-bit length of an explicit element.
        long: Unpacks a 32-bit length.
        little: Whether bytes are little endian.
    """

    __slots__ = ("explicit", "little", "long", "short", "tag_length", "tag_vr_length")

    def __init__(self, explicit: bool, little: bool) -> None:
        order = "<" if little else ">"
        self.explicit = explicit
        self.little = little
        self.tag_length = Struct(order + "HHI").unpack_from
        self.tag_vr_length = Struct(order + "HH2sH").unpack_from
        self.short = Struct(order + "H").unpack_from
        self.long = Struct(order + "I").unpack_from


_EXPLICIT_LE_ENCODING = _Encoding(explicit=True, little=True)
_EXPLICIT_BE_ENCODING = _Encoding(explicit=True, little=False)
_IMPLICIT_LE_ENCODING = _Encoding(explicit=False, little=True)


def cut(source: ByteSource) -> tuple[tuple[int, int], ...]:
    """Return the segments of a Part 10 file, in order.

    Args:
        source: The whole file, preamble included.

    Returns:
        `(offset_bytes, length_bytes)` of each segment: none for an empty source, else one to four
        of positive length that follow one another without a gap.
    """
    if source.size == 0:
        return ()
    window = _Window(source)
    try:
        meta_end, transfer_syntax = _read_file_meta(window)
    except _Doubt:
        return ((0, source.size),)
    encoding = _find_encoding(transfer_syntax)
    bounds = [0, meta_end, source.size]
    if encoding is not None:
        try:
            bounds[2:2] = _find_cut_value(window, meta_end, encoding)
        except _Doubt:
            pass  # the cut after file meta is sure, which is all the rule asks
    return tuple((start, stop - start) for start, stop in pairwise(bounds) if stop > start)


def _find_encoding(transfer_syntax: str) -> _Encoding | None:
    if transfer_syntax == _IMPLICIT_LE:
        return _IMPLICIT_LE_ENCODING
    if transfer_syntax == _EXPLICIT_BE:
        return _EXPLICIT_BE_ENCODING
    if transfer_syntax in _DEFLATED or not transfer_syntax.startswith(_STANDARD_ROOT):
        return None
    return _EXPLICIT_LE_ENCODING


def _read_file_meta(window: _Window) -> tuple[int, str]:
    """Return where group 0002 ends and the transfer syntax it names ('' if none)."""
    buffer, index = window.take(0, 132)
    if buffer[index + 128 : index + 132] != b"DICM":
        raise _Doubt
    position, transfer_syntax = 132, ""
    while position < window.size:
        buffer, index = window.take(position, 8)
        if buffer[index : index + 2] != b"\x02\x00":
            break
        tag, _, length, value = _read_header(window, position, _EXPLICIT_LE_ENCODING)
        if length == _UNDEFINED or value + length > window.size:
            raise _Doubt
        if tag == 0x00020010:
            if length > 64:
                raise _Doubt
            buffer, index = window.take(value, length)
            raw = buffer[index : index + length]
            transfer_syntax = raw.decode("latin-1").strip(" \0")
        position = value + length
    if position == 132:
        raise _Doubt
    return position, transfer_syntax


def _read_header(
    window: _Window, position: int, encoding: _Encoding
) -> tuple[int, bytes, int, int]:
    """Return tag, VR (empty if implicit), length and the offset of the value."""
    buffer, index = window.take(position, 8)
    group, element, length = encoding.tag_length(buffer, index)
    tag = group << 16 | element
    if not encoding.explicit or group == 0xFFFE:
        return tag, b"", length, position + 8
    vr = buffer[index + 4 : index + 6]
    if vr in _SHORT_VRS:
        return tag, vr, encoding.short(buffer, index + 6)[0], position + 8
    if vr not in _LONG_VRS:
        raise _Doubt
    buffer, index = window.take(position, 12)
    return tag, vr, encoding.long(buffer, index + 8)[0], position + 12


def _find_cut_value(window: _Window, position: int, encoding: _Encoding) -> list[int]:
    """Walk the top level to its end; return `[start, stop]` of the value to cut, or nothing."""
    found: list[int] = []
    last_tag = -1
    short_vrs, tag_vr_length, explicit = _SHORT_VRS, encoding.tag_vr_length, encoding.explicit
    buffer, base = b"", position
    while position < window.size:
        index = position - base
        if index + 8 > len(buffer):
            buffer, index = window.take(position, 8)
            base = position - index
        group, element, vr, length = tag_vr_length(buffer, index)
        if explicit and vr in short_vrs and group != 0xFFFE:
            tag, value = group << 16 | element, position + 8
        else:
            tag, vr, length, value = _read_header(window, position, encoding)
        if tag <= last_tag or tag >> 16 == 0xFFFE:
            raise _Doubt
        last_tag = tag
        if length == _UNDEFINED:
            position = _skip_undefined(window, value, encoding, _open(tag, vr, encoding))
        else:
            position = value + length
            if position > window.size:
                raise _Doubt
        if not found and tag in CUT_TAGS and position - value >= CUT_THRESHOLD_BYTES:
            found = [value, position]
    return found


def _open(tag: int, vr: bytes, encoding: _Encoding) -> tuple[int, _Encoding]:
    """Say what an undefined length opens, and how what is inside is encoded."""
    if not encoding.explicit:
        return (_IN_FRAGMENTS if tag >> 16 == 0x7FE0 else _IN_SEQUENCE), encoding
    if vr not in _UNDEFINED_VRS:
        raise _Doubt
    if vr == b"UN":  # PS3.5 §6.2.2: its content is Implicit VR Little Endian
        if not encoding.little:
            raise _Doubt
        return _IN_SEQUENCE, _IMPLICIT_LE_ENCODING
    return (_IN_SEQUENCE if vr == b"SQ" else _IN_FRAGMENTS), encoding


def _skip_undefined(
    window: _Window, position: int, encoding: _Encoding, opened: tuple[int, _Encoding]
) -> int:
    """Return the offset after the sequence delimitation item that ends what is opened."""
    stack = [opened]
    while stack:
        if len(stack) > MAX_DEPTH:
            raise _Doubt
        inside, encoding = stack[-1]
        if inside == _IN_ITEM:
            tag, vr, length, value = _read_header(window, position, encoding)
            if tag != _ITEM_END:
                if tag >> 16 == 0xFFFE:
                    raise _Doubt
                if length == _UNDEFINED:
                    stack.append(_open(tag, vr, encoding))
                    length = 0
            elif length:
                raise _Doubt
            else:
                stack.pop()
            position = value + length
        else:
            position = _step_over_item(window, position, stack)
        if position > window.size:
            raise _Doubt
    return position


def _step_over_item(window: _Window, position: int, stack: list[tuple[int, _Encoding]]) -> int:
    """Step over one item, into it if its length is undefined, or out of the sequence."""
    inside, encoding = stack[-1]
    buffer, index = window.take(position, 8, _ITEM_CHUNK)
    group, element, length = encoding.tag_length(buffer, index)
    tag: int = group << 16 | element
    if tag == _SEQUENCE_END and length == 0:
        stack.pop()
        return position + 8
    if tag != _ITEM:
        raise _Doubt
    if length == _UNDEFINED:
        if inside == _IN_FRAGMENTS:
            raise _Doubt
        stack.append((_IN_ITEM, encoding))
        length = 0
    return position + 8 + int(length)

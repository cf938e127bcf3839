"""What stands in the bytes of a data set, told without pydicom, which wrote them.

Only elements that may tell something are told, texts and UIDs, at any depth.

Source:
    PS3.5 §7.1 (elements), §7.5 (sequences), §A.4 (encapsulation).
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, error
from typing import NamedTuple

from lamella.archive import kinds
from lamella.archive.charsets import Decoder, find_decoder
from lamella.archive.kinds import Kind, UnknownVR

CODED_TEXTS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""VRs whose characters are of the data set's character set."""
TEXTS = CODED_TEXTS | {"AE", "AS", "CS", "UR"}
_TOLD = TEXTS | {"UI"}
_SINGLE = frozenset({"LT", "ST", "UR", "UT"})
PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float, double float and integer pixel data."""
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DEEPEST = 128

_SHORT = (Struct("<H").unpack_from, Struct(">H").unpack_from)
_LONG = (Struct("<I").unpack_from, Struct(">I").unpack_from)
_DELIMITER = (Struct("<HHI").unpack_from, Struct(">HHI").unpack_from)
_decode_default = find_decoder(b"")


class Odd(Exception):
    """The bytes are not as they are mostly written: another reader has to look."""


class Leaf(NamedTuple):
    """An element with its value.

    Attributes:
        path: Tags from the top down, as `00081115.0020000E`.
        tag: The last of them.
        vr: One of those that tell something.
        value: Its bytes.
        decode: Of the character set around it.
    """

    path: str
    tag: int
    vr: str
    value: bytes
    decode: Decoder

    def read(self) -> Sequence[str]:
        """Return its values as text."""
        decode = self.decode if self.vr in CODED_TEXTS else _decode_default
        text = decode(self.value)
        return (text,) if self.vr in _SINGLE else text.split("\\")


class LeafReader:
    """Reads one data set.

    Args:
        body: Its bytes, inflated.
        explicit: Whether elements have their VR.
        big: Whether it is big endian.

    Attributes:
        leaves: All that tell something, in order.
        pixels: Where pixel values stand at the top, as start and end.
    """

    def __init__(self, body: bytes, *, explicit: bool, big: bool) -> None:
        self.leaves: list[Leaf] = []
        self.pixels: list[tuple[int, int]] = []
        self._body = body
        self._explicit = explicit
        self._big = big
        self._table = kinds.EXPLICIT_KINDS[big] if explicit else kinds.IMPLICIT_KINDS
        self._width = 6 if explicit else 4

    def read(self) -> None:
        """Read all of it.

        Raises:
            Odd: There is something in it that another reader has to look at.
        """
        try:
            self._read_elements(0, len(self._body), "", _decode_default, 0)
        except (UnknownVR, error):
            raise Odd("an element is not as it should be") from None

    def _read_elements(
        self, position: int, stop: int, path: str, decode: Decoder, depth: int
    ) -> int:
        """Read elements up to `stop` or the end of their item; return where that is."""
        while position < stop:
            kind, length, position = self._read_head(position)
            _, key, vr, action, *_ = kind
            if action == kinds.DELIMITER:
                if kind.tag == _ITEM_END and depth:
                    return position
                raise Odd("a delimiter stands where none belongs")
            if action == kinds.SEQUENCE and vr == "SQ":
                position = self._read_items(position, length, f"{path}{key}.", decode, depth)
                continue
            if length and (action == kinds.PRIVATE or action == kinds.SEQUENCE):
                raise Odd("an element is in other bytes than its data set, or its VR is not known")
            end = position + length if length != _UNDEFINED else self._skip_fragments(position)
            if end > stop:
                raise Odd("a value leaves its data set")
            if vr in _TOLD:
                value = self._body[position:end]
                self.leaves.append(Leaf(path + key, kind.tag, vr, value, decode))
                if action == kinds.CHARSET:
                    decode = find_decoder(value)
            elif not depth and kind.tag in PIXELS:
                self.pixels.append((position, end))
            position = end
        return position

    def _read_head(self, position: int) -> tuple[Kind, int, int]:
        """Return what kind of element begins here, its value's length, and where that begins."""
        body, big = self._body, self._big
        head = body[position : position + self._width]
        kind = self._table.get(head) or self._classify(head)
        if not self._explicit or kind.action == kinds.DELIMITER:
            return kind, _LONG[big](body, position + 4)[0], position + 8
        if kind.long_header:
            return kind, _LONG[big](body, position + 8)[0], position + 12
        return kind, _SHORT[big](body, position + 6)[0], position + 8

    def _classify(self, head: bytes) -> Kind:
        if self._explicit:
            return kinds.classify_explicit(head, self._big)
        return kinds.classify_implicit(head)

    def _read_items(
        self, position: int, length: int, path: str, decode: Decoder, depth: int
    ) -> int:
        """Read a sequence's items; return where it ends."""
        if depth >= _DEEPEST:
            raise Odd("sequences are very deep")
        delimited = length == _UNDEFINED
        stop = len(self._body) if delimited else position + length
        while position < stop:
            group, element, length = _DELIMITER[self._big](self._body, position)
            position += 8
            tag = group << 16 | element
            if tag == _SEQUENCE_END and delimited:
                return position
            if tag != _ITEM:
                raise Odd("a sequence holds something other than items")
            end = stop if length == _UNDEFINED else position + length
            reached = self._read_elements(position, end, path, decode, depth + 1)
            if end > stop or (length != _UNDEFINED and reached != end):
                raise Odd("an item leaves its sequence")
            position = reached
        if delimited:
            raise Odd("a sequence has no end")
        return position

    def _skip_fragments(self, position: int) -> int:
        tag = _ITEM
        while tag == _ITEM:
            group, element, length = _DELIMITER[self._big](self._body, position)
            tag = group << 16 | element
            position += 8 + length
        if tag != _SEQUENCE_END:
            raise Odd("fragments are not in items")
        return position

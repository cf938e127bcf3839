"""What both ways of reading a data set write down: DICOM JSON, canonical form, bulk values.

Source:
    PS3.18 §F.2 (JSON model); PS3.3 §C.7.6.3.1.3 (signs), §C.11.1.1.1 (LUT Data).
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import Any, NamedTuple

from lamella.archive import canonical, kinds
from lamella.archive.canonical import Part, Span
from lamella.archive.charsets import Decoder, find_decoder
from lamella.archive.cut import CUT_TAGS
from lamella.archive.dictionary import find_private_vr
from lamella.archive.kinds import Kind
from lamella.archive.values import LITTLE_ENDIAN_ENCODERS, Encode, swap_words
from lamella.errors import InvalidInstance

Attributes = dict[str, dict[str, Any]]

MAX_DEPTH = 128
MAX_ELEMENTS = 2_000_000
"""Elements and items of one header; 100,000 frames described one by one have some 1,200,000."""
MAX_INFLATED_ELEMENTS = 100_000
"""The same of a deflated one, which a few kilobytes could make as long as they like."""

INLINE_BYTES = 1024
LONG_TEXT_BYTES = 1024 * 1024
PIXEL_DATA_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})


class BulkValue(NamedTuple):
    """Where a value lies that the JSON only points at.

    Attributes:
        offset_bytes: Start of the value field in the source that was parsed.
        length_bytes: Its length; with the sequence delimitation item if its length is undefined.
        vr: As in the JSON.
        encapsulated: Whether the value is fragments in items.
        word_bytes: Size of the words to swap to get little endian; 1 if none.
    """

    offset_bytes: int
    length_bytes: int
    vr: str
    encapsulated: bool
    word_bytes: int


class Scope:
    """What holds for the elements of one data set or item.

    Attributes:
        attributes: The JSON structure, keys in file order.
        parts: The canonical form.
        prefix: Bulk data path of the item, ending in a slash, or empty.
        decode: Decodes text.
        explicit: Whether elements carry a VR.
        depth: 0 for the data set itself.
        creators: Private creators by group and block.
        unsigned: Elements that are US or SS, waiting for Pixel Representation.
    """

    __slots__ = (
        "attributes", "creators", "decode", "depth", "explicit", "parts", "prefix", "unsigned",
    )  # fmt: skip

    def __init__(self, prefix: str, decode: Decoder, explicit: bool, depth: int) -> None:
        self.attributes: Attributes = {}
        self.parts: list[Part] = []
        self.prefix = prefix
        self.decode = decode
        self.explicit = explicit
        self.depth = depth
        self.creators: dict[int, str] = {}
        self.unsigned: list[tuple[dict[str, Any], bytes]] = []


class Recorder:
    """Collects what a parser reads.

    Attributes:
        bulk_values: What the JSON points at, by bulk data path (`54000100/0/54001010`).
        cut_values: The values of the cut tags at the top level, by tag.
        probing: While set, bulk values are not remembered.
        count: Elements and items of all data sets that are read to their end.
        max_count: How many there may be.
    """

    def __init__(self, big: bool, fallback_charset: str | None) -> None:
        self.big = big
        self.fallback_charset = fallback_charset
        self.probing = False
        self.count = 0
        self.max_count = MAX_ELEMENTS
        self.bulk_values: dict[str, BulkValue] = {}
        self.cut_values: dict[int, Span] = {}

    def open_data_set(self, explicit: bool) -> Scope:
        """Return the scope of the data set itself."""
        return Scope("", find_decoder(b"", self.fallback_charset), explicit, 0)

    def name_private(self, scope: Scope, kind: Kind) -> Kind:
        """Give a private element without a VR the one its creator's dictionary knows."""
        creator = scope.creators.get(kind.tag & 0xFFFF0000 | kind.tag >> 8 & 0xFF)
        vr = find_private_vr(kind.tag, creator) if creator else None
        return kinds.make_kind(kind.tag, vr or "UN", False, kind.long_header)

    def is_inline(self, kind: Kind, length: int) -> bool:
        """Return whether the JSON shows a bulk value of this length itself."""
        return length <= INLINE_BYTES and kind.tag not in PIXEL_DATA_TAGS

    def is_span(self, kind: Kind, length: int) -> bool:
        """Return whether a bulk value enters the canonical form by the digest of its place."""
        return length >= canonical.LONG_VALUE_BYTES or kind.tag in CUT_TAGS

    def add_value(self, scope: Scope, kind: Kind, value: bytes, start: int) -> None:
        """Record an element by its value.

        Args:
            scope: Where it stands.
            kind: Its kind; not one of a sequence or delimiter.
            value: Its bytes as they are in the file.
            start: Their offset in the source, for what the JSON points at.
        """
        words = swap_words(value, kind.word_bytes)
        if kind.padding != canonical.SILENT:
            scope.parts.append(canonical.encode_value(kind.packed_tag, words, kind.padding))
        scope.attributes[kind.key] = element = self._show(scope, kind, value, words, start)
        if kind.action == kinds.US_SS and value:
            scope.unsigned.append((element, words))
        elif kind.action == kinds.CHARSET:
            fallback = self.fallback_charset if scope.depth == 0 else None
            scope.decode = find_decoder(value, fallback)
        elif kind.action == kinds.CREATOR and len(element.get("Value", "")) == 1:
            block = kind.tag & 0xFFFF0000 | kind.tag & 0xFF
            scope.creators[block] = element["Value"][0] or ""

    def _show(
        self, scope: Scope, kind: Kind, value: bytes, words: bytes, start: int
    ) -> dict[str, Any]:
        if kind.action == kinds.US_SS:
            return {"vr": "US"}
        if kind.action == kinds.LUT and _has_one_entry(scope):
            return show_value("US", LITTLE_ENDIAN_ENCODERS["US"], words, scope.decode)
        if kind.encode is not None:
            return show_value(kind.vr, kind.encode, value, scope.decode)
        if not words or self.is_inline(kind, len(words)):
            return show_inline(kind.vr, words)
        return self.point_at(scope, kind, self._locate(kind, start, len(words)))

    def add_span(self, scope: Scope, kind: Kind, start: int, length: int) -> None:
        """Record an element with a value of defined length that is left where it lies."""
        word_bytes = _measure_words(scope, kind)
        self._add_span_part(scope, kind, Span(start, length, word_bytes))
        if length:
            value = BulkValue(start, length, kind.vr, False, word_bytes)
            shown = self.point_at(scope, kind, value)
        else:
            shown = {"vr": kind.vr}
        scope.attributes[kind.key] = shown

    def add_fragments(self, scope: Scope, kind: Kind, start: int, length: int) -> None:
        """Record an encapsulated value, whose length includes the delimitation item."""
        self._add_span_part(scope, kind, Span(start, length))
        vr = "OB" if kind.tag == 0x7FE00010 and not scope.explicit else kind.vr
        value = BulkValue(start, length, vr, True, 1)
        scope.attributes[kind.key] = self.point_at(scope, kind, value)

    def _add_span_part(self, scope: Scope, kind: Kind, span: Span) -> None:
        if kind.padding == canonical.SILENT:
            return
        scope.parts += [kind.packed_tag + canonical.LONG_MARK, span]
        if scope.depth == 0 and kind.tag in CUT_TAGS:
            self.cut_values[kind.tag] = span

    def _locate(self, kind: Kind, start: int, length: int) -> BulkValue:
        return BulkValue(start, length, kind.vr, False, kind.word_bytes)

    def point_at(self, scope: Scope, kind: Kind, value: BulkValue) -> dict[str, Any]:
        """Remember a bulk value and return the JSON object that points at it."""
        path = scope.prefix + kind.key
        if not self.probing:
            self.bulk_values[path] = value
        return {"vr": value.vr, "BulkDataURI": "bulkdata/" + path}

    def add_sequence(self, scope: Scope, kind: Kind, items: list[Attributes]) -> None:
        """Record a sequence's items in the JSON; their canonical form is there already."""
        scope.attributes[kind.key] = {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}

    def open_item(self, scope: Scope, kind: Kind, item_index: int) -> Scope:
        """Return the scope of a sequence's item."""
        prefix = f"{scope.prefix}{kind.key}/{item_index}/"
        return Scope(prefix, scope.decode, scope.explicit, scope.depth + 1)

    def check_count(self, scope: Scope) -> None:
        """Stop reading before a header made of nothing but elements fills the memory.

        Raises:
            InvalidInstance: There are more than `max_count`.
        """
        if self.count + len(scope.attributes) > self.max_count:
            raise InvalidInstance(f"The header has more than {self.max_count:,} elements.")

    def close_item(self, item: Scope, scope: Scope) -> Attributes:
        """Finish an item: decide signs, append its canonical form to its data set's.

        Raises:
            InvalidInstance: The header has too many elements.
        """
        self.check_count(item)
        self.count += 1 + len(item.attributes)
        self.resolve_signs(item, scope)
        scope.parts.append(canonical.ITEM_START)
        scope.parts += item.parts
        scope.parts.append(canonical.ITEM_END)
        return item.attributes

    def resolve_signs(self, scope: Scope, parent: Scope | None) -> None:
        """Decide US or SS by the nearest Pixel Representation; without any it is US."""
        if not scope.unsigned:
            return
        representation = scope.attributes.get("00280103", {}).get("Value")
        if representation is None and parent is not None:
            parent.unsigned += scope.unsigned
            return
        vr = "SS" if representation and representation[0] == 1 else "US"
        for element, words in scope.unsigned:
            element.update(show_value(vr, LITTLE_ENDIAN_ENCODERS[vr], words, scope.decode))


def _measure_words(scope: Scope, kind: Kind) -> int:
    """Return the size of a value's words; pixels of 32 and 64 bits are such words themselves.

    PS3.5 §8.1.1 calls Pixel Data OW, whose words have 16 bits, but big-endian writers swap whole
    pixels, and readers (pydicom is one) expect that.
    """
    if kind.tag == 0x7FE00010 and kind.word_bytes > 1:
        bits = (scope.attributes.get("00280100", {}).get("Value") or [0])[0]
        return {32: 4, 64: 8}.get(bits, kind.word_bytes)
    return kind.word_bytes


def _has_one_entry(scope: Scope) -> bool:
    """Whether LUT Descriptor, whose own sign may still be open, announces a single entry."""
    descriptor = scope.attributes.get("00283002", {})
    if (descriptor.get("Value") or [None])[0] == 1:
        return True
    waiting = (words for element, words in scope.unsigned if element is descriptor)
    return any(words[:2] == b"\1\0" for words in waiting)


def show_value(vr: str, encode: Encode, value: bytes, decode: Decoder) -> dict[str, Any]:
    """Return the JSON object of an element whose values are shown one by one.

    Bytes that are no value of the VR are shown as UN.
    """
    try:
        values = encode(value, decode)
    except ValueError:
        return show_inline("UN", value)
    return {"vr": vr} if values is None else {"vr": vr, "Value": values}


def show_inline(vr: str, value: bytes) -> dict[str, Any]:
    """Return the JSON object of an element whose bytes are shown in base64."""
    if not value:
        return {"vr": vr}
    return {"vr": vr, "InlineBinary": b2a_base64(value, newline=False).decode("ascii")}

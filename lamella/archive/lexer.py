"""The header path: from the bytes of a data set straight to its DICOM JSON structure.

One pass, `struct` over a buffer that is refilled where values are skipped, no pydicom data set.
Whatever a conforming writer would not have written raises `Odd`, and the caller lets pydicom read
the file instead: this path is for the files that are as they should be, and has to be sure there.

Values that JSON will only point at are skipped and remembered by their bulk data path, so memory
is flat in their size.

Source:
    PS3.5 §7.1 (elements), §7.5 (sequences), §6.2.2 (UN), §A.4 (encapsulation); PS3.18 §F.2.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Any

from lamella.archive import canonical, kinds
from lamella.archive.canonical import Span
from lamella.archive.charsets import Decoder
from lamella.archive.kinds import Kind, UnknownVR
from lamella.archive.recorder import (
    LONG_TEXT_BYTES,
    MAX_DEPTH,
    PIXEL_DATA_TAGS,
    Attributes,
    Recorder,
    Scope,
    show_inline,
)
from lamella.archive.source import ByteSource
from lamella.archive.values import swap_words
from lamella.errors import InvalidInstance

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_CHUNK_BYTES = 64 * 1024
_FRAGMENT_CHUNK_BYTES = 4 * 1024

_LENGTH_16 = (Struct("<H").unpack_from, Struct(">H").unpack_from)
_LENGTH_32 = (Struct("<I").unpack_from, Struct(">I").unpack_from)
_TAG_LENGTH = (Struct("<HHI").unpack_from, Struct(">HHI").unpack_from)


_MEMO_BYTES = 128
_MEMO_ELEMENTS = 4096

Memo = dict[bytes, tuple[int, str, dict[str, Any], bytes]]


@lru_cache(maxsize=8)
def find_memo(decode: Decoder) -> Memo:
    """Return what short plain elements are read as, by their bytes in explicit little endian.

    Most elements of an instance are those of the instance before it. What is kept is in many
    attributes at once, so nobody may change it.

    Args:
        decode: Of the character set of their text.
    """
    return {}


class Odd(Exception):
    """The bytes are not as a conforming writer would have written them."""


class Lexer(Recorder):
    """Reads one data set from a source.

    Args:
        source: What holds the data set.
        position: Where it begins.
        big: Whether it is big endian.
        fallback_charset: Character set of text if the data set declares none.
    """

    def __init__(
        self, source: ByteSource, position: int, big: bool, fallback_charset: str | None = None
    ) -> None:
        super().__init__(big, fallback_charset)
        self._source = source
        self._size = source.size
        self._buffer = b""
        self._base = position
        self._position = position

    def read(self, explicit: bool) -> Scope:
        """Read the data set to the end of the source.

        Raises:
            Odd: The bytes are not as they should be; nothing is known about the file then.
            InvalidInstance: Sequences are nested deeper than 128 levels, or there are too many
                elements.
        """
        if self._position + 8 <= self._size:
            head = self._peek(8)
            if head[:2] == b"\0\0" or (not explicit and _is_vr(head[4:6])):
                raise Odd("the data set is not in the transfer syntax that the file names")
        scope = self.open_data_set(explicit)
        self._read_elements(scope, self._size, delimited=False)
        self.resolve_signs(scope, None)
        return scope

    def _fill(self, position: int, length: int, chunk: int = _CHUNK_BYTES) -> None:
        """Make `length` bytes from `position` available in the buffer."""
        self._buffer = self._source.read_at(position, max(length, chunk))
        self._base = position
        if len(self._buffer) < length:
            raise Odd("the file ends inside an element")

    def _peek(self, length: int) -> bytes:
        index = self._position - self._base
        if index < 0 or index + length > len(self._buffer):
            self._fill(self._position, length)
            index = 0
        return self._buffer[index : index + length]

    def _take(self, length: int) -> bytes:
        """Return the next `length` bytes and step over them."""
        taken = self._peek(length)
        self._position += length
        return taken

    def _classify(self, head: bytes, explicit: bool) -> Kind:
        try:
            return (
                kinds.classify_explicit(head, self.big)
                if explicit
                else (kinds.classify_implicit(head))
            )
        except UnknownVR:
            raise Odd("an element's VR is unknown") from None

    def _read_elements(self, scope: Scope, stop: int, delimited: bool) -> None:
        """Read elements up to `stop`, or up to the item delimitation item.

        The hot loop of every store: longer than functions should be, because a call per element
        would cost as much as the element. It keeps buffer and position in local variables, reads
        plain values itself and hands everything else to `_read_special`.
        """
        explicit, decode = scope.explicit, scope.decode
        keeps = explicit and not self.big
        memo = find_memo(decode)
        attributes, parts = scope.attributes, scope.parts
        table = kinds.EXPLICIT_KINDS[self.big] if explicit else kinds.IMPLICIT_KINDS
        width = 6 if explicit else 4
        length_16, length_32 = _LENGTH_16[self.big], _LENGTH_32[self.big]
        encode_part = canonical.encode_value
        plain, delimiter, unknown = kinds.VALUE, kinds.DELIMITER, canonical.UNKNOWN
        buffer, base = self._buffer, self._base
        available, index = len(buffer), self._position - base
        last_tag = -1
        while base + index < stop:
            if index + 12 > available and base + available < self._size:
                self._fill(base + index, 8)
                self.check_count(scope)
                buffer, base = self._buffer, self._base
                available, index = len(buffer), 0
            if index + 8 > available:
                raise Odd("a few bytes are left over")
            whole = None
            if keeps:
                end = index + 8 + length_16(buffer, index + 6)[0]
                if end - index <= _MEMO_BYTES and end <= available and base + end <= stop:
                    whole = buffer[index:end]
                    known = memo.get(whole)
                    if known is not None:
                        tag, key, shown, part = known
                        if tag <= last_tag:
                            raise Odd("tags do not ascend")
                        last_tag = tag
                        parts.append(part)
                        attributes[key] = shown
                        index = end
                        continue
            head = buffer[index : index + width]
            kind = table.get(head) or self._classify(head, explicit)
            tag, key, vr, action, encode, long_header, packed_tag, padding, word_bytes = kind
            if not explicit or action == delimiter:
                length = length_32(buffer, index + 4)[0]
                index += 8
            elif long_header:
                if index + 12 > available:
                    raise Odd("the file ends inside an element")
                length = length_32(buffer, index + 8)[0]
                index += 12
            else:
                length = length_16(buffer, index + 6)[0]
                index += 8
            if tag <= last_tag:
                raise Odd("tags do not ascend")
            last_tag = tag
            if action == plain and length < LONG_TEXT_BYTES:
                end = index + length
                if base + end > stop:
                    raise Odd("a value leaves its data set")
                if end > available:
                    self._fill(base + index, length)
                    buffer, base = self._buffer, self._base
                    available, index, end = len(buffer), 0, length
                value = buffer[index:end]
                index = end
                words = swap_words(value, word_bytes) if word_bytes > 1 else value
                part = encode_part(packed_tag, words, padding)
                parts.append(part)
                try:
                    values = encode(value, decode)  # type: ignore[misc]  # plain kinds have one
                    shown = {"vr": vr} if values is None else {"vr": vr, "Value": values}
                except ValueError:
                    shown = show_inline("UN", value)
                attributes[key] = shown
                if whole is not None and not long_header and padding != unknown:
                    if len(memo) >= _MEMO_ELEMENTS:
                        memo.clear()
                    memo[whole] = tag, key, shown, part
                if padding != unknown or value[:4] != canonical.ITEM_START:
                    continue
                self._position = base + index
                self._probe_items(scope, kind, base + index - length)
            else:
                self._position = base + index
                if action == delimiter:
                    if delimited and tag == _ITEM_END:
                        return
                    raise Odd("a delimiter stands where none belongs")
                if length != _UNDEFINED and self._position + length > stop:
                    raise Odd("a value leaves its data set")
                self._read_special(scope, kind, length)
                if scope.decode is not decode:
                    decode = scope.decode
                    memo = find_memo(decode)
            buffer, base = self._buffer, self._base
            available, index = len(buffer), self._position - base
        self._position = base + index
        if delimited:
            raise Odd("an item has no end")

    def _read_special(self, scope: Scope, kind: Kind, length: int) -> None:
        """Read the value of an element that is more than a few plain values."""
        start = self._position
        big = self.big
        if kind.action == kinds.PRIVATE or kind.vr == "UN":
            self.big = False  # inside UN everything is little endian
        if kind.action == kinds.PRIVATE:
            kind = self.name_private(scope, kind)
        if length == _UNDEFINED:
            self._read_undefined(scope, kind)
        elif kind.action == kinds.SEQUENCE:
            self._read_sequence(scope, kind, start + length)
        elif kind.action == kinds.SILENT:
            self._position += length
        else:
            self._read_bytes(scope, kind, start, length)
        self.big = big

    def _read_bytes(self, scope: Scope, kind: Kind, start: int, length: int) -> None:
        if length >= LONG_TEXT_BYTES or (kind.action == kinds.BULK and self.is_span(kind, length)):
            self._position += length
            self.add_span(scope, kind, start, length)
        else:
            self.add_value(scope, kind, self._take(length), start)
        self._probe_items(scope, kind, start)

    def _probe_items(self, scope: Scope, kind: Kind, start: int) -> None:
        """Let a value that turns out to be implicit VR items count as a sequence.

        Only the canonical form changes: the JSON shows the bytes, as pydicom does.
        """
        stop = self._position
        if kind.padding != canonical.UNKNOWN or stop - start < 8:
            return
        mark = 2 if isinstance(scope.parts[-1], Span) else 1
        kept = self._buffer, self._base, self.probing, self.big
        self.probing, self.big, self._position = True, False, start
        try:
            if self._peek(4) == canonical.ITEM_START:
                inner = Scope("", scope.decode, False, scope.depth)
                self._read_items(inner, kind, stop)
                scope.parts[-mark:] = inner.parts
        except (Odd, InvalidInstance):
            pass  # then it is what it was before: a value of unknown meaning
        finally:
            self._buffer, self._base, self.probing, self.big = kept
            self._position = stop

    def _read_undefined(self, scope: Scope, kind: Kind) -> None:
        """Read a value that ends in a sequence delimitation item."""
        if kind.action == kinds.SEQUENCE or kind.vr == "UN":
            self._read_sequence(scope, kind, None)
        elif kind.vr in {"OB", "OW"} and (scope.explicit or kind.tag in PIXEL_DATA_TAGS):
            self._skip_fragments(scope, kind)
        else:
            raise Odd("an undefined length stands where none belongs")

    def _skip_fragments(self, scope: Scope, kind: Kind) -> None:
        """Step over encapsulated fragments, item by item."""
        start = self._position
        tag = _ITEM
        while tag == _ITEM:
            index = self._position - self._base
            if index < 0 or index + 8 > len(self._buffer):
                self._fill(self._position, 8, _FRAGMENT_CHUNK_BYTES)
                index = 0
            group, element, length = _TAG_LENGTH[self.big](self._buffer, index)
            tag = group << 16 | element
            self._position += 8
            if tag == _ITEM:
                self._position += length
                if self._position > self._size:
                    raise Odd("a fragment leaves the file")
        if tag != _SEQUENCE_END:
            raise Odd("fragments are not in items")
        self.add_fragments(scope, kind, start, self._position - start)

    def _read_sequence(self, scope: Scope, kind: Kind, stop: int | None) -> None:
        self.add_sequence(scope, kind, self._read_items(scope, kind, stop))

    def _read_items(self, scope: Scope, kind: Kind, stop: int | None) -> list[Attributes]:
        """Read the items of a sequence up to `stop`, or up to its delimitation item."""
        if scope.depth >= MAX_DEPTH:
            raise InvalidInstance(f"Sequences are nested deeper than {MAX_DEPTH} levels.")
        items: list[Attributes] = []
        scope.parts.append(kind.packed_tag + canonical.SEQUENCE_MARK)
        limit = self._size if stop is None else stop
        while self._position < limit:
            group, element, length = _TAG_LENGTH[self.big](self._take(8))
            tag = group << 16 | element
            if tag == _SEQUENCE_END and stop is None:
                break
            end = limit if length == _UNDEFINED else self._position + length
            if tag != _ITEM or end > limit:
                raise Odd("a sequence holds something other than items")
            item = self.open_item(scope, kind, len(items))
            if item.explicit and self._position + 8 <= end:
                item.explicit = self._is_explicit_item()
            self._read_elements(item, end, delimited=length == _UNDEFINED)
            items.append(self.close_item(item, scope))
        else:
            if stop is None:
                raise Odd("a sequence has no end")
        scope.parts.append(canonical.SEQUENCE_END)
        return items

    def _is_explicit_item(self) -> bool:
        """Whether an item of an explicit data set is explicit too (PS3.5 §6.2.2: not inside UN)."""
        head = self._peek(8)
        if _is_vr(head[4:6]) or head[:2] in (b"\xfe\xff", b"\xff\xfe"):
            return True
        if self.big:
            raise Odd("an implicit item stands in a big-endian file")
        return False


def _is_vr(head: bytes) -> bool:
    return head.isalpha() and head.isupper()

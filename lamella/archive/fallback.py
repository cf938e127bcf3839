"""Reading with pydicom what the header path finds odd, into the same records.

pydicom gives the structure and the VRs; values go through the same encoders as on the header path.
Values of 64 KiB and more are left where they lie. pydicom's settings and Python's warnings belong
to the whole process, so one file is read at a time.

Source:
    pydicom 3.0: `filereader`, `hooks`, `values`.
"""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset
from pydicom.hooks import raw_element_vr
from pydicom.values import convert_SQ

from lamella.archive import canonical, kinds
from lamella.archive.kinds import Kind
from lamella.archive.recorder import (
    LONG_TEXT_BYTES,
    MAX_DEPTH,
    Attributes,
    Recorder,
    Scope,
)
from lamella.archive.values import is_uid
from lamella.errors import InvalidInstance

if TYPE_CHECKING:
    from lamella.archive.source import ByteSource

_UNDEFINED = 0xFFFFFFFF
_DEFER_BYTES = canonical.LONG_VALUE_BYTES - 1
_SEARCH_BYTES = 1024 * 1024
_MAX_READS = 500_000
"""pydicom takes one to three reads for an element, and some microseconds for each."""
_MAX_ITEMS = 50_000
"""Items of sequences that pydicom reads: each is a Dataset of a kilobyte or more."""
_ITEM_MARKS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_one_reader = threading.Lock()


class _File:
    """A source as the file object pydicom reads; never allocates more than there is."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._position = 0
        self._buffer = b""
        self._base = 0
        self._left = _MAX_READS
        self._items_left = _MAX_ITEMS

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self._position, self._source.size)[whence]
        self._position = max(0, start + offset)
        return self._position

    def read(self, length: int = -1) -> bytes:
        self._left -= 1
        if self._left < 0 or self._items_left < 0:
            raise InvalidInstance("The header has too many elements for a damaged one.")
        left = max(0, self._source.size - self._position)
        length = left if length is None or length < 0 else min(length, left)
        index = self._position - self._base
        if index < 0 or index + length > len(self._buffer):
            self._buffer = self._source.read_at(
                self._position, max(length, canonical.LONG_VALUE_BYTES)
            )
            self._base, index = self._position, 0
        self._position += length
        taken = self._buffer[index : index + length]
        if taken[:4] in _ITEM_MARKS:
            self._items_left -= 1
        return taken


class Fallback(Recorder):
    """Records what pydicom reads.

    Args:
        source: What holds the data set.
        big: Whether words are big endian.
        fallback_charset: Character set of text if the data set declares none.
    """

    def __init__(self, source: ByteSource, big: bool, fallback_charset: str | None) -> None:
        super().__init__(big, fallback_charset)
        self._source = source

    def read(self, ds: Any) -> Scope:
        """Record a pydicom data set that was read from the source with deferred values.

        Raises:
            InvalidInstance: An element cannot be read, or sequences are nested too deep.
        """
        scope = self.open_data_set(not ds.original_encoding[0])
        self._read_data_set(ds, scope, 0)
        self.resolve_signs(scope, None)
        return scope

    def _read_data_set(self, ds: Any, scope: Scope, base: int) -> None:
        elements = dict(ds.items())
        for tag in sorted(elements):
            element = elements[tag]
            if isinstance(element, RawDataElement):
                self._read_raw(ds, scope, element, base)
            elif element.VR == "SQ":  # of undefined length
                kind = kinds.make_kind(int(tag), "SQ", self.big, True)
                self._read_sequence(scope, kind, element.value, base)
            else:  # Specific Character Set, which pydicom needs itself
                kind = kinds.make_kind(int(tag), str(element.VR), False, True)
                terms = [element.value] if element.VM < 2 else element.value
                value = "\\".join(str(term or "") for term in terms).encode("latin-1", "replace")
                self.add_value(scope, kind, value, base)

    def _read_raw(self, ds: Any, scope: Scope, raw: Any, base: int) -> None:
        kind = self._name(ds, raw)
        start = base + raw.value_tell
        if kind.action == kinds.SILENT:
            return
        if raw.length == _UNDEFINED:
            self.add_fragments(scope, kind, start, self._measure(raw, start))
            return
        length = min(raw.length, self._source.size - start) if raw.value is None else len(raw.value)
        if kind.action == kinds.SEQUENCE:
            value = raw.value if raw.value is not None else self._source.read_at(start, length)
            if value and value.count(_ITEM_MARKS[self.big]) > _MAX_ITEMS:
                raise InvalidInstance("The header has too many items for a damaged one.")
            sequence = convert_SQ(value or b"", raw.is_implicit_VR, raw.is_little_endian)
            self._read_sequence(scope, kind, sequence, start)
        elif length >= LONG_TEXT_BYTES or (
            kind.action == kinds.BULK and self.is_span(kind, length)
        ):
            self.add_span(scope, kind, start, length)
        else:
            value = raw.value if raw.value is not None else self._source.read_at(start, length)
            self.add_value(scope, kind, value or b"", start)

    def _name(self, ds: Any, raw: Any) -> Kind:
        data: dict[str, Any] = {}
        raw_element_vr(raw, data, ds=ds)
        vr = str(data["VR"])
        if raw.length == _UNDEFINED and vr == "OB or OW":
            vr = "OB"  # PS3.5 §A.4: what is encapsulated is OB
        if vr not in kinds.KNOWN_VRS and " or " not in vr:
            raise InvalidInstance(f"Element {raw.tag} has an unknown value representation.")
        return kinds.make_kind(int(raw.tag), vr, self.big and raw.VR != "UN", True)

    def _measure(self, raw: Any, start: int) -> int:
        """Return the length of a value through its sequence delimitation item."""
        if raw.value is not None:
            return len(raw.value) + 8
        mark = b"\xff\xfe\xe0\xdd" if self.big else b"\xfe\xff\xdd\xe0"
        position = start
        while position < self._source.size:
            found = self._source.read_at(position, _SEARCH_BYTES).find(mark)
            if found >= 0:
                return position + found + 8 - start
            position += _SEARCH_BYTES - len(mark) + 1
        raise InvalidInstance("An encapsulated value has no end.")

    def _read_sequence(self, scope: Scope, kind: Kind, sequence: Any, base: int) -> None:
        if scope.depth >= MAX_DEPTH:
            raise InvalidInstance(f"Sequences are nested deeper than {MAX_DEPTH} levels.")
        items: list[Attributes] = []
        scope.parts.append(kind.packed_tag + canonical.SEQUENCE_MARK)
        for ds in sequence:
            item = self.open_item(scope, kind, len(items))
            self._read_data_set(ds, item, base)
            items.append(self.close_item(item, scope))
        scope.parts.append(canonical.SEQUENCE_END)
        self.add_sequence(scope, kind, items)


def read_with_pydicom(
    source: ByteSource, *, inflated: bool, fallback_charset: str | None
) -> tuple[Fallback, Scope, str]:
    """Read a file, or the inflated data set of one, with pydicom.

    Args:
        source: The whole file; or the data set alone if it was deflated.
        inflated: Which of the two.
        fallback_charset: Character set of text if the data set declares none.

    Returns:
        The records, the data set's scope, and the transfer syntax: what the file names, else what
        its encoding shows; '' for an inflated data set.

    Raises:
        InvalidInstance: pydicom cannot read it either; with a reason in one sentence.
    """
    try:
        with _one_reader, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file: Any = _File(source)
            if inflated:
                ds: Any = read_dataset(file, False, True, defer_size=_DEFER_BYTES)
                transfer_syntax_uid = ""
            else:
                ds = dcmread(file, defer_size=_DEFER_BYTES)
                transfer_syntax_uid = _name_transfer_syntax(ds)
            fallback = Fallback(source, ds.original_encoding[1] is False, fallback_charset)
            return fallback, fallback.read(ds), transfer_syntax_uid
    except InvalidInstance:
        raise
    except RecursionError:
        raise InvalidInstance(f"Sequences are nested deeper than {MAX_DEPTH} levels.") from None
    except Exception as error:  # garbage makes pydicom raise anything
        name = type(error).__name__
        raise InvalidInstance(f"The data set cannot be read ({name}).") from error


def _name_transfer_syntax(ds: Any) -> str:
    named = str(ds.file_meta.get("TransferSyntaxUID", "") or "").strip(" \0")
    if is_uid(named):
        return named
    implicit, little = ds.original_encoding
    if implicit:
        return "1.2.840.10008.1.2"
    return "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"

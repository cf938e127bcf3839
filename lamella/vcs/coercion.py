"""Instances changed on their way in as their dataset's policy asks, at every door alike.

What stood there before is kept in the instance itself, in an item of its Original Attributes
Sequence. Nothing else changes, but that what came in Implicit VR Little Endian or Explicit VR Big
Endian is kept in Explicit VR Little Endian; the bytes of pixels stay.

Source:
    PS3.3 §C.12.1.1.9 (Original Attributes Macro); PS3.4 Table B.2-1 (0xB000).
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Any

import msgspec
from pydicom.charset import convert_encodings, encode_string
from pydicom.datadict import dictionary_VR, keyword_for_tag

from lamella.archive.charsets import find_decoder
from lamella.archive.coercions import First
from lamella.archive.facts import read_facts
from lamella.archive.header import Header, read_header
from lamella.archive.source import ByteSource
from lamella.errors import IntegrityError, InvalidInstance
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
from lamella.imaging.explicit import read_file_meta, read_pieces
from lamella.vcs.coercion_rules import Rule, Texts, apply_rules, read_policy
from lamella.vcs.refs import DatasetRow

ORIGINAL_ATTRIBUTES = 0x04000561
MODIFYING_SYSTEM = "Lamella"
REASON = "COERCE"

_CHARSET = 0x00080005
_EXPLICIT = "1.2.840.10008.1.2.1"
_REWRITTEN = {
    "1.2.840.10008.1.2": _EXPLICIT,
    "1.2.840.10008.1.2.2": _EXPLICIT,
    "1.2.840.10008.1.2.1.99": _EXPLICIT,
    "1.2.840.10008.1.2.4.95": "1.2.840.10008.1.2.4.94",
    "1.2.840.10008.1.2.4.205": "1.2.840.10008.1.2.4.204",
}
"""What data sets are kept in that are not encoded in Explicit VR Little Endian, or deflated."""
_LONGEST_KEPT_BYTES = 1 << 20
_OPEN_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED_LENGTH)
_CLOSE_ITEM = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
_CLOSE_SEQUENCE = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")

Piece = bytes | Span


@dataclass(frozen=True, slots=True)
class PolicyCoercer:
    """Changes instances by the rules for one sender."""

    dataset_id: int
    sender: str
    rules: tuple[Rule, ...]

    def plan(self, source: ByteSource) -> PlannedCoercion | None:
        """Return how an instance is to be changed; None if it stays as it is.

        Raises:
            InvalidInstance: It cannot be read, or cannot be changed as it should.
        """
        header = read_header(source)
        charset = "" if _read_charset(header) else _find_charset(self.rules)
        if charset:
            header = read_header(source, fallback_charset=charset.partition("\\")[0])
        old = _read_texts(header.attributes)
        new = apply_rules(self.rules, old)
        changes = {tag: text for tag, text in new.items() if text != old.get(tag, "")}
        if not changes and not charset:
            return None
        content = read_facts(source).content_digest
        digest = sha256(content + msgspec.msgpack.encode(self.rules)).digest()
        return PlannedCoercion(digest, _DataSet.open(source, header), changes, charset)


def make_coercer(dataset: DatasetRow, sender: str) -> PolicyCoercer | None:
    """Return what changes a sender's instances in a dataset; None if nothing does."""
    rules = tuple(
        rule for rule in read_policy(dataset.coercion) if fnmatchcase(sender, rule.sender)
    )
    return PolicyCoercer(dataset.id, sender, rules) if rules else None


def describe_coercion(keywords: Sequence[str]) -> str:
    """Return a sentence on what was changed; '' for nothing."""
    return f"Coerced: {', '.join(keywords)}." if keywords else ""


@dataclass(frozen=True, slots=True)
class PlannedCoercion:
    """How one instance is to be changed.

    Attributes:
        digest: Of its content and the rules.
        changes: New values by tag; '' where an attribute goes.
        charset: What it is declared to be encoded in from now on; '' for what it was.
    """

    digest: bytes
    data_set: _DataSet
    changes: Texts
    charset: str

    @property
    def keywords(self) -> tuple[str, ...]:
        """The attributes that change."""
        tags = sorted({*self.changes, *([_CHARSET] if self.charset else [])})
        return tuple(keyword_for_tag(tag) for tag in tags)

    def write(self, first: First) -> Iterator[bytes]:
        """Yield the changed file.

        Raises:
            InvalidInstance: A new value cannot be written in the instance's character set, or
                the instance is damaged.
        """
        try:
            yield from read_pieces(self.data_set.source, self._write(first))
        except IntegrityError as error:
            raise InvalidInstance("The instance is damaged, so it cannot be coerced.") from error

    def _write(self, first: First) -> Iterator[Piece]:
        new = {
            tag: _encode_text(tag, text, self.charset or self.data_set.charset)
            for tag, text in self.changes.items()
        }
        if self.charset:
            new[_CHARSET] = _encode_text(_CHARSET, self.charset, "")
        item = _write_item(self.data_set.read_old(new), first)
        earlier = self.data_set.read_earlier()
        new[ORIGINAL_ATTRIBUTES] = _open_sequence(ORIGINAL_ATTRIBUTES) + b"".join(
            [earlier, item, _CLOSE_SEQUENCE]
        )
        yield self.data_set.meta
        yield from self.data_set.replace(new)


@dataclass(frozen=True, slots=True)
class _DataSet:
    """The data set of a file, element by element.

    Attributes:
        source: What its spans lie in: the file, or what it inflates to.
        start: Where it begins.
        meta: Preamble and file meta that go before it from now on.
        encoding: What it is encoded in.
        charset: Its Specific Character Set; '' for none.
    """

    source: ByteSource
    start: int
    meta: bytes
    encoding: Encoding
    charset: str

    @classmethod
    def open(cls, source: ByteSource, header: Header) -> _DataSet:
        """Return the data set of a Part 10 file.

        Raises:
            InvalidInstance: Its file meta are damaged.
        """
        uid = header.transfer_syntax_uid
        target = _REWRITTEN.get(uid, uid)
        try:
            meta = read_file_meta(source, target)
        except IntegrityError as error:
            detail = "The file meta information is damaged, so the instance cannot be coerced."
            raise InvalidInstance(detail) from error
        head = source.read_at(0, meta.end_bytes) if target == uid else meta.rewritten
        start = 0 if header.deflated else meta.end_bytes
        declared = NATIVE_ENCODINGS.get(uid, Encoding())
        encoding = find_encoding(header.source, start, declared)
        return cls(header.source, start, head, encoding, _read_charset(header))

    def read_old(self, new: Mapping[int, bytes]) -> list[bytes]:
        """Return the elements that others take the place of, empty where there was none."""
        found = self._collect(new)
        return [found.get(tag) or _encode_empty(tag) for tag in sorted(new)]

    def read_earlier(self) -> bytes:
        """Return the items of an Original Attributes Sequence that is there already."""
        found = self._collect({ORIGINAL_ATTRIBUTES: b""}).get(ORIGINAL_ATTRIBUTES, b"")
        head = _open_sequence(ORIGINAL_ATTRIBUTES)
        return found.removeprefix(head).removesuffix(_CLOSE_SEQUENCE) if found else b""

    def replace(self, new: Mapping[int, bytes]) -> Iterator[Piece]:
        """Yield the data set with other elements."""
        encoder = self._encode(new)
        yield from encoder.pieces()
        if encoder.stopped_at is not None:
            yield encode_element(PIXEL_DATA, "OB", b"")[:8] + struct.pack("<L", UNDEFINED_LENGTH)
            yield Span(encoder.stopped_at, self.source.size - encoder.stopped_at)

    def _collect(self, tags: Mapping[int, bytes]) -> dict[int, bytes]:
        """Return elements of the data set, encoded."""
        found: dict[int, bytearray] = {}
        for tag, piece in self._encode({}).tagged_pieces():
            if tag > max(tags):
                break
            if tag in tags:
                value = found.setdefault(tag, bytearray())
                if len(value) + len(piece) > _LONGEST_KEPT_BYTES:
                    raise InvalidInstance("An original attribute is too long to be coerced.")
                value += piece if isinstance(piece, bytes) else self._read(piece)
        return {tag: bytes(value) for tag, value in found.items()}

    def _read(self, span: Span) -> bytes:
        return b"".join(read_pieces(self.source, [span]))

    def _encode(self, new: Mapping[int, bytes]) -> Reencoder:
        return Reencoder(self.source, self.start, self.encoding, new, stops_at_pixels=True)


def _read_charset(header: Header) -> str:
    """Return the character set that a data set declares; '' for none."""
    values = header.attributes.get("00080005", {}).get("Value") or []
    return "\\".join(value or "" for value in values)


def _find_charset(rules: Sequence[Rule]) -> str:
    """Return what instances without a character set are in, by the first rule that says so."""
    return next((rule.charset for rule in rules if rule.charset), "")


def _read_texts(data_set: Mapping[str, Mapping[str, Any]]) -> Texts:
    """Return the values of a data set that rules can look at."""
    return {
        int(key, 16): "\\".join(map(_read_text, element["Value"]))
        for key, element in data_set.items()
        if element["vr"] != "SQ" and "Value" in element
    }


def _read_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "=".join(value.get(name, "") for name in _NAME_GROUPS).rstrip("=")
    return "" if value is None else str(value)


def _encode_text(tag: int, text: str, charset: str) -> bytes:
    """Return an element in a character set; b'' where it goes.

    Raises:
        InvalidInstance: The character set cannot say it.
    """
    if not text:
        return b""
    vr = dictionary_VR(tag)
    value = _encode_string(vr, text, charset)
    if find_decoder(charset.encode("ascii", "replace"))(value) != text:
        detail = f"{keyword_for_tag(tag)} cannot be coerced in the instance's character set."
        raise InvalidInstance(detail)
    return encode_element(tag, vr, value + b" " * (len(value) % 2))


def _encode_string(vr: str, text: str, charset: str) -> bytes:
    """Return text in a character set, with question marks for what that cannot say."""
    if text.isascii() or not charset:
        return text.encode("ascii", "replace")
    parts = text.split("=") if vr == "PN" else [text]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about question marks, which the caller sees
        encodings = convert_encodings(charset.split("\\"))
        return b"=".join(encode_string(part, encodings) for part in parts)


def _encode_empty(tag: int) -> bytes:
    return encode_element(tag, dictionary_VR(tag), b"")


def _open_sequence(tag: int) -> bytes:
    return encode_element(tag, "SQ", b"")[:8] + struct.pack("<L", UNDEFINED_LENGTH)


def _write_item(old: Sequence[bytes], first: First) -> bytes:
    """Return an item of the Original Attributes Sequence."""
    time = datetime.fromtimestamp(first.time_us // 1_000_000, UTC)
    stamp = f"{time:%Y%m%d%H%M%S}.{first.time_us % 1_000_000:06d}+0000"
    return b"".join(
        [
            _OPEN_ITEM,
            _open_sequence(0x04000550),
            *(_OPEN_ITEM, *old, _CLOSE_ITEM, _CLOSE_SEQUENCE),
            _encode_plain(0x04000562, "DT", stamp),
            _encode_plain(0x04000563, "LO", MODIFYING_SYSTEM),
            _encode_plain(0x04000564, "LO", first.sender[:64]),
            _encode_plain(0x04000565, "CS", REASON),
            _CLOSE_ITEM,
        ]
    )


def _encode_plain(tag: int, vr: str, text: str) -> bytes:
    value = text.encode("ascii", "replace").replace(b"\\", b"/")
    return encode_element(tag, vr, value + b" " * (len(value) % 2))

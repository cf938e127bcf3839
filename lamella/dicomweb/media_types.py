"""Media types, and ranges of them: what headers say.

Headers are parsed here and nowhere else, because general purpose parsers fail on what DICOMweb
clients send: unquoted `type=application/dicom`, several transfer syntaxes in one header, and
one broken member among good ones. A member that cannot be parsed is skipped; if nothing that is
left can be served, the answer is 406.

Source:
    RFC 9110 §5.6, §8.3.1 and §12.5.1; PS3.18 §8.7 (media types).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lamella.dicomweb.frame_types import LEGACY_NAMES
from lamella.errors import UnsupportedMediaType

DICOM_JSON = "application/dicom+json"
JSON = "application/json"
DICOM_XML = "application/dicom+xml"
DICOM = "application/dicom"
OCTET_STREAM = "application/octet-stream"
MULTIPART_RELATED = "multipart/related"

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_WEIGHT = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_MAX_HEADER = 16384
_MAX_MEMBERS = 128


@dataclass(frozen=True)
class MediaType:
    """A media type with its parameters, names in lower case, values as sent (unquoted).

    Attributes:
        type: The part before the slash, in lower case.
        subtype: The part after the slash, in lower case.
        parameters: (name, value) pairs in the order sent.
    """

    type: str
    subtype: str
    parameters: tuple[tuple[str, str], ...] = ()

    @property
    def essence(self) -> str:
        """`type/subtype`."""
        return f"{self.type}/{self.subtype}"

    def parameter(self, name: str) -> str | None:
        """Return the first value of a parameter, or None."""
        return next((value for key, value in self.parameters if key == name), None)

    def __str__(self) -> str:
        return self.essence + "".join(
            f"; {name}={quote_parameter(value)}" for name, value in self.parameters
        )


@dataclass(frozen=True)
class MediaRange(MediaType):
    """One member of an Accept header or `accept` query parameter.

    Attributes:
        weight: 0 (not wanted) to 1.
        position: Where it stood among its neighbours, from 0.
    """

    weight: float = 1.0
    position: int = 0

    @property
    def specificity(self) -> int:
        """0 for `*/*`, 1 for `type/*`, 2 for a media type, more with parameters."""
        if self.type == "*":
            return 0
        return 1 if self.subtype == "*" else 2 + len(self.parameters)

    def fits(self, media_type: str) -> bool:
        """Tell whether a media type without parameters lies within this range."""
        kind, _, subtype = media_type.partition("/")
        own = LEGACY_NAMES.get(self.essence)
        return (
            self.type == "*"
            or own == media_type
            or (self.type == kind and self.subtype in ("*", subtype))
        )


def quote_parameter(value: str) -> str:
    """Return a parameter value as a token if it is one, else as a quoted string."""
    if _TOKEN.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _split(text: str, separator: str) -> Iterator[str]:
    """Yield the pieces of `text` between separators that stand outside quoted strings."""
    start = position = 0
    quoted = False
    while position < len(text):
        character = text[position]
        if quoted and character == "\\":
            position += 1
        elif character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            yield text[start:position]
            start = position + 1
        position += 1
    yield text[start:]


def _unquote(value: str) -> str | None:
    """Return the meaning of a parameter value, or None if it is not well-formed.

    An unquoted value may hold `/` and other signs that RFC 9110 wants quoted.
    """
    if not value.startswith('"'):
        return None if not value or re.search(r'["\s\x00-\x1f\x7f]', value) else value
    if len(value) < 2 or not re.fullmatch(r'"(?:[^"\\]|\\.)*"', value, re.DOTALL):
        return None
    plain = re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
    return None if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", plain) else plain


def _parse_member(text: str) -> MediaType | None:
    head, *rest = _split(text, ";")
    kind, slash, subtype = head.strip(" \t").partition("/")
    if not slash or not _TOKEN.fullmatch(kind) or not _TOKEN.fullmatch(subtype):
        return None
    if kind == "*" and subtype != "*":
        return None
    parameters = []
    for piece in rest:
        if not piece.strip(" \t"):
            continue
        name, equals, raw = piece.partition("=")
        value = _unquote(raw.strip(" \t"))
        name = name.strip(" \t")
        if not equals or value is None or not _TOKEN.fullmatch(name):
            return None
        parameters.append((name.lower(), value))
    return MediaType(kind.lower(), subtype.lower(), tuple(parameters))


def parse_media_range(text: str, position: int) -> MediaRange | None:
    """Return one member of an Accept header, or None if it is not well-formed.

    Args:
        text: The member, with its parameters.
        position: Where it stood among its neighbours, from 0.
    """
    member = _parse_member(text)
    if member is None:
        return None
    weights = [value for name, value in member.parameters if name == "q"]
    if len(weights) > 1 or not all(_WEIGHT.fullmatch(weight) for weight in weights):
        return None
    kept = tuple(pair for pair in member.parameters if pair[0] != "q")
    weight = float(weights[0]) if weights else 1.0
    return MediaRange(member.type, member.subtype, kept, weight, position)


def _parse_ranges(texts: Iterable[str]) -> list[MediaRange]:
    pieces = [
        piece for text in texts for piece in _split(text[:_MAX_HEADER], ",") if piece.strip(" \t")
    ]
    parsed = (parse_media_range(piece, index) for index, piece in enumerate(pieces[:_MAX_MEMBERS]))
    return [one for one in parsed if one is not None]


def parse_accept(header: str | None, query_values: Sequence[str] = ()) -> list[MediaRange]:
    """Return what a client accepts, most wanted first.

    Args:
        header: The Accept header; None or blank accepts anything.
        query_values: Values of the `accept` query parameter, percent-decoded. A plus sign that
            became a space (`application/dicom json`) is put back. If any of them can be
            parsed, the header does not count.

    Returns:
        Ranges by falling weight, then specificity, then order. Ranges of weight 0 are kept (they
        exclude). Empty if something was asked for and nothing of it could be parsed.

    Source:
        RFC 9110 §12.5.1; PS3.18 §8.3.3.1 (query parameter), §8.7.7 (header).
    """
    mended = [re.sub(r"(?<=[A-Za-z]) (?=[A-Za-z])", "+", value) for value in query_values]
    ranges = _parse_ranges(mended)
    if not ranges:
        blank = header is None or not header.strip(" \t,")
        if blank and not any(value.strip() for value in query_values):
            return [MediaRange("*", "*")]
        ranges = _parse_ranges([header or ""])
    return sorted(ranges, key=lambda one: (-one.weight, -one.specificity, one.position))


@lru_cache(maxsize=256)
def recall_accept(header: str | None) -> tuple[MediaRange, ...]:
    """Return `parse_accept` of a header that many requests bear alike; of 1,000 letters or so."""
    return tuple(parse_accept(header))


def parse_content_type(value: str | None) -> MediaType:
    """Return the media type of a request body or of one of its parts.

    Raises:
        UnsupportedMediaType: It is missing or malformed.

    Source:
        RFC 9110 §8.3.
    """
    member = None if value is None or len(value) > _MAX_HEADER else _parse_member(value)
    if member is None or "*" in (member.type, member.subtype):
        raise UnsupportedMediaType("The Content-Type is missing or malformed.")
    return member

"""Media types and their negotiation: what a client asks for, and what it gets.

Headers are parsed here and nowhere else, because general purpose parsers fail on what DICOMweb
clients send: unquoted `type=application/dicom`, several transfer syntaxes in one header, and
one broken member among good ones. A member that cannot be parsed is skipped; if nothing that is
left can be served, the answer is 406.

Negotiation ranks what the server can offer (RFC 9110 §12.5.1): each offer gets the weight of the
most specific range that fits it; among equal weights the more specific range wins, then the one
that the client named first, then the server's own order. So `*/*` always means the default.

Source:
    RFC 9110 §5.6, §8.3.1 and §12.5.1; PS3.18 §8.7 (media types), Tables 8.7.3-1 to 8.7.3-5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lamella.dicomweb.frame_types import (
    DEFAULT_SYNTAXES,
    EXPLICIT_VR_LITTLE_ENDIAN,
    FRAME_MEDIA_TYPES,
    IMPLICIT_VR_LITTLE_ENDIAN,
    LEGACY_NAMES,
    NATIVE_TRANSFER_SYNTAXES,
    UNWANTED_TRANSFER_SYNTAXES,
)
from lamella.errors import NotAcceptable, UnsupportedMediaType

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


def _parse_range(text: str, position: int) -> MediaRange | None:
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
    parsed = (_parse_range(piece, index) for index, piece in enumerate(pieces[:_MAX_MEMBERS]))
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


@dataclass(frozen=True)
class _Offer:
    """Something the server can send: media type, whether in multipart/related, transfer syntaxes.

    Attributes:
        transfer_syntaxes: Values of the `transfer-syntax` parameter that this offer fulfils, None
            standing for no such parameter; empty: the parameter is not looked at.
        wildcard: Whether a bare `*/*` or `type/*` may pick it.
        is_costly: Whether it loses to any other offer that the client likes as much.
    """

    media_type: str
    is_multipart: bool = False
    transfer_syntaxes: frozenset[str | None] = frozenset()
    wildcard: bool = True
    is_costly: bool = False


def _suits(wanted: MediaRange, offer: _Offer) -> bool:
    """Tell whether an offer lies within a range."""
    if offer.transfer_syntaxes:
        syntax = wanted.parameter("transfer-syntax")
        if syntax not in offer.transfer_syntaxes:
            return False
    if wanted.specificity < 2 and not offer.wildcard:
        return False
    if wanted.type == "*":
        return True
    if not offer.is_multipart:
        return wanted.fits(offer.media_type)
    if not wanted.fits(MULTIPART_RELATED):
        return False
    inner = wanted.parameter("type")
    if inner is None:
        return offer.wildcard
    member = _parse_range(inner, 0)
    return member is not None and member.fits(offer.media_type)


def _best(accept: Sequence[MediaRange], offers: Sequence[_Offer]) -> _Offer:
    """Return the offer that a client prefers.

    Raises:
        NotAcceptable: No offer lies within a range of more than zero weight.
    """
    ranked: list[tuple[float, bool, int, int, int]] = []
    for index, offer in enumerate(offers):
        fitting = [one for one in accept if _suits(one, offer)]
        if fitting:
            one = max(fitting, key=lambda each: (each.specificity, each.weight, -each.position))
            if one.weight > 0:
                preference = (-min(one.specificity, 2), one.position, index)
                ranked.append((-one.weight, offer.is_costly, *preference))
    if not ranked:
        kinds = ", ".join(dict.fromkeys(offer.media_type for offer in offers))
        raise NotAcceptable(f"None of the accepted media types can be served; there is {kinds}.")
    return offers[min(ranked)[-1]]


@dataclass(frozen=True)
class JsonAnswer:
    """How search results and metadata go out.

    Attributes:
        media_type: `application/dicom+json`, `application/json`, or `application/dicom+xml`.
        is_xml: The answer is multipart/related of `application/dicom+xml` parts.
    """

    media_type: str
    is_xml: bool = False


def negotiate_json(
    accept: Sequence[MediaRange], supported: Sequence[str] = (DICOM_JSON, JSON)
) -> JsonAnswer:
    """Choose the form of search results or metadata.

    Args:
        accept: From `parse_accept`.
        supported: What the caller can write, its default first; `application/dicom+xml` is
            offered in multipart/related only.

    Raises:
        NotAcceptable: Nothing supported is accepted.

    Source:
        PS3.18 §8.7.3.2 and Table 8.7.3-3.
    """
    offers = [_Offer(kind, is_multipart=kind == DICOM_XML) for kind in supported]
    chosen = _best(accept, offers)
    return JsonAnswer(chosen.media_type, chosen.is_multipart)


@dataclass(frozen=True)
class StoreAnswer:
    """How the answer to a store goes out.

    Attributes:
        media_type: `application/dicom+json`, `application/json`, or `application/dicom+xml`.
        is_multipart: As the one part of multipart/related.
    """

    media_type: str
    is_multipart: bool


def negotiate_store(accept: Sequence[MediaRange]) -> StoreAnswer:
    """Choose the form of the answer to a store.

    Raises:
        NotAcceptable: Nothing supported is accepted.

    Source:
        PS3.18 §10.5.3 (one data set, so XML may come alone).
    """
    chosen = _best(
        accept,
        [_Offer(kind) for kind in (DICOM_JSON, JSON, DICOM_XML)]
        + [_Offer(DICOM_XML, is_multipart=True)],
    )
    return StoreAnswer(chosen.media_type, chosen.is_multipart)


@dataclass(frozen=True)
class InstanceAnswer:
    """One way in which instances may go out.

    Attributes:
        is_multipart: multipart/related with `application/dicom` parts, else one bare body.
        transfer_syntax: None: the default rule (Explicit VR Little Endian unless that cannot be);
            `*`: as stored; a UID: exactly that one.
    """

    is_multipart: bool
    transfer_syntax: str | None


def negotiate_instances(
    accept: Sequence[MediaRange], *, single_item: bool
) -> tuple[InstanceAnswer, ...]:
    """Return the ways in which a client takes instances, most wanted first.

    Args:
        accept: From `parse_accept`.
        single_item: The target is one instance, so a single-part answer is possible.

    Raises:
        NotAcceptable: No way of sending instances is accepted.

    Source:
        PS3.18 §8.7.3, §8.7.3.1 and Table 8.7.3-2.
    """
    answers: list[InstanceAnswer] = []
    for one in accept:
        syntax = one.parameter("transfer-syntax")
        forms = [_Offer(DICOM, True)] + ([_Offer(DICOM)] if single_item else [])
        form = next((form for form in forms if _suits(one, form)), None)
        if form is not None and not _is_excluded(accept, one, form):
            answers.append(InstanceAnswer(form.is_multipart, syntax))
    if not answers:
        raise NotAcceptable(f"None of the accepted media types can be served; there is {DICOM}.")
    return tuple(dict.fromkeys(answers))


def _is_excluded(accept: Sequence[MediaRange], wanted: MediaRange, form: _Offer) -> bool:
    """Tell whether a range, or a more specific one, says no to what a range picked."""
    syntax = wanted.parameter("transfer-syntax")
    vetoes = [
        one
        for one in accept
        if one.weight == 0
        and one.specificity >= wanted.specificity
        and _suits(one, form)
        and one.parameter("transfer-syntax") in (None, syntax)
    ]
    return wanted.weight == 0 or bool(vetoes)


@dataclass(frozen=True)
class FramesAnswer:
    """How frames go out.

    Attributes:
        is_multipart: multipart/related, one part a frame; else one frame as the bare body.
        media_type: Of each part or of the body.
        transfer_syntax_uid: What the bytes of each frame are encoded in.
        is_stored: The frame's bytes go out as they are stored (joined if fragmented).
        is_encoded: They are encoded in another compressed transfer syntax. If neither, they have
            to be decoded, or swapped, to native little endian.
    """

    is_multipart: bool
    media_type: str
    transfer_syntax_uid: str
    is_stored: bool
    is_encoded: bool = False

    @property
    def part_content_type(self) -> str:
        """The Content-Type of a part, with its transfer syntax."""
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax_uid}"


def negotiate_frames(
    accept: Sequence[MediaRange],
    stored_transfer_syntax: str,
    *,
    single_item: bool,
    is_decodable: bool = True,
    encodable: Sequence[str] = (),
) -> FramesAnswer:
    """Choose the form of frames.

    `application/octet-stream` without a transfer syntax is uncompressed little endian (the
    default); with `transfer-syntax=*` or the stored UID it is the stored codestream, typed by
    its syntax. An image type without a transfer syntax takes the stored codestream of that type,
    whichever of the type's syntaxes it is in; else the type's default syntax. Nothing is encoded
    anew for a client that takes another form as gladly.

    Args:
        accept: From `parse_accept`.
        stored_transfer_syntax: UID.
        single_item: One frame is asked for, so a single-part answer is possible.
        is_decodable: Whether the stored frames can be decompressed (video cannot).
        encodable: Compressed transfer syntaxes that the frames can be encoded in.

    Raises:
        NotAcceptable: No form that the frames have or can be given is accepted.

    Source:
        PS3.18 §8.7.3.3 and Tables 8.7.3-4 and 8.7.3-5.
    """
    return _negotiate_frames(
        tuple(accept), stored_transfer_syntax, single_item, is_decodable, tuple(encodable)
    )


@lru_cache(maxsize=256)
def _negotiate_frames(
    accept: tuple[MediaRange, ...],
    stored: str,
    single_item: bool,
    is_decodable: bool,
    encodable: tuple[str, ...],
) -> FramesAnswer:
    is_native = stored in NATIVE_TRANSFER_SYNTAXES
    plain: set[str | None] = {None, EXPLICIT_VR_LITTLE_ENDIAN}
    if is_native:
        plain |= {"*"} | ({stored} - UNWANTED_TRANSFER_SYNTAXES)
    offers = []
    if is_native or is_decodable:
        offers += _both_forms(OCTET_STREAM, frozenset(plain), single_item)
    coded: frozenset[str | None] = frozenset({"*", stored})
    kind = OCTET_STREAM if is_native else FRAME_MEDIA_TYPES.get(stored, OCTET_STREAM)
    if not is_native:
        offers += _both_forms(kind, coded | {None}, single_item, wildcard=not is_decodable)
        offers += _both_forms(kind, coded, single_item)
        offers += _both_forms(OCTET_STREAM, coded, single_item)
    for uid in encodable:
        if uid != stored:
            offers += _offer_encoded(uid, single_item)
    chosen = _best(accept, offers)
    if chosen.is_costly:
        (uid,) = filter(None, chosen.transfer_syntaxes)
        return FramesAnswer(chosen.is_multipart, chosen.media_type, uid, False, True)
    if chosen.media_type == OCTET_STREAM and chosen.transfer_syntaxes == plain:
        is_same = stored in (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
        return FramesAnswer(chosen.is_multipart, OCTET_STREAM, EXPLICIT_VR_LITTLE_ENDIAN, is_same)
    return FramesAnswer(chosen.is_multipart, kind, stored, True)


def asks_for_encoding(accept: Sequence[MediaRange], stored_transfer_syntax: str) -> bool:
    """Tell whether a client names a form that the frames would have to be encoded for.

    So whether it is worth finding out what they can be encoded in.
    """
    return _asks_for_encoding(tuple(accept), stored_transfer_syntax)


@lru_cache(maxsize=256)
def _asks_for_encoding(accept: tuple[MediaRange, ...], stored: str) -> bool:
    known = {None, "*", EXPLICIT_VR_LITTLE_ENDIAN, stored}
    return any(_names_other(one, known) for one in accept)


def _names_other(wanted: MediaRange, known: set[str | None]) -> bool:
    inner = wanted.parameter("type") if wanted.fits(MULTIPART_RELATED) else None
    kind = _parse_range(inner, 0) if inner else wanted
    is_image = kind is not None and kind.type == "image" and kind.subtype != "*"
    return is_image or wanted.parameter("transfer-syntax") not in known


def _offer_encoded(uid: str, single_item: bool) -> list[_Offer]:
    kind = FRAME_MEDIA_TYPES[uid]
    syntaxes: frozenset[str | None] = frozenset({uid, None} if uid in DEFAULT_SYNTAXES else {uid})
    forms = (True, False) if single_item else (True,)
    return [_Offer(kind, form, syntaxes, False, True) for form in forms]


def _both_forms(
    media_type: str, syntaxes: frozenset[str | None], single_item: bool, *, wildcard: bool = True
) -> list[_Offer]:
    forms = (True, False) if single_item else (True,)
    return [_Offer(media_type, form, syntaxes, wildcard) for form in forms]


@dataclass(frozen=True)
class BulkAnswer:
    """How bulk data go out.

    Attributes:
        is_multipart: multipart/related with one part, else the bare body.
        media_type: Of the part or the body.
    """

    is_multipart: bool
    media_type: str


def negotiate_bulk(
    accept: Sequence[MediaRange], media_types: Sequence[str] = (OCTET_STREAM,)
) -> BulkAnswer:
    """Choose the form of one bulk value; a wildcard gets the bare body, which viewers need.

    Args:
        accept: From `parse_accept`.
        media_types: What the value can be sent as, its default first.

    Raises:
        NotAcceptable: None of them is accepted.

    Source:
        PS3.18 §8.7.3.3.
    """
    offers = [_Offer(kind, form) for kind in media_types for form in (False, True)]
    chosen = _best(accept, offers)
    return BulkAnswer(chosen.is_multipart, chosen.media_type)


@dataclass(frozen=True)
class RenderedAnswer:
    """How a rendered resource goes out.

    Attributes:
        is_multipart: multipart/related, else one bare body.
        media_type: Of each part or of the body.
    """

    is_multipart: bool
    media_type: str


def negotiate_rendered(
    accept: Sequence[MediaRange], media_types: Sequence[str], *, single_types: Sequence[str]
) -> RenderedAnswer:
    """Choose the form of a rendered resource.

    Args:
        accept: From `parse_accept`.
        media_types: What it can be rendered as, its default first.
        single_types: Those of them that make one body of all that is asked for.

    Raises:
        NotAcceptable: None of them is accepted.

    Source:
        PS3.18 §8.7.4 and Table 8.7.4-1.
    """
    offers = [_Offer(kind) for kind in media_types if kind in single_types]
    offers += [_Offer(kind, True) for kind in media_types]
    chosen = _best(accept, offers)
    return RenderedAnswer(chosen.is_multipart, chosen.media_type)

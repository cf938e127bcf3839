"""In which form frames go out: as stored, decoded, or encoded anew.

Source:
    PS3.18 §8.7.3.3 and Tables 8.7.3-4 and 8.7.3-5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from lamella.dicomweb.frame_types import (
    DEFAULT_SYNTAXES,
    EXPLICIT_VR_LITTLE_ENDIAN,
    FRAME_MEDIA_TYPES,
    IMPLICIT_VR_LITTLE_ENDIAN,
    NATIVE_TRANSFER_SYNTAXES,
    UNWANTED_TRANSFER_SYNTAXES,
)
from lamella.dicomweb.media_types import (
    MULTIPART_RELATED,
    OCTET_STREAM,
    MediaRange,
    parse_media_range,
)
from lamella.dicomweb.offers import Offer, pick_best


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
    chosen = pick_best(accept, offers)
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
    kind = parse_media_range(inner, 0) if inner else wanted
    is_image = kind is not None and kind.type == "image" and kind.subtype != "*"
    return is_image or wanted.parameter("transfer-syntax") not in known


def _offer_encoded(uid: str, single_item: bool) -> list[Offer]:
    kind = FRAME_MEDIA_TYPES[uid]
    syntaxes: frozenset[str | None] = frozenset({uid, None} if uid in DEFAULT_SYNTAXES else {uid})
    forms = (True, False) if single_item else (True,)
    return [Offer(kind, form, syntaxes, False, True) for form in forms]


def _both_forms(
    media_type: str, syntaxes: frozenset[str | None], single_item: bool, *, wildcard: bool = True
) -> list[Offer]:
    forms = (True, False) if single_item else (True,)
    return [Offer(media_type, form, syntaxes, wildcard) for form in forms]

"""What the server can send, and which of it a client prefers.

Each offer gets the weight of the most specific range that fits it; among equal weights the more
specific range wins, then the one that the client named first, then the server's own order. So
`*/*` always means the default.

Source:
    RFC 9110 §12.5.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lamella.dicomweb.media_types import MULTIPART_RELATED, MediaRange, parse_media_range
from lamella.errors import NotAcceptable


@dataclass(frozen=True)
class Offer:
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


def suits(wanted: MediaRange, offer: Offer) -> bool:
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
    member = parse_media_range(inner, 0)
    return member is not None and member.fits(offer.media_type)


def pick_best(accept: Sequence[MediaRange], offers: Sequence[Offer]) -> Offer:
    """Return the offer that a client prefers.

    Raises:
        NotAcceptable: No offer lies within a range of more than zero weight.
    """
    ranked: list[tuple[float, bool, int, int, int]] = []
    for index, offer in enumerate(offers):
        fitting = [one for one in accept if suits(one, offer)]
        if fitting:
            one = max(fitting, key=lambda each: (each.specificity, each.weight, -each.position))
            if one.weight > 0:
                preference = (-min(one.specificity, 2), one.position, index)
                ranked.append((-one.weight, offer.is_costly, *preference))
    if not ranked:
        kinds = ", ".join(dict.fromkeys(offer.media_type for offer in offers))
        raise NotAcceptable(f"None of the accepted media types can be served; there is {kinds}.")
    return offers[min(ranked)[-1]]

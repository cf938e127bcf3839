"""In which form an answer goes out: data sets, instances, bulk data, rendered resources.

Source:
    PS3.18 §8.7 (media types), Tables 8.7.3-1 to 8.7.4-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lamella.dicomweb.media_types import (
    DICOM,
    DICOM_JSON,
    DICOM_XML,
    JSON,
    OCTET_STREAM,
    MediaRange,
)
from lamella.dicomweb.offers import Offer, pick_best, suits
from lamella.errors import NotAcceptable


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
    offers = [Offer(kind, is_multipart=kind == DICOM_XML) for kind in supported]
    chosen = pick_best(accept, offers)
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
    chosen = pick_best(
        accept,
        [Offer(kind) for kind in (DICOM_JSON, JSON, DICOM_XML)]
        + [Offer(DICOM_XML, is_multipart=True)],
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
        forms = [Offer(DICOM, True)] + ([Offer(DICOM)] if single_item else [])
        form = next((form for form in forms if suits(one, form)), None)
        if form is not None and not _is_excluded(accept, one, form):
            answers.append(InstanceAnswer(form.is_multipart, syntax))
    if not answers:
        raise NotAcceptable(f"None of the accepted media types can be served; there is {DICOM}.")
    return tuple(dict.fromkeys(answers))


def _is_excluded(accept: Sequence[MediaRange], wanted: MediaRange, form: Offer) -> bool:
    """Tell whether a range, or a more specific one, says no to what a range picked."""
    syntax = wanted.parameter("transfer-syntax")
    vetoes = [
        one
        for one in accept
        if one.weight == 0
        and one.specificity >= wanted.specificity
        and suits(one, form)
        and one.parameter("transfer-syntax") in (None, syntax)
    ]
    return wanted.weight == 0 or bool(vetoes)


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
    offers = [Offer(kind, form) for kind in media_types for form in (False, True)]
    chosen = pick_best(accept, offers)
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
    offers = [Offer(kind) for kind in media_types if kind in single_types]
    offers += [Offer(kind, True) for kind in media_types]
    chosen = pick_best(accept, offers)
    return RenderedAnswer(chosen.is_multipart, chosen.media_type)

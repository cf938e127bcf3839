"""WADO-URI: one instance, rendered or as a file, by query parameters.

Source:
    PS3.18 §9 (URI Service), §9.4.1.2 (parameters), Table 8.7.4-1 (media types).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from litestar import Request, route
from litestar.types import ASGIApp

from lamella.archive.values import is_uid
from lamella.dicomweb.answers import Answer
from lamella.dicomweb.media_types import DICOM, MediaRange, parse_accept
from lamella.dicomweb.negotiation import negotiate_rendered
from lamella.dicomweb.pinned import Pinned
from lamella.dicomweb.transactions import Transaction, declare
from lamella.errors import InvalidRequest, NotAcceptable, ResourceNotFound
from lamella.imaging.rendering.options import RenderOptions
from lamella.imaging.rendering.viewport import Viewport
from lamella.imaging.rendering.windows import Window
from lamella.vcs.selection import Selected
from lamella.wado.instances import answer_instances
from lamella.wado.pictures import Subject
from lamella.wado.render_parameters import Query, read_decimals, read_options, read_quality
from lamella.wado.rendered import Plan, make_whole, read_kind
from lamella.wado.subjects import Category, Kind, list_rendered_types
from lamella.wado.targets import READ, list_paths, select_named

_DEFAULT_SYNTAX = "1.2.840.10008.1.2.1"
_PICTURE_ONLY = (
    "annotation", "rows", "columns", "region", "windowCenter", "windowWidth", "imageQuality",
    "frameNumber",
)  # fmt: skip
_PARAMETERS = (
    "requestType", "studyUID", "seriesUID", "objectUID", "contentType", "transferSyntax",
    *_PICTURE_ONLY,
)  # fmt: skip
_ANY_SIDE = 8192  # the other one decides
_UNSUPPORTED = ("presentationUID", "presentationSeriesUID")


@route(
    list_paths("/wado"),
    http_method=READ,
    name="retrieve-by-uri",
    opt=declare(Transaction("9", (*list_rendered_types(), DICOM), parameters=_PARAMETERS)),
)
async def retrieve_by_uri(request: Request[Any, Any, Any]) -> ASGIApp:
    """Retrieve one instance by WADO-URI."""
    query = request.query_params
    if _read(query, "requestType") != "WADO":
        raise InvalidRequest("requestType has to be WADO.")
    uids = [_read(query, name) for name in ("studyUID", "seriesUID", "objectUID")]
    if not all(uid is not None and is_uid(uid) for uid in uids):
        raise InvalidRequest("studyUID, seriesUID and objectUID have to be one UID each.")
    study, series, instance = (str(uid) for uid in uids)
    pinned, (selected,) = await select_named(request, study, series, instance)
    return await answer_uri(pinned, selected, query)


async def answer_uri(pinned: Pinned, instance: Selected, query: Query) -> Answer:
    """Return an instance as a WADO-URI request wants it.

    Raises:
        InvalidRequest: A parameter makes no sense, or not together with another.
        ResourceNotFound: There is no such frame.
        NotAcceptable: The instance has no such form.
    """
    for name in _UNSUPPORTED:
        if name in query:
            raise InvalidRequest(f"The parameter {name} is not supported.")
    if query.get("anonymize", "no") != "no":
        raise NotAcceptable("Instances are not de-identified on their way out.")
    kind = await read_kind(pinned, instance)
    accept = _read_accept(pinned, query)
    media_types = _list_media_types(kind)
    form = negotiate_rendered(accept, media_types, single_types=media_types)
    if form.is_multipart:
        raise NotAcceptable("WADO-URI gives one body, never multipart/related.")
    if form.media_type == DICOM or kind is None:
        return await _answer_file(pinned, instance, query)
    if "transferSyntax" in query:
        raise InvalidRequest("transferSyntax goes with application/dicom only.")
    return await _answer_picture(pinned, instance, kind, form.media_type, query)


def _read_accept(pinned: Pinned, query: Query) -> Sequence[MediaRange]:
    """Return what the client takes: `contentType`, else the Accept header."""
    texts = [str(text) for text in query.getall("contentType", [])]
    return parse_accept(None if texts else pinned.request.headers.get("accept"), texts)


def _list_media_types(kind: Kind | None) -> tuple[str, ...]:
    """Return what an instance can go out as, its default first.

    Source:
        PS3.18 §9.4.1.2.1: images of one frame and reports are rendered, all else is a file.
    """
    if kind is None:
        return (DICOM,)
    is_rendered = kind.n_frames == 1 or kind.category is Category.REPORT
    return (*kind.media_types, DICOM) if is_rendered else (DICOM, *kind.media_types)


async def _answer_file(pinned: Pinned, instance: Selected, query: Query) -> Answer:
    meaningless = [name for name in _PICTURE_ONLY if name in query]
    if meaningless:
        raise InvalidRequest(f"{meaningless[0]} does not go with application/dicom.")
    syntax = _read(query, "transferSyntax") or _DEFAULT_SYNTAX
    if syntax != "*" and not is_uid(syntax):
        raise InvalidRequest("transferSyntax has to be one UID.")
    parameters = (("transfer-syntax", syntax),) if "transferSyntax" in query else ()
    wanted = MediaRange("application", "dicom", parameters)
    return await answer_instances(replace(pinned, accept=[wanted]), [instance], single_item=True)


async def _answer_picture(
    pinned: Pinned, instance: Selected, kind: Kind, media_type: str, query: Query
) -> Answer:
    subject = Subject(pinned, instance)
    options, numbers = await _read_options(subject, query), _read_frame_number(query)
    if numbers and numbers[0] > kind.n_frames:
        raise ResourceNotFound(f"There are {kind.n_frames} frames, no {numbers[0]}.")
    headers = pinned.headers(f"{media_type} wado-uri")
    if pinned.is_fresh(headers):
        return Answer(304, headers)
    plan = Plan(instance, kind, media_type, numbers)
    body = await make_whole(subject, plan, options)
    return Answer(200, [*headers, ("content-type", plan.content_type)], body)


async def _read_options(subject: Subject, query: Query) -> RenderOptions:
    """Return the options that WADO-URI's own parameter names stand for."""
    options, _ = read_options(query)
    texts = [_read(query, name) for name in ("windowCenter", "windowWidth")]
    if (texts[0] is None) != (texts[1] is None):
        raise InvalidRequest("windowCenter and windowWidth go together.")
    if texts[0] is not None and texts[1] is not None:
        center, width = read_decimals([texts[0], texts[1]], "windowCenter or windowWidth")
        window = Window(center, width)
        window.check()
        options = replace(options, window=window)
    quality = read_quality(_read(query, "imageQuality"), "imageQuality")
    return replace(options, quality=quality, viewport=await _read_viewport(subject, query))


async def _read_viewport(subject: Subject, query: Query) -> Viewport | None:
    """Return the viewport that rows, columns and region make; a missing side does not matter.

    Source:
        PS3.18 §9.4.1.2.4: region is left, top, right and bottom, each from 0 to 1.
    """
    sides = [_read_side(query, name) for name in ("columns", "rows")]
    text = _read(query, "region")
    if sides == [None, None] and text is None:
        return None
    width, height = (side or _ANY_SIDE for side in sides)
    if text is None:
        viewport = Viewport(width, height)
    else:
        edges = read_decimals(text.split(","), "region")
        if len(edges) != 4 or not (0 <= edges[0] < edges[2] <= 1 and 0 <= edges[1] < edges[3] <= 1):
            raise InvalidRequest("region is left, top, right and bottom, each from 0 to 1.")
        await subject.open()
        pixel = subject.describe()
        left, right = edges[0] * pixel.columns, edges[2] * pixel.columns
        top, bottom = edges[1] * pixel.rows, edges[3] * pixel.rows
        if sides == [None, None]:
            width, height = max(1, round(right - left)), max(1, round(bottom - top))
        viewport = Viewport(width, height, left, top, right - left, bottom - top)
    viewport.check()
    return viewport


def _read_side(query: Query, name: str) -> int | None:
    text = _read(query, name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and int(text[:9]) > 0):
        raise InvalidRequest(f"{name} is a whole number of pixels.")
    return int(text[:9])


def _read_frame_number(query: Query) -> list[int] | None:
    text = _read(query, "frameNumber")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and int(text[:9]) > 0):
        raise InvalidRequest("frameNumber is one whole number from 1 on.")
    return [int(text[:9])]


def _read(query: Query, name: str) -> str | None:
    values = query.getall(name, [])
    if len(values) > 1:
        raise InvalidRequest(f"The parameter {name} is given more than once.")
    return str(values[0]) if values else None


ROUTES = (retrieve_by_uri,)

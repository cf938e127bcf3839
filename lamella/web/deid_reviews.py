"""`/api/v1/datasets/{dataset}/deid/reviews`: what was held back, and what a person decides.

Copies are shown at the destination. Originals are shown at the source alone, so that who may read
one dataset sees nothing of the other.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, post, route
from litestar.params import Parameter
from litestar.types import ASGIApp

from lamella.deid.pixels.boxes import Box
from lamella.deid.reviews import (
    Decided,
    accept,
    find_held,
    list_held,
    redact_held,
    reject,
    show_copy,
    show_original,
)
from lamella.dicomweb.answers import Answer
from lamella.dicomweb.services import services_of
from lamella.dicomweb.writers import ANONYMOUS
from lamella.vcs.conflicts import LARGEST_ID
from lamella.vcs.repository import Repository

Json = dict[str, Any]
AnyRequest = Request[Any, Any, Any]
READ: Any = ["GET", "HEAD"]
REVIEWS = "/datasets/{dataset:str}/deid/reviews"
REVIEW = f"{REVIEWS}/{{number:int}}"
ORIGINAL = "/datasets/{dataset:str}/deid/originals/{destination:str}/{number:int}"
PNG = "image/png"
MOST_PIXELS = 1 << 20
Limit = Annotated[int, Parameter(ge=1, le=1_000, description="instances to return")]
Number = Annotated[int, Parameter(ge=0, le=LARGEST_ID)]
Frame = Annotated[int, Parameter(ge=1, le=1 << 31, description="from 1")]
Offset = Annotated[int, msgspec.Meta(ge=0, le=MOST_PIXELS)]
Length = Annotated[int, msgspec.Meta(ge=1, le=MOST_PIXELS)]


class NewBox(msgspec.Struct, forbid_unknown_fields=True):
    """A rectangle of pixels, from the upper left corner; without a frame, of every frame."""

    x: Offset
    y: Offset
    width: Length
    height: Length
    frame: Annotated[int, msgspec.Meta(ge=1)] | None = None


class Redaction(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be blacked.

    Attributes:
        text_may_stay: Release the instance whatever an engine reads in it then.
    """

    boxes: Annotated[list[NewBox], msgspec.Meta(min_length=1, max_length=10_000)]
    text_may_stay: bool = False


@route(REVIEWS, http_method=READ, name="list-reviews")
async def get_reviews(
    request: AnyRequest, dataset: str, after: Number = 0, limit: Limit = 100
) -> list[Json]:
    """List what waits for a person, oldest first; `after` continues an earlier page."""
    found = await _repository(request).archive.database.read(
        lambda c: list_held(c, dataset, after=after, limit=limit)
    )
    return [one.describe() for one in found]


@route(REVIEW, http_method=READ, name="show-review")
async def get_review(request: AnyRequest, dataset: str, number: Number) -> Json:
    """Show one instance that was held back, whether it waits or was decided about."""
    found = await _repository(request).archive.database.read(
        lambda c: find_held(c, dataset, number)
    )
    return found.describe()


@route(f"{REVIEW}/picture", http_method=READ, name="review-picture")
async def get_picture(
    request: AnyRequest, dataset: str, number: Number, frame: Frame = 1
) -> ASGIApp:
    """Show a frame of the copy, with the boxes that were blacked."""
    return _answer(await show_copy(_repository(request), dataset, number, frame))


@route(f"{ORIGINAL}/picture", http_method=READ, name="original-picture")
async def get_original(
    request: AnyRequest, dataset: str, destination: str, number: Number, frame: Frame = 1
) -> ASGIApp:
    """Show a frame of the original, in whose dataset this is, of what was held back elsewhere."""
    repository = _repository(request)
    return _answer(await show_original(repository, dataset, destination, number, frame))


@post(f"{REVIEW}/accept", status_code=200, name="accept-review")
async def post_accept(request: AnyRequest, dataset: str, number: Number) -> Response[Json]:
    """Release an instance as it is."""
    return _tell(await accept(_repository(request), dataset, [number], ANONYMOUS))


@post(f"{REVIEW}/reject", status_code=200, name="reject-review")
async def post_reject(request: AnyRequest, dataset: str, number: Number) -> Response[Json]:
    """Keep an instance out for good."""
    return _tell(await reject(_repository(request), dataset, [number], ANONYMOUS))


@post(f"{REVIEW}/redact", status_code=200, name="redact-review")
async def post_redact(
    request: AnyRequest, dataset: str, number: Number, data: Redaction
) -> Response[Json]:
    """Black boxes in an instance, examine it again, and release it."""
    boxes: dict[int, list[Box]] = {}
    for one in data.boxes:
        box = Box(one.x, one.y, one.x + one.width, one.y + one.height)
        boxes.setdefault(one.frame or 0, []).append(box)
    decided = await redact_held(
        _repository(request), dataset, number, boxes, ANONYMOUS, text_may_stay=data.text_may_stay
    )
    return _tell(decided)


HANDLERS = (
    get_reviews,
    get_review,
    get_picture,
    get_original,
    post_accept,
    post_reject,
    post_redact,
)


def _answer(picture: bytes) -> Answer:
    return Answer(200, [("content-type", PNG), ("cache-control", "no-store")], picture)


def _tell(decided: Decided) -> Response[Json]:
    commits = list(decided.commits.values())
    headers = {"Lamella-Commit": commits[0]} if commits else {}
    return Response(decided.describe(), headers=headers)


def _repository(request: AnyRequest) -> Repository:
    return services_of(request).repository

"""Rendered resources: what an instance, frame, series or study looks like.

One instance goes out as a bare body, or in multipart/related; a series or study in
multipart/related, a part for each frame of each image and one for each other instance. What
cannot be rendered as asked is left out (206), and if that is all of it the answer is 406.

Source:
    PS3.18 §10.4.1.1.3 (rendered resources), §8.7.4 (media types).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import msgspec

from lamella.archive.upsert import split_batches
from lamella.dicomweb.answers import Answer
from lamella.dicomweb.media_types import MediaRange
from lamella.dicomweb.multipart_writer import (
    closing,
    multipart_content_type,
    new_boundary,
    part_header,
)
from lamella.dicomweb.negotiation import negotiate_rendered
from lamella.dicomweb.pinned import Pinned
from lamella.dicomweb.renditions import AnswerKey, Remembered, name_rendition
from lamella.errors import NotAcceptable, ResourceNotFound
from lamella.imaging.rendering.options import MOVIE_TYPES, RenderOptions
from lamella.vcs.selection import Selected
from lamella.wado.documents import make_document
from lamella.wado.frames import parse_frame_list
from lamella.wado.pictures import Subject
from lamella.wado.render_parameters import read_options
from lamella.wado.stored_documents import read_document, read_documents
from lamella.wado.subjects import Category, Kind, classify

PLANNED_AT_A_TIME = 200
FRAMES_AHEAD = 3
Part = tuple[str, str, bytes]  # Content-Type, URL, body


@dataclass(frozen=True, slots=True)
class Plan:
    """What is made of one instance.

    Attributes:
        frame_numbers: Those asked for, 1-based; None: all there are.
    """

    instance: Selected
    kind: Kind
    media_type: str
    frame_numbers: Sequence[int] | None = None

    @property
    def content_type(self) -> str:
        """The media type, with the charset of text that is written here."""
        is_written = self.kind.category is Category.REPORT
        return f"{self.media_type}; charset=utf-8" if is_written else self.media_type


async def answer_rendered(
    pinned: Pinned, selected: Sequence[Selected], *, is_single: bool, frames: str | None = None
) -> Answer:
    """Return instances, or frames of one, as they look.

    Args:
        selected: What the target names.
        is_single: Whether it names one instance, so that one body can be the answer.
        frames: The frame list of a target that has one.

    Raises:
        InvalidRequest: A parameter or frame list makes no sense.
        ResourceNotFound: There is no such frame.
        NotAcceptable: Nothing of it can be rendered as anything that the client takes.
    """
    if not is_single:
        return await _answer_parts(pinned, await _plan_all(pinned, selected), len(selected))
    asked = pinned.request
    accept = asked.headers.get("accept")
    key = (selected[0].key, f"rendered {frames}", asked.scope["query_string"], accept)
    known = pinned.services.renditions.recall_answer(key)
    if known is not None:
        return _answer_known(pinned, known)
    numbers = None if frames is None else parse_frame_list(frames)
    plan, is_multipart = await _plan_single(pinned, selected[0], numbers)
    if is_multipart:
        return await _answer_parts(pinned, [plan], 1)
    return await _answer_single(pinned, plan, key)


def _answer_known(pinned: Pinned, known: Remembered) -> Answer:
    headers = pinned.headers(known.representation)
    if pinned.is_fresh(headers):
        return Answer(304, headers)
    return Answer(200, [*headers, ("content-type", known.content_type)], known.body)


async def _answer_single(pinned: Pinned, plan: Plan, key: AnswerKey) -> Answer:
    options, warnings = _read_options(pinned)
    representation = f"{plan.media_type} rendered"
    headers = pinned.headers(representation) + warnings
    if pinned.is_fresh(headers):
        return Answer(304, headers)
    body = await make_whole(Subject(pinned, plan.instance), plan, options)
    if not warnings:
        known = Remembered(representation, plan.content_type, body)
        pinned.services.renditions.remember_answer(key, known)
    return Answer(200, [*headers, ("content-type", plan.content_type)], body)


async def _answer_parts(pinned: Pinned, plans: Sequence[Plan], n_selected: int) -> Answer:
    options, warnings = _read_options(pinned)
    headers = pinned.headers(f"{plans[0].media_type} rendered parts") + warnings
    if pinned.is_fresh(headers):
        return Answer(304, headers)
    parts = _make_parts(_list_parts(pinned, plans, options))
    first = await anext(parts)  # what fails at once should have a status of its own
    boundary = new_boundary()
    headers.append(("content-type", multipart_content_type(boundary, plans[0].media_type)))
    status = 200 if len(plans) == n_selected else 206
    return Answer(status, headers, _write_parts(first, parts, boundary))


def _read_options(pinned: Pinned) -> tuple[RenderOptions, list[tuple[str, str]]]:
    """Return what the query asks for, and warnings about it as headers."""
    options, warnings = read_options(pinned.request.query_params)
    return options, [("warning", f"299 {pinned.root_url}: {text}") for text in warnings]


async def read_kind(pinned: Pinned, instance: Selected) -> Kind | None:
    """Return what an instance is to look at, or None."""

    async def make() -> bytes:
        document = await read_document(pinned, instance)
        return msgspec.json.encode(classify(msgspec.json.decode(document.dicom_json)))

    # A slide's DICOM JSON has many MB: it is not decoded for each of its tiles.
    name = name_rendition(instance.key, "kind")
    encoded = await pinned.services.renditions.get(name, make, is_shelved=False)
    return msgspec.json.decode(encoded, type=Kind | None)


async def _plan_single(
    pinned: Pinned, instance: Selected, numbers: list[int] | None
) -> tuple[Plan, bool]:
    kind = await read_kind(pinned, instance)
    if numbers is not None:
        if kind is None or kind.category is not Category.IMAGE:
            raise ResourceNotFound(f"Instance {instance.sop_uid} has no frames.")
        if max(numbers) > kind.n_frames:
            raise ResourceNotFound(f"There are {kind.n_frames} frames, no {max(numbers)}.")
    if kind is None:
        raise NotAcceptable(f"Instance {instance.sop_uid} has nothing to be rendered.")
    media_types = kind.media_types
    if numbers is not None and len(numbers) == 1:
        media_types = tuple(one for one in media_types if not one.startswith("video/"))
    is_one_body = numbers is None or len(numbers) == 1
    form = negotiate_rendered(
        pinned.accept, media_types, single_types=media_types if is_one_body else MOVIE_TYPES
    )
    return Plan(instance, kind, form.media_type, numbers), form.is_multipart


async def _plan_all(pinned: Pinned, selected: Sequence[Selected]) -> list[Plan]:
    plans = []
    for batch in split_batches(selected, PLANNED_AT_A_TIME):
        documents = await read_documents(pinned, batch)
        for one in batch:
            kind = classify(msgspec.json.decode(documents[one.key].dicom_json))
            media_type = None if kind is None else _choose_part(pinned.accept, kind)
            if kind is not None and media_type is not None:
                plans.append(Plan(one, kind, media_type))
    if not plans:
        raise NotAcceptable("Nothing here can be rendered in multipart/related as accepted.")
    return plans


def _choose_part(accept: Sequence[MediaRange], kind: Kind) -> str | None:
    """Return the media type of an instance's parts, or None if the client takes none."""
    try:
        return negotiate_rendered(accept, kind.media_types, single_types=()).media_type
    except NotAcceptable:
        return None


async def make_whole(subject: Subject, plan: Plan, options: RenderOptions) -> bytes:
    """Return one body: a document, a movie of the frames, or the frame that stands for them.

    Raises:
        InvalidRequest: The options do not fit the image.
        NotAcceptable: It cannot be made.
        BrokenInstance: The instance is broken.
    """
    kind, numbers = plan.kind, plan.frame_numbers
    if kind.category is not Category.IMAGE:
        return await make_document(subject, kind, plan.media_type)
    options = replace(options, media_type=plan.media_type)
    n_frames = kind.n_frames if numbers is None else len(numbers)
    if plan.media_type in MOVIE_TYPES and n_frames > 1:
        numbers = numbers or range(1, n_frames + 1)
        return await subject.make_movie([number - 1 for number in numbers], options)
    index = numbers[0] - 1 if numbers else kind.representative
    return await subject.make_picture(index, options)


def _list_parts(
    pinned: Pinned, plans: Sequence[Plan], options: RenderOptions
) -> Iterator[Awaitable[Part]]:
    """Yield what makes each part, not started yet."""
    for plan in plans:
        subject = Subject(pinned, plan.instance)
        url = pinned.url(*plan.instance.path)
        if plan.kind.category is not Category.IMAGE or plan.media_type in MOVIE_TYPES:
            yield _make_part(subject, plan, options, f"{url}/rendered")
            continue
        for number in plan.frame_numbers or range(1, plan.kind.n_frames + 1):
            one = replace(plan, frame_numbers=[number])
            yield _make_part(subject, one, options, f"{url}/frames/{number}/rendered")


async def _make_part(subject: Subject, plan: Plan, options: RenderOptions, url: str) -> Part:
    return plan.content_type, url, await make_whole(subject, plan, options)


async def _make_parts(makers: Iterator[Awaitable[Part]]) -> AsyncGenerator[Part]:
    """Yield parts in order, making a few at a time."""
    running: deque[asyncio.Task[Part]] = deque()
    try:
        while True:
            while len(running) < FRAMES_AHEAD and (make := next(makers, None)) is not None:
                running.append(asyncio.ensure_future(make))
            if not running:
                return
            yield await running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _write_parts(
    first: Part, parts: AsyncGenerator[Part], boundary: str
) -> AsyncIterator[bytes]:
    content_type, url, data = first
    yield part_header(boundary, content_type, url, len(data), is_first=True)
    yield data
    async with aclosing(parts):
        async for content_type, url, data in parts:
            yield part_header(boundary, content_type, url, len(data))
            yield data
    yield closing(boundary)

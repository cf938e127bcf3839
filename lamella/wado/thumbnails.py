"""Thumbnails: one small picture that stands for a study, series, instance or frame.

Of a series it is the image in the middle, of a study the one of its first series with images, of
a multi-frame the frame that it names as representative, else the one in the middle.

Source:
    PS3.18 §10.4.1.1.4 (thumbnail resources).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lamella.dicomweb.answers import Answer
from lamella.dicomweb.negotiation import negotiate_rendered
from lamella.dicomweb.pinned import Pinned
from lamella.errors import NotAcceptable, ResourceNotFound
from lamella.imaging.rendering.options import PICTURE_TYPES
from lamella.vcs.selection import Selected
from lamella.wado.frames import parse_frame_list
from lamella.wado.pictures import Subject
from lamella.wado.render_parameters import read_thumbnail_options
from lamella.wado.rendered import read_kind
from lamella.wado.subjects import Category, Kind

TRIES = 64  # series that have no picture, looked at before a study is given up


async def answer_thumbnail(
    pinned: Pinned, selected: Sequence[Selected], frames: str | None = None
) -> Answer:
    """Return the thumbnail of what a target names.

    Raises:
        InvalidRequest: The viewport or the frame number makes no sense.
        ResourceNotFound: There is no image, or no such frame.
        NotAcceptable: The client takes no picture.
    """
    options = read_thumbnail_options(pinned.request.query_params)
    instance, kind = await _find_image(pinned, selected)
    index = kind.representative
    if frames is not None:
        index = parse_frame_list(frames)[0] - 1
        if index >= kind.n_frames:
            raise ResourceNotFound(f"There are {kind.n_frames} frames, no {index + 1}.")
    form = negotiate_rendered(pinned.accept, PICTURE_TYPES, single_types=PICTURE_TYPES)
    if form.is_multipart:
        raise NotAcceptable("A thumbnail is one picture: it is not sent in multipart/related.")
    headers = pinned.headers(f"{form.media_type} thumbnail")
    if pinned.is_fresh(headers):
        return Answer(304, headers)
    options = replace(options, media_type=form.media_type)
    body = await Subject(pinned, instance).make_picture(index, options)
    return Answer(200, [*headers, ("content-type", form.media_type)], body)


async def _find_image(pinned: Pinned, selected: Sequence[Selected]) -> tuple[Selected, Kind]:
    for instance in _list_candidates(selected):
        kind = await read_kind(pinned, instance)
        if kind is not None and kind.category is Category.IMAGE:
            return instance, kind
    raise ResourceNotFound("There is no image here.")


def _list_candidates(selected: Sequence[Selected]) -> Iterator[Selected]:
    """Yield the middle of each series."""
    series: dict[str, list[Selected]] = {}
    for one in selected:
        series.setdefault(one.series_uid, []).append(one)
    for _, instances in zip(range(TRIES), series.values(), strict=False):
        yield instances[len(instances) // 2]

"""Rendered resources and thumbnails as HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Request, route
from litestar.types import ASGIApp

from lamella.dicomweb.transactions import Transaction, declare, related
from lamella.imaging.rendering.options import PICTURE_TYPES
from lamella.wado.render_parameters import RENDERED_PARAMETERS, THUMBNAIL_PARAMETERS
from lamella.wado.rendered import answer_rendered
from lamella.wado.subjects import list_image_types, list_rendered_types
from lamella.wado.targets import FRAMES, INSTANCE, READ, SERIES, STUDY, list_paths, select_target
from lamella.wado.thumbnails import answer_thumbnail

_WHOLE = (STUDY, SERIES, INSTANCE)
_TYPES, _FRAME_TYPES = list_rendered_types(), list_image_types()


def _declare(media_types: Sequence[str]) -> dict[str, Any]:
    """Return what a route says that renders: parts of these types, or one of them alone."""
    parts = tuple(map(related, media_types))
    return declare(
        Transaction("10.4.1.1.3", parts, tuple(media_types), parameters=RENDERED_PARAMETERS)
    )


@route(
    list_paths(*(f"{target}/rendered" for target in _WHOLE)),
    http_method=READ,
    name="retrieve-rendered",
    opt=_declare(_TYPES),
)
async def retrieve_rendered(request: Request[Any, Any, Any]) -> ASGIApp:
    """Retrieve a study, series or instance as it looks."""
    pinned, selected = await select_target(request)
    is_single = "instance" in request.path_params
    return await answer_rendered(pinned, selected, is_single=is_single)


@route(
    list_paths(f"{FRAMES}/rendered"),
    http_method=READ,
    name="retrieve-rendered-frames",
    opt=_declare(_FRAME_TYPES),
)
async def retrieve_rendered_frames(request: Request[Any, Any, Any]) -> ASGIApp:
    """Retrieve frames as they look."""
    pinned, selected = await select_target(request)
    frames = request.path_params["frames"]
    return await answer_rendered(pinned, selected, is_single=True, frames=frames)


@route(
    list_paths(*(f"{target}/thumbnail" for target in (*_WHOLE, FRAMES))),
    http_method=READ,
    name="retrieve-thumbnail",
    opt=declare(Transaction("10.4.1.1.4", PICTURE_TYPES, parameters=THUMBNAIL_PARAMETERS)),
)
async def retrieve_thumbnail(request: Request[Any, Any, Any]) -> ASGIApp:
    """Retrieve a small picture that stands for a study, series, instance or frame."""
    pinned, selected = await select_target(request)
    return await answer_thumbnail(pinned, selected, request.path_params.get("frames"))


ROUTES = (retrieve_rendered, retrieve_rendered_frames, retrieve_thumbnail)

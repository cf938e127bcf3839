"""Rendered resources and thumbnails as HTTP."""

from __future__ import annotations

from typing import Any

from litestar import Request, route
from litestar.types import ASGIApp

from lamella.wado.rendered import answer_rendered
from lamella.wado.targets import FRAMES, INSTANCE, READ, SERIES, STUDY, list_paths, select_target
from lamella.wado.thumbnails import answer_thumbnail

_LEVELS = (STUDY, SERIES, INSTANCE, FRAMES)


@route(
    list_paths(*(f"{level}/rendered" for level in _LEVELS)),
    http_method=READ,
    name="retrieve-rendered",
)
async def retrieve_rendered(request: Request[Any, Any, Any]) -> ASGIApp:
    """Retrieve a study, series, instance or frames as they look."""
    pinned, selected = await select_target(request)
    names = request.path_params
    is_single = "instance" in names
    return await answer_rendered(pinned, selected, is_single=is_single, frames=names.get("frames"))


@route(
    list_paths(*(f"{level}/thumbnail" for level in _LEVELS)),
    http_method=READ,
    name="retrieve-thumbnail",
)
async def retrieve_thumbnail(request: Request[Any, Any, Any]) -> ASGIApp:
    """Retrieve a small picture that stands for a study, series, instance or frame."""
    pinned, selected = await select_target(request)
    return await answer_thumbnail(pinned, selected, request.path_params.get("frames"))


ROUTES = (retrieve_rendered, retrieve_thumbnail)

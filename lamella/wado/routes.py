"""The retrieve transactions as HTTP."""

from __future__ import annotations

from typing import Any

from litestar import Request, route
from litestar.types import ASGIApp

from lamella.dicomweb.pinned import Pinned, pin_and_read
from lamella.dicomweb.services import services_of
from lamella.vcs.selection import Selected, select
from lamella.wado.bulk import answer_bulk_data
from lamella.wado.frames import answer_frames
from lamella.wado.instances import answer_instances
from lamella.wado.metadata import answer_metadata

_ROOTS = ("/dicomweb/{dataset:str}", "/dicomweb/{dataset:str}/{revision:str}")
_STUDY = "/studies/{study:str}"
_SERIES = f"{_STUDY}/series/{{series:str}}"
_INSTANCE = f"{_SERIES}/instances/{{instance:str}}"
_READ: Any = ["GET", "HEAD"]


def _paths(*resources: str) -> list[str]:
    return [f"{root}{resource}" for resource in resources for root in _ROOTS]


@route(_paths(_STUDY, _SERIES, _INSTANCE), http_method=_READ, name="retrieve-instances")
async def retrieve_instances(request: Request[Any, Any, Any]) -> ASGIApp:
    """Retrieve the instances of a study or series, or one instance."""
    pinned, selected = await _select(request)
    single_item = "instance" in request.path_params
    return await answer_instances(pinned, selected, single_item=single_item)


@route(
    _paths(f"{_STUDY}/metadata", f"{_SERIES}/metadata", f"{_INSTANCE}/metadata"),
    http_method=_READ,
    name="retrieve-metadata",
)
async def retrieve_metadata(request: Request[Any, Any, Any]) -> ASGIApp:
    """Retrieve all attributes, without bulk values, as DICOM JSON."""
    return await answer_metadata(*await _select(request))


@route(_paths(f"{_INSTANCE}/frames/{{frames:str}}"), http_method=_READ, name="retrieve-frames")
async def retrieve_frames(request: Request[Any, Any, Any]) -> ASGIApp:
    """Retrieve frames by number, from 1 on."""
    pinned, (instance,) = await _select(request)
    return await answer_frames(pinned, instance, request.path_params["frames"])


@route(_paths(f"{_INSTANCE}/bulkdata/{{path:path}}"), http_method=_READ, name="retrieve-bulk-data")
async def retrieve_bulk_data(request: Request[Any, Any, Any]) -> ASGIApp:
    """Retrieve the value that a BulkDataURI stands for."""
    pinned, (instance,) = await _select(request)
    path = str(request.path_params["path"]).strip("/")
    return await answer_bulk_data(pinned, instance, path)


ROUTES = (retrieve_instances, retrieve_metadata, retrieve_frames, retrieve_bulk_data)


async def _select(request: Request[Any, Any, Any]) -> tuple[Pinned, list[Selected]]:
    names = request.path_params
    repository = services_of(request).repository
    study, series, instance = names["study"], names.get("series"), names.get("instance")
    return await pin_and_read(
        request,
        lambda connection, view: select(connection, repository, view, study, series, instance),
    )

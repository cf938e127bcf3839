"""The retrieve transactions as HTTP."""

from __future__ import annotations

from typing import Any

from litestar import Request, route
from litestar.types import ASGIApp

from lamella.dicomweb.frame_types import FRAME_MEDIA_TYPES
from lamella.dicomweb.media_types import DICOM, OCTET_STREAM
from lamella.dicomweb.pinned import pin
from lamella.dicomweb.transactions import DATA_SETS, Transaction, declare, related
from lamella.wado.archives import ZIP, answer_archive, wants_archive
from lamella.wado.bulk import answer_bulk_data
from lamella.wado.bulk_resources import ROUTES as BULK_ROUTES
from lamella.wado.frames import answer_frames
from lamella.wado.instances import answer_instances
from lamella.wado.metadata import answer_metadata
from lamella.wado.rendered_routes import ROUTES as RENDERED_ROUTES
from lamella.wado.targets import FRAMES, INSTANCE, READ, SERIES, STUDY, list_paths, select_target
from lamella.wado.uri import ROUTES as URI_ROUTES

_IMAGES = [kind for kind in FRAME_MEDIA_TYPES.values() if not kind.startswith("video/")]
FRAME_TYPES = (OCTET_STREAM, *dict.fromkeys(_IMAGES))  # frames of a video cannot be told apart


@route(
    list_paths(STUDY, SERIES, INSTANCE),
    http_method=READ,
    name="retrieve-instances",
    opt=declare(Transaction("10.4.1.1.1", (related(DICOM), ZIP), (DICOM,))),
)
async def retrieve_instances(request: Request[Any, Any, Any]) -> ASGIApp:
    """Retrieve the instances of a study or series, or one instance."""
    pinned, selected = await select_target(request)
    if wants_archive(pinned.accept):
        return await answer_archive(pinned, selected)
    single_item = "instance" in request.path_params
    return await answer_instances(pinned, selected, single_item=single_item)


@route(
    list_paths(f"{STUDY}/metadata", f"{SERIES}/metadata", f"{INSTANCE}/metadata"),
    http_method=READ,
    name="retrieve-metadata",
    opt=declare(Transaction("10.4.1.1.2", DATA_SETS)),
)
async def retrieve_metadata(request: Request[Any, Any, Any]) -> ASGIApp:
    """Retrieve all attributes, without bulk values, as DICOM JSON."""
    names = request.path_params
    pinned = await pin(request)
    return await answer_metadata(pinned, names["study"], names.get("series"), names.get("instance"))


@route(
    list_paths(FRAMES),
    http_method=READ,
    name="retrieve-frames",
    opt=declare(Transaction("10.4.1.1.6", (*map(related, FRAME_TYPES), *FRAME_TYPES))),
)
async def retrieve_frames(request: Request[Any, Any, Any]) -> ASGIApp:
    """Retrieve frames by number, from 1 on."""
    pinned, (instance,) = await select_target(request)
    return await answer_frames(pinned, instance, request.path_params["frames"])


@route(
    list_paths(f"{INSTANCE}/bulkdata/{{path:path}}"),
    http_method=READ,
    name="retrieve-bulk-data",
    opt=declare(Transaction("10.4.1.1.5", (*FRAME_TYPES, *map(related, FRAME_TYPES)))),
)
async def retrieve_bulk_data(request: Request[Any, Any, Any]) -> ASGIApp:
    """Retrieve the value that a BulkDataURI stands for."""
    pinned, (instance,) = await select_target(request)
    path = str(request.path_params["path"]).strip("/")
    return await answer_bulk_data(pinned, instance, path)


ROUTES = (
    retrieve_instances,
    retrieve_metadata,
    retrieve_frames,
    retrieve_bulk_data,
    *BULK_ROUTES,
    *RENDERED_ROUTES,
    *URI_ROUTES,
)

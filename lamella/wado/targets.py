"""What the URL of a retrieve request names.

Source:
    PS3.18 §10.4.1 (resources and their URI templates).
"""

from __future__ import annotations

from typing import Any

from litestar import Request

from lamella.dicomweb.pinned import Pinned, pin, pin_and_read
from lamella.dicomweb.services import services_of
from lamella.errors import ResourceNotFound
from lamella.vcs.repository import NotCached
from lamella.vcs.selection import Selected, pick_instance, select

ROOTS = ("/dicomweb/{dataset:str}", "/dicomweb/{dataset:str}/{revision:str}")
STUDY = "/studies/{study:str}"
SERIES = f"{STUDY}/series/{{series:str}}"
INSTANCE = f"{SERIES}/instances/{{instance:str}}"
FRAMES = f"{INSTANCE}/frames/{{frames:str}}"
READ: Any = ["GET", "HEAD"]


def list_paths(*resources: str) -> list[str]:
    """Return resources below each DICOMweb root."""
    return [f"{root}{resource}" for resource in resources for root in ROOTS]


async def select_target(request: Request[Any, Any, Any]) -> tuple[Pinned, list[Selected]]:
    """Return the pinned request and the instances that its URL names.

    Raises:
        ResourceNotFound: There are none at this revision.
        InvalidRequest, AmbiguousRevision, RevisionNotFound: As `pin_and_read`.
    """
    names = request.path_params
    uids = names["study"], names.get("series"), names.get("instance")
    return await select_named(request, *uids)


async def select_named(
    request: Request[Any, Any, Any], study: str, series: str | None, instance: str | None
) -> tuple[Pinned, list[Selected]]:
    """Return the pinned request and the instances of a study or series, or the one instance.

    Raises:
        ResourceNotFound: There are none at this revision.
        InvalidRequest, AmbiguousRevision, RevisionNotFound: As `pin_and_read`.
    """
    repository = services_of(request).repository
    if series is not None and instance is not None:
        pinned = await pin(request)
        try:
            tree = repository.recall_tree(pinned.view.root)
            return pinned, [pick_instance(tree, study, series, instance)]
        except (NotCached, ResourceNotFound):
            pass  # the database has it, or knows why it is not there
    return await pin_and_read(
        request,
        lambda connection, pinned: select(
            connection, repository, pinned.view, study, series, instance
        ),
    )

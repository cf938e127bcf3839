"""Deleting a study, a series or an instance from a branch, as HTTP.

PS3.18 does not define it for the Studies Service; its resources are those of PS3.18 §10.1.

Source:
    RFC 9110 §9.3.5 (DELETE) and §15.3.5 (204 No Content).
"""

from __future__ import annotations

from typing import Any

from litestar import Request, delete
from litestar.response import Response

from lamella.dicomweb.pinned import pin
from lamella.dicomweb.transactions import Transaction, declare
from lamella.dicomweb.writers import open_session
from lamella.vcs.deletion import Target, delete_target

_STUDY = "/studies/{study:str}"
_SERIES = f"{_STUDY}/series/{{series:str}}"
_INSTANCE = f"{_SERIES}/instances/{{instance:str}}"


@delete(
    [
        f"/dicomweb/{{dataset:str}}{revision}{resource}"
        for revision in ("", "/{revision:str}")
        for resource in (_STUDY, _SERIES, _INSTANCE)
    ],
    name="delete",
    opt=declare(Transaction("", status=204)),
)
async def delete_instances(request: Request[Any, Any, Any]) -> Response[None]:
    """Delete a study, a series or an instance from a branch, as one commit."""
    pinned = await pin(request)
    work = open_session(pinned, "delete")
    names = request.path_params
    target = Target(names["study"], names.get("series"), names.get("instance"))
    committed = await delete_target(pinned.services.repository, work, target)
    return Response(None, headers={"Lamella-Commit": committed.commit_id.hex()})

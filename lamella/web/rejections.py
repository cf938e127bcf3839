"""`/api/v1/datasets/{dataset}/rejections`: what rejection notes hide, and lifting that."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from litestar import Request, post, route
from litestar.response import Response

from lamella.dicomweb.pinned import read_header
from lamella.dicomweb.services import services_of
from lamella.dicomweb.writers import ANONYMOUS, parse_expected_head, parse_message
from lamella.vcs.lifts import LiftRequest, lift_rejection
from lamella.vcs.refs import find_dataset
from lamella.vcs.rejections import Rejection, find_rejection, list_rejections

Json = dict[str, Any]
AnyRequest = Request[Any, Any, Any]
READ: Any = ["GET", "HEAD"]
REJECTIONS = "/datasets/{dataset:str}/rejections"
REJECTION = f"{REJECTIONS}/{{rejection:int}}"


@route(REJECTIONS, http_method=READ, name="list-rejections")
async def get_rejections(request: AnyRequest, dataset: str) -> list[Json]:
    """List rejections, whether in force or lifted, oldest first."""

    def read(connection: sa.Connection) -> list[Rejection]:
        return list_rejections(connection, find_dataset(connection, dataset).id)

    found = await services_of(request).repository.archive.database.read(read)
    return [one.describe() for one in found]


@route(REJECTION, http_method=READ, name="show-rejection")
async def get_rejection(request: AnyRequest, dataset: str, rejection: int) -> Json:
    """Show one rejection."""

    def read(connection: sa.Connection) -> Rejection:
        return find_rejection(connection, rejection, find_dataset(connection, dataset).id)

    return (await services_of(request).repository.archive.database.read(read)).describe()


@post(f"{REJECTION}/lift", status_code=200, name="lift-rejection")
async def post_lift(request: AnyRequest, dataset: str, rejection: int) -> Response[Json]:
    """Lift a rejection: what it hid can be seen again, and is back at the head, as a commit."""
    repository = services_of(request).repository
    owner = await repository.archive.database.read(lambda c: find_dataset(c, dataset))
    asked = LiftRequest(
        ANONYMOUS,
        parse_message(read_header(request, b"lamella-message")),
        parse_expected_head(read_header(request, b"if-match")),
    )
    lifted = await lift_rejection(repository, rejection, asked, owner.id)
    commit_id = None if lifted.lift is None else lifted.lift.commit_id
    headers = {} if commit_id is None else {"Lamella-Commit": commit_id.hex()}
    return Response(lifted.describe(), headers=headers)


HANDLERS = (get_rejections, get_rejection, post_lift)

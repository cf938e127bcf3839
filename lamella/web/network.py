"""What DIMSE goes by: AE titles that stand for revisions, known peers, rules of both directions.

`/api/v1/aets`, `/api/v1/peers`, `/api/v1/routes` (where stores go), `/api/v1/forwarding` (where
commits go on to).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, delete, post, route
from litestar.params import Parameter

from lamella.archive.database import Database
from lamella.dicomweb.services import services_of
from lamella.dimse_gateway.ae_titles import add_ae_title, delete_ae_title, list_ae_titles
from lamella.dimse_gateway.forwarding import add_rule, delete_rule, list_rules
from lamella.dimse_gateway.peers import add_peer, delete_peer, list_peers
from lamella.dimse_gateway.routes import ANY, add_route, delete_route, list_routes
from lamella.errors import AlreadyExists
from lamella.settings import Address
from lamella.vcs.conflicts import LARGEST_ID

Json = dict[str, Any]
AnyRequest = Request[Any, Any, Any]
READ: Any = ["GET", "HEAD"]
Id = Annotated[int, Parameter(ge=1, le=LARGEST_ID)]


class NewAeTitle(msgspec.Struct, forbid_unknown_fields=True):
    """An AE title, and the revision that it shall stand for; without one, the default branch."""

    title: str
    dataset: str
    revision: str | None = None
    callers: list[str] = []


class NewPeer(msgspec.Struct, forbid_unknown_fields=True):
    """A peer to be known."""

    name: str
    host: str
    port: int
    title: str
    tls: bool = False


class NewRoute(msgspec.Struct, forbid_unknown_fields=True):
    """Where instances shall go that are stored so; `match` is Keyword=PATTERN."""

    dataset: str
    branch: str | None = None
    called: str = ANY
    calling: str = ANY
    match: str = ""


class NewRule(msgspec.Struct, forbid_unknown_fields=True):
    """What commits bring that a peer shall have; keys are Keyword=value, of series."""

    dataset: str
    peer: str
    branch: str = ""
    keys: list[str] = []


@route("/aets", http_method=READ, name="list-ae-titles")
async def get_ae_titles(request: AnyRequest) -> list[Json]:
    """List the AE titles that were added."""
    found = await _database(request).read(list_ae_titles)
    return [one.describe() for one in found]


@post("/aets", name="add-ae-title")
async def post_ae_title(request: AnyRequest, data: NewAeTitle) -> Json:
    """Let an AE title stand for a revision."""
    if data.title.strip() == services_of(request).settings.aet.strip():
        raise AlreadyExists(f"AE title {data.title!r} is that of LAMELLA_AET.")
    added = await _database(request).write(
        lambda c: add_ae_title(c, data.title, data.dataset, data.revision, data.callers)
    )
    return added.describe()


@delete("/aets/{title:str}", name="delete-ae-title")
async def remove_ae_title(request: AnyRequest, title: str) -> None:
    """Let an AE title stand for nothing."""
    await _database(request).write(lambda c: delete_ae_title(c, title))


@route("/peers", http_method=READ, name="list-peers")
async def get_peers(request: AnyRequest) -> list[Json]:
    """List peers."""
    return [one.describe() for one in await _database(request).read(list_peers)]


@post("/peers", name="add-peer")
async def post_peer(request: AnyRequest, data: NewPeer) -> Json:
    """Make a peer known."""
    address = Address(data.host, data.port)
    added = await _database(request).write(
        lambda c: add_peer(c, data.name, address, data.title, is_tls=data.tls)
    )
    return added.describe()


@delete("/peers/{peer:str}", name="delete-peer")
async def remove_peer(request: AnyRequest, peer: str) -> None:
    """Forget a peer."""
    await _database(request).write(lambda c: delete_peer(c, peer))


@route("/routes", http_method=READ, name="list-routes")
async def get_routes(request: AnyRequest) -> list[Json]:
    """List the rules of where stores go, in their order."""
    return [one.describe() for one in await _database(request).read(list_routes)]


@post("/routes", name="add-route")
async def post_route(request: AnyRequest, data: NewRoute) -> Json:
    """Add a rule of where stores go, behind those there are."""
    added = await _database(request).write(
        lambda c: add_route(
            c, data.dataset, data.branch, called=data.called, calling=data.calling, match=data.match
        )
    )
    return added.describe()


@delete("/routes/{route_id:int}", name="delete-route")
async def remove_route(request: AnyRequest, route_id: Id) -> None:
    """Delete a rule of where stores go."""
    await _database(request).write(lambda c: delete_route(c, route_id))


@route("/forwarding", http_method=READ, name="list-forwarding")
async def get_rules(request: AnyRequest) -> list[Json]:
    """List the rules by which commits go on to peers."""
    return [one.describe() for one in await _database(request).read(list_rules)]


@post("/forwarding", name="add-forwarding")
async def post_rule(request: AnyRequest, data: NewRule) -> Json:
    """Send what commits bring from now on to a peer."""
    added = await _database(request).write(
        lambda c: add_rule(c, data.dataset, data.branch, data.peer, data.keys)
    )
    return added.describe()


@delete("/forwarding/{rule_id:int}", name="delete-forwarding")
async def remove_rule(request: AnyRequest, rule_id: Id) -> None:
    """Send no more by a rule."""
    await _database(request).write(lambda c: delete_rule(c, rule_id))


HANDLERS = [
    get_routes,
    post_route,
    remove_route,
    get_rules,
    post_rule,
    remove_rule,
    get_ae_titles,
    post_ae_title,
    remove_ae_title,
    get_peers,
    post_peer,
    remove_peer,
]


def _database(request: AnyRequest) -> Database:
    return services_of(request).repository.archive.database

"""`/api/v1/aets` and `/api/v1/peers`: AE titles that stand for revisions, and known peers."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, delete, post, route

from lamella.archive.database import Database
from lamella.dicomweb.services import services_of
from lamella.dimse_gateway.ae_titles import add_ae_title, delete_ae_title, list_ae_titles
from lamella.dimse_gateway.peers import add_peer, delete_peer, list_peers
from lamella.errors import AlreadyExists
from lamella.settings import Address

Json = dict[str, Any]
AnyRequest = Request[Any, Any, Any]
READ: Any = ["GET", "HEAD"]


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


HANDLERS = [
    get_ae_titles,
    post_ae_title,
    remove_ae_title,
    get_peers,
    post_peer,
    remove_peer,
]


def _database(request: AnyRequest) -> Database:
    return services_of(request).repository.archive.database

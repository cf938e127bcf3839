"""Peers: other application entities that this installation calls, by the names it gives them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lamella.archive.database import read_clock_us
from lamella.dimse_gateway.ae_titles import check_ae_title
from lamella.errors import AlreadyExists, InvalidRequest, ResourceNotFound
from lamella.settings import Address
from lamella.vcs.commit_object import format_time
from lamella.vcs.network_tables import peer, pushed
from lamella.vcs.refs import NAME

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_SELECT = sa.select(
    peer.c.name, peer.c.host, peer.c.port, peer.c.title, peer.c.is_tls, peer.c.created_us
)


@dataclass(frozen=True, slots=True)
class Peer:
    """An application entity somewhere else.

    Attributes:
        name: By which commands call it.
        title: Its AE title, by which a C-MOVE names it as its destination.
        is_tls: Whether it is spoken to over TLS.
    """

    name: str
    address: Address
    title: str
    is_tls: bool
    created_us: int

    def describe(self) -> dict[str, Any]:
        """Return it as the API and `--json` show it."""
        return {
            "name": self.name,
            "host": self.address.host,
            "port": self.address.port,
            "title": self.title,
            "tls": self.is_tls,
            "created": format_time(self.created_us),
        }


def add_peer(
    connection: sa.Connection, name: str, address: Address, title: str, *, is_tls: bool = False
) -> Peer:
    """Make a peer known.

    Raises:
        InvalidRequest: The name, the address or the AE title will not do.
        AlreadyExists: There is one of that name, or of that AE title.
    """
    if not NAME.fullmatch(name):
        raise InvalidRequest(f"{name!r} cannot name a peer.")
    if not _HOST.fullmatch(address.host) or not 0 < address.port < 65536:
        raise InvalidRequest("The address of a peer is HOST:PORT.")
    title = check_ae_title(title)
    if find_destination(connection, title) is not None:
        raise AlreadyExists(f"There is a peer of AE title {title!r} already.")
    added = Peer(name, address, title, is_tls, read_clock_us(connection))
    row = {
        "name": name,
        "host": address.host,
        "port": address.port,
        "title": title,
        "is_tls": int(is_tls),
        "created_us": added.created_us,
    }
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(peer), row)
    except sa.exc.IntegrityError as error:
        raise AlreadyExists(f"There is a peer {name!r} already.") from error
    return added


def list_peers(connection: sa.Connection) -> list[Peer]:
    """Return all peers in alphabetical order."""
    return [_read_row(row) for row in connection.execute(_SELECT.order_by(peer.c.name)).all()]


def find_peer(connection: sa.Connection, name: str) -> Peer:
    """Return a peer by name.

    Raises:
        ResourceNotFound: There is none.
    """
    row = connection.execute(_SELECT.where(peer.c.name == name)).first()
    if row is None:
        raise ResourceNotFound(f"There is no peer {name!r}.")
    return _read_row(row)


def find_destination(connection: sa.Connection, title: str) -> Peer | None:
    """Return the peer of an AE title, or None."""
    row = connection.execute(_SELECT.where(peer.c.title == title.strip())).first()
    return None if row is None else _read_row(row)


def delete_peer(connection: sa.Connection, name: str) -> None:
    """Forget a peer.

    Raises:
        ResourceNotFound: There is none.
    """
    connection.execute(sa.delete(pushed).where(pushed.c.peer == name))
    if not connection.execute(sa.delete(peer).where(peer.c.name == name)).rowcount:
        raise ResourceNotFound(f"There is no peer {name!r}.")


def _read_row(row: Any) -> Peer:
    name, host, port, title, is_tls, created_us = row
    return Peer(name, Address(host, port), title, bool(is_tls), created_us)

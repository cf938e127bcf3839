"""Granian, embedded in our own event loop and on our own listening socket.

The embedded server shares the process with the DIMSE gateway, so that one `kill` is one crash
and the real port is known before the first request.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from litestar.types import ASGIApp

from lamella.errors import OutOfResources
from lamella.settings import Address

BACKLOG = 1024
CONNECTIONS = 1024  # that one process serves at a time; more wait in the backlog
SILENT_S = 60  # until a peer is asked whether it is still there
PROBES = 4
PROBE_S = 15
_SPREADS = sys.platform == "linux"  # what other systems do with SO_REUSEPORT differs
UNREAD_S = 60  # how long a peer may leave what was sent to it unread or unacknowledged


def listen(address: Address, *, is_shared: bool = False) -> socket.socket:
    """Bind and listen.

    Args:
        address: Port 0 is any free one.
        is_shared: Whether other processes will bind beside it.

    Raises:
        OutOfResources: The address is taken or cannot be bound.
    """
    listener = _open_socket(address)
    try:
        listener.bind((address.host, address.port))
        if is_shared and _SPREADS:  # after binding, which another server's socket refuses
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OutOfResources(f"HTTP cannot listen on {address}: {error.strerror}.") from error
    return listener


def bind_beside(listener: socket.socket) -> socket.socket:
    """Return a socket for another process at the same door, which has to call its `listen`.

    The system spreads connections over the sockets that listen. Of one that processes share, who
    is awake takes all that wait: of two processes one was given all of 16 connections in every
    second try.

    Args:
        listener: Listens, and is shared.

    Raises:
        OutOfResources: The address cannot be bound.
    """
    if not _SPREADS:
        return listener.dup()
    address = Address(*listener.getsockname()[:2])
    beside = _open_socket(address)
    try:
        beside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        beside.bind((address.host, address.port))
    except OSError as error:
        beside.close()
        raise OutOfResources(f"HTTP cannot bind {address} again: {error.strerror}.") from error
    return beside


def _open_socket(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit it; without it an answer in pieces waits 40 ms for an ACK.
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _bound_silence(opened)
    opened.setblocking(False)
    return opened


def _bound_silence(listener: socket.socket) -> None:
    """Have the system end connections whose peer vanished or reads nothing; they inherit it.

    Source:
        tcp(7).
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", SILENT_S),
        ("TCP_KEEPINTVL", PROBE_S),
        ("TCP_KEEPCNT", PROBES),
        ("TCP_USER_TIMEOUT", UNREAD_S * 1000),
    ):
        option = getattr(socket, name, None)  # Linux has them all
        if option is not None:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)


class HttpServer(Server):
    """One embedded granian worker on a socket that is listening already."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        logging.getLogger("granian").setLevel(logging.ERROR)
        super().__init__(
            app,
            interface=Interfaces.ASGINL,
            # to find out which version a peer speaks, granian waits for its first word, for ever
            http=HTTPModes.http1,
            websockets=False,
            backlog=BACKLOG,
            backpressure=CONNECTIONS,
            log_level=LogLevels.error,
            log_dictconfig={"disable_existing_loggers": False},
        )
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to serve in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self.serve())

    async def finish(self, timeout_s: float) -> None:
        """Take no new connections, and wait for requests under way.

        Args:
            timeout_s: How long they may take; then they are cut off.
        """
        self.stop()  # type: ignore[no-untyped-call]
        if self._task is not None:
            await asyncio.wait([self._task], timeout=timeout_s)

    def _init_shared_socket(self) -> None:
        # granian's stub lacks two of the arguments: whether it is a Unix socket, the backlog
        holder: Any = SocketHolder
        self._shd = holder(self._listener.detach(), False, BACKLOG)  # granian closes it

    def _drop_shared_socket(self) -> None:
        pass

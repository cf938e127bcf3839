"""Bounds how long a sender may stall in the middle of a request's body, and hears it out.

A slow sender is served however long it takes, as long as something comes; one that stopped
would keep its connection, and a place among the stores, for ever.

A request may be answered before all of its body has come (too long, no branch, nothing
acceptable). Closing the connection then would make the system throw the answer away before the
sender, who is still sending, reads it; so some more of the body is read, and dropped.

While one piece of a body is worked on, the next is asked for: of half a megabyte, which comes in
ten, a tenth less processor time and no wait for each.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from lamella.errors import InvalidRequest, SenderStalled

STALL_S = 60.0
LINGER_S = 5.0
LINGER_BYTES = 64 << 20
MOST_AHEAD = 16  # requests of which a piece, of up to 0.4 MB, waits to be worked on
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))


class Patience:
    """ASGI middleware around what reads bodies.

    Args:
        app: What is called.
        stall_s: How long to wait for the next bytes of a body.
    """

    def __init__(self, app: ASGIApp, stall_s: float = STALL_S) -> None:
        self._app = app
        self._stall_s = stall_s
        self._ahead: set[_Line] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through; whoever reads its body is told when no more of it comes."""
        if scope["type"] != ScopeType.HTTP or scope["method"] not in _WITH_BODY:
            await self._app(scope, receive, send)
            return
        line = _Line(receive, send, self._stall_s, self._ahead)
        try:
            await self._app(scope, line.receive, line.send)
            await line.hear_out()
        finally:
            line.hang_up()


class _Line:
    """What a request hears its sender by, and speaks to it; let go of when it is answered.

    As long as anything refers to a body that has not all come, granian sometimes keeps its
    connection open after the answer (seen in one of eight; collecting garbage ended it). Requests
    and their errors refer to themselves in circles, so that would be until Python looks for such
    circles: a long time, on a server that has little to do.
    """

    def __init__(self, receive: Receive, send: Send, stall_s: float, ahead: set[_Line]) -> None:
        self._receive: Receive | None = receive
        self._send: Send | None = send
        self._stall_s = stall_s
        self._ahead = ahead
        self._coming: asyncio.Future[Any] | None = None
        self._has_more = True

    async def receive(self) -> Any:
        """Return the next message.

        Raises:
            SenderStalled: None comes.
            InvalidRequest: None will come, and the body is not whole.
        """
        if self._receive is None:
            return {"type": "http.disconnect"}
        coming = self._coming or asyncio.ensure_future(self._receive())
        self._coming = coming
        if not coming.done():
            await asyncio.wait((coming,), timeout=self._stall_s)
        if not coming.done():
            self._has_more = False  # as far as anybody waits for it
            raise SenderStalled(f"No more of the request's body came for {self._stall_s:g} s.")
        self._coming = None
        self._ahead.discard(self)
        message, was_whole = coming.result(), not self._has_more
        self._has_more = bool(message.get("more_body"))
        if message["type"] == "http.disconnect" and not was_whole:
            raise InvalidRequest("The request body ends before its time.")
        if self._has_more and len(self._ahead) < MOST_AHEAD:
            self._ahead.add(self)
            self._coming = asyncio.ensure_future(self._receive())
        return message

    async def hear_out(self) -> None:
        """Read the rest of a body whose request has been answered, but not for long."""
        left_bytes = LINGER_BYTES
        with suppress(TimeoutError, SenderStalled, InvalidRequest):
            async with asyncio.timeout(LINGER_S):
                while self._has_more and left_bytes > 0:
                    left_bytes -= len((await self.receive()).get("body", b""))

    async def send(self, message: Any) -> None:
        """Pass on a message."""
        if self._send is not None:
            await self._send(message)

    def hang_up(self) -> None:
        """Refer to the server's ends no more."""
        if self._coming is not None:
            self._coming.cancel()
        self._ahead.discard(self)
        self._receive = self._send = self._coming = None

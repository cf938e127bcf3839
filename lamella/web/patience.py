"""Bounds how long a sender may stall in the middle of a request's body.

A slow sender is served however long it takes, as long as something comes; one that stopped
would keep its connection, and a place among the stores, for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from lamella.errors import SenderStalled

STALL_S = 60.0
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through; whoever reads its body is told when no more of it comes."""
        if scope["type"] != ScopeType.HTTP or scope["method"] not in _WITH_BODY:
            await self._app(scope, receive, send)
            return

        pending: set[asyncio.Future[Any]] = set()

        async def receive_soon() -> Any:
            # Waited for beside, not cancelled: cancelling what granian gives now and then wakes
            # nobody, and the request would never be answered.
            coming = asyncio.ensure_future(receive())
            pending.add(coming)
            await asyncio.wait((coming,), timeout=self._stall_s)
            if not coming.done():
                raise SenderStalled(f"No more of the request's body came for {self._stall_s:g} s.")
            pending.discard(coming)
            return coming.result()

        try:
            await self._app(scope, receive_soon, send)
        finally:
            for coming in pending:
                coming.cancel()

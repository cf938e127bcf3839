"""Which methods a resource has, as an answer to OPTIONS tells it.

litestar answers OPTIONS with the methods of one of a path's handlers; a path such as `/studies`
has several.

Source:
    RFC 9110 §9.3.7, §10.2.1.
"""

from __future__ import annotations

from typing import Any

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.routes import HTTPRoute
from litestar.types import Receive, Scope, Send


class Methods:
    """ASGI middleware around the routes that completes `Allow` in answers to OPTIONS."""

    def __init__(self, app: Litestar) -> None:
        self._app = app
        self._allow = {
            route.path_format: ", ".join(sorted(route.methods)).encode()
            for route in app.routes
            if isinstance(route, HTTPRoute)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through."""
        if scope["type"] != ScopeType.HTTP or scope["method"] != "OPTIONS":
            await self._app(scope, receive, send)
            return

        async def complete(message: Any) -> None:
            allow = self._allow.get(scope.get("path_template", ""))
            if message["type"] == "http.response.start" and allow is not None:
                others = [pair for pair in message["headers"] if pair[0].lower() != b"allow"]
                message["headers"] = [*others, (b"allow", allow)]
            await send(message)

        await self._app(scope, receive, complete)

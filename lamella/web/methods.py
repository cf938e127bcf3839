"""Which methods a resource has: what OPTIONS tells of them, and HEAD wherever there is GET.

litestar answers OPTIONS with the methods of one of a path's handlers; a path such as `/studies`
has several. Its own documents, such as OpenAPI's, have no HEAD.

Source:
    RFC 9110 §9.3.2, §9.3.7, §10.2.1.
"""

from __future__ import annotations

from typing import Any

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.routes import HTTPRoute
from litestar.types import Receive, Scope, Send

_READ = frozenset({"GET", "HEAD"})


class Methods:
    """ASGI middleware around the routes that completes methods."""

    def __init__(self, app: Litestar) -> None:
        self._app = app
        methods = {
            route.path_format: route.methods for route in app.routes if isinstance(route, HTTPRoute)
        }
        self._allow = {path: ", ".join(sorted(names)).encode() for path, names in methods.items()}
        self._headless = {path for path, names in methods.items() if names & _READ == {"GET"}}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through."""
        if scope["type"] != ScopeType.HTTP or scope["method"] not in ("OPTIONS", "HEAD"):
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await self._answer_options(scope, receive, send)
        elif scope["path"] in self._headless:
            await self._answer_head(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer_options(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def complete(message: Any) -> None:
            allow = self._allow.get(scope.get("path_template", ""))
            if message["type"] == "http.response.start" and allow is not None:
                others = [pair for pair in message["headers"] if pair[0].lower() != b"allow"]
                message["headers"] = [*others, (b"allow", allow)]
            await send(message)

        await self._app(scope, receive, complete)

    async def _answer_head(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def strip(message: Any) -> None:
            if message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        got: Any = {**scope, "method": "GET"}
        await self._app(got, receive, strip)

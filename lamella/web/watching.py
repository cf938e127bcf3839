"""Counts and logs every request: route, status, duration; never a query string or a value."""

from __future__ import annotations

import logging
import time
from functools import cache
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from prometheus_client import Counter, Histogram

logger = logging.getLogger("lamella.http")

REQUESTS = Counter("lamella_http_requests", "HTTP requests", ["method", "route", "status"])
SECONDS = Histogram(
    "lamella_http_request_seconds",
    "Time to the last byte of an answer, in seconds",
    ["method", "route"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 300),
)


class RequestWatch:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through and note what became of it."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def note_status(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            duration_s = time.perf_counter() - started
            route = _name_route(scope)
            method = scope["method"] if status != 405 else "other"
            _find_counter(method, route, status).inc()
            _find_histogram(method, route).observe(duration_s)
            logger.info(
                "request",
                extra={
                    "method": scope["method"],
                    "route": route,
                    "status": status,
                    "ms": round(duration_s * 1000, 1),
                },
            )


@cache
def _find_counter(method: str, route: str, status: int) -> Counter:
    return REQUESTS.labels(method, route, status)


@cache
def _find_histogram(method: str, route: str) -> Histogram:
    return SECONDS.labels(method, route)


def _name_route(scope: Scope) -> str:
    name = getattr(scope.get("route_handler"), "name", None)
    return "other" if name is None or "litestar" in name else str(name)

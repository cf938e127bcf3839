"""Refuses requests that name no host, or something that is none, as HTTP has it.

Source:
    RFC 9112 §3.2 (Request Target): such a request is answered 400; RFC 3986 §3.2.2, §3.2.3.
"""

from __future__ import annotations

import re
from functools import lru_cache

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from lamella.dicomweb.answers import Answer
from lamella.dicomweb.problems import describe_problem

_HOST = re.compile(
    rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]{0,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{0,5}))?"
)
_LARGEST_PORT = 65_535


class Hosts:
    """ASGI middleware around the doors.

    Args:
        app: Answers requests whose host can be one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through, or refuse it."""
        if scope["type"] == ScopeType.HTTP:
            named = [value for name, value in scope["headers"] if name == b"host"]
            if len(named) > 1 or not all(map(is_host, named)):
                body = describe_problem(400, "Invalid request", "The header Host names no host.")
                refusal = Answer(400, [("content-type", "application/json")], body)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


@lru_cache(maxsize=256)
def is_host(value: bytes) -> bool:
    """Tell whether the value of a Host header is a host, with a port or without; or empty."""
    match = _HOST.fullmatch(value)
    return match is not None and int(match[1] or 0) <= _LARGEST_PORT

"""What pages of other origins may do: CORS and Cross-Origin-Resource-Policy.

A page may read answers only where its origin is allowed. Without a setting that is pages from
this machine: a server on loopback has no password, and any web page that its user happens to
open could else read the patients.

Source:
    Fetch standard §3.2 (CORS protocol) and §3.7 (Cross-Origin-Resource-Policy); Private Network
    Access §3.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from lamella.settings import Address

Headers = list[tuple[bytes, bytes]]

OFF, LOCAL, ANY = "off", "local", "*"
_METHODS = b"GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE"
_EXPOSED = b"Content-Location, Content-Range, ETag, Lamella-Commit, Location, Retry-After, Warning"
_PREFLIGHT_AGE_S = b"7200"
_FIELD_NAMES = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z, \t]{1,2000}")


class Origins:
    """ASGI middleware that answers preflights and marks answers for pages of allowed origins.

    Args:
        app: What is called.
        allowed: Origins such as `https://viewer.example.org`; `local` stands for those of this
            machine, `*` for all. Empty: nothing is marked.
    """

    def __init__(self, app: ASGIApp, allowed: frozenset[str]) -> None:
        self._app = app
        self._allows = _build_test(allowed)
        self._is_any = ANY in allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight; pass anything else through."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        origin = _read(scope, b"origin")
        is_allowed = origin is not None and self._allows(origin.decode("latin-1"))
        marks = self._list_marks(origin if is_allowed else None)
        if is_allowed and scope["method"] == "OPTIONS" and _is_preflight(scope):
            await _answer_preflight(scope, marks, send)
            return

        async def send_marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._mark([*message["headers"]], marks)
            await send(message)

        await self._app(scope, receive, send_marked)

    def _list_marks(self, origin: bytes | None) -> Headers:
        marks = [(b"cross-origin-resource-policy", b"cross-origin")]
        if origin is not None:
            marks += [
                (b"access-control-allow-origin", b"*" if self._is_any else origin),
                (b"access-control-expose-headers", _EXPOSED),
            ]
        return marks

    def _mark(self, headers: Headers, marks: Headers) -> Headers:
        if self._is_any:
            return headers + marks
        for place, (name, value) in enumerate(headers):
            if name.lower() == b"vary":
                headers[place] = (name, value + b", Origin")
                return headers + marks
        return [*headers, (b"vary", b"Origin"), *marks]


def _build_test(allowed: frozenset[str]) -> Callable[[str], bool]:
    named = frozenset(origin.rstrip("/").lower() for origin in allowed)
    if ANY in named:
        return lambda origin: True
    if LOCAL in named:
        return lambda origin: origin.lower() in named or _is_local(origin)
    return lambda origin: origin.lower() in named


def _is_local(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
        host = parts.hostname or ""
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and Address(host, 0).is_loopback


def _read(scope: Scope, wanted: bytes) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == wanted), None)


def _is_preflight(scope: Scope) -> bool:
    return _read(scope, b"access-control-request-method") is not None


async def _answer_preflight(scope: Scope, marks: Headers, send: Send) -> None:
    headers = [
        *marks,
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-max-age", _PREFLIGHT_AGE_S),
        (b"vary", b"Origin, Access-Control-Request-Headers"),
    ]
    names = _read(scope, b"access-control-request-headers") or b""
    if _FIELD_NAMES.fullmatch(names):
        headers.append((b"access-control-allow-headers", names))
    if _read(scope, b"access-control-request-private-network") == b"true":
        headers.append((b"access-control-allow-private-network", b"true"))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})

"""URLs that are emitted: their base, and how their parts are escaped."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from litestar import Request

from lamella.dicomweb.services import services_of

_SAFE = "~@:!$&'()*+,;="  # besides letters, digits and -._~: RFC 3986 §3.3 (pchar)


def escape(segment: str) -> str:
    """Return a path segment as it stands in a URL."""
    return quote(segment, safe=_SAFE)


def base_url(request: Request[Any, Any, Any]) -> str:
    """Return scheme, host and path prefix of every absolute URL, without a slash at its end.

    `LAMELLA_PUBLIC_URL` wins; else what a trusted proxy says in `X-Forwarded-*`; else `Host`.
    """
    settings = services_of(request).settings
    if settings.public_url:
        return settings.public_url.rstrip("/")
    headers = request.headers
    scheme = request.scope.get("scheme", "http")
    host = headers.get("host", "")
    prefix = ""
    client = request.scope.get("client")
    if client is not None and client[0] in settings.trusted_proxy_hosts:
        scheme = _first(headers.get("x-forwarded-proto")) or scheme
        host = _first(headers.get("x-forwarded-host")) or host
        prefix = _first(headers.get("x-forwarded-prefix")).rstrip("/")
    if not _is_host(host):
        host = settings.http
    if scheme not in ("http", "https"):
        scheme = "http"
    if prefix and not (prefix.startswith("/") and prefix.isprintable()):
        prefix = ""
    return f"{scheme}://{host}{quote(prefix, safe='/' + _SAFE)}"


def _first(value: str | None) -> str:
    return (value or "").split(",")[0].strip()


def _is_host(host: str) -> bool:
    return bool(host) and all(c.isalnum() or c in ".-_:[]" for c in host) and host.isascii()

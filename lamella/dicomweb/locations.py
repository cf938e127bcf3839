"""URLs that are emitted: their base, and how their parts are escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from litestar import Request

from lamella.dicomweb.services import services_of
from lamella.settings import Address

_SAFE = "~@:!$&'()*+,;="  # besides letters, digits and -._~: RFC 3986 §3.3 (pchar)
TELLING = frozenset(
    {
        b"host",
        b"forwarded",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
    }
)
"""Headers that say how a request came; URLs that are emitted depend on them."""
_LONGEST_KNOWN = 500  # letters of headers; what is longer is not worth the memory
_PLAIN = re.compile(r"[A-Za-z0-9\-._~@:!$&'()*+,;=]*")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9\-._~@:!$&'()*+,;=/]*")


def escape(segment: str) -> str:
    """Return a path segment as it stands in a URL."""
    return segment if _PLAIN.fullmatch(segment) else quote(segment, safe=_SAFE)


def join_path(*segments: str) -> str:
    """Return a path of escaped segments, each behind a slash."""
    path = "/".join(("", *segments))
    if path.count("/") == len(segments) and _PLAIN_PATH.fullmatch(path):
        return path
    return "".join(f"/{escape(segment)}" for segment in segments)


def base_url(request: Request[Any, Any, Any]) -> str:
    """Return scheme, host and path prefix of every absolute URL, without a slash at its end.

    `LAMELLA_PUBLIC_URL` wins; else what a trusted proxy says in `X-Forwarded-*`, else in
    `Forwarded`; else `Host`.

    Source:
        RFC 7239 §4 (Forwarded).
    """
    settings, scope = services_of(request).settings, request.scope
    if settings.public_url:
        return settings.public_url.rstrip("/")
    told = tuple((name, value) for name, value in scope["headers"] if name in TELLING)
    client, server = scope.get("client"), scope.get("server")
    is_short = sum(len(value) for _, value in told) <= _LONGEST_KNOWN
    build = _recall_base if is_short else _build_base
    return build(
        told,
        scope.get("scheme", "http"),
        client[0] if client else None,
        (server[0], server[1]) if server else None,
        client is not None and settings.trusts_proxy(client[0]),
        settings.http,
    )


@dataclass(frozen=True, slots=True)
class _Arrival:
    """How a request came.

    Attributes:
        headers: Those that tell of hosts, the first of each name.
        client: Host of the peer.
        server: Address and port that it came to.
    """

    headers: Mapping[str, str]
    client: str | None
    server: tuple[str, int | None] | None


def _build_base(
    told: tuple[tuple[bytes, bytes], ...],
    scheme: str,
    client: str | None,
    server: tuple[str, int | None] | None,
    is_proxy: bool,
    http: str,
) -> str:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(told)}
    arrival = _Arrival(headers, client, server)
    host = headers.get("host", "")
    prefix = ""
    if is_proxy:
        told_by = _read_forwarded(headers.get("forwarded", ""))
        scheme = _first(headers.get("x-forwarded-proto")) or told_by.get("proto") or scheme
        host = _name_forwarded_host(headers) or told_by.get("host") or host
        prefix = _first(headers.get("x-forwarded-prefix")).rstrip("/")
    if not _is_host(host):
        host = _name_listener(arrival) or http
    elif not _has_port(host) and not _is_forwarded(headers):
        host = _add_port(arrival, host)
    if scheme not in ("http", "https"):
        scheme = "http"
    if prefix and not (prefix.startswith("/") and prefix.isprintable()):
        prefix = ""
    return f"{scheme}://{host}{quote(prefix, safe='/' + _SAFE)}"


_recall_base = lru_cache(maxsize=256)(_build_base)


def _name_forwarded_host(headers: Mapping[str, str]) -> str:
    host = _first(headers.get("x-forwarded-host"))
    port = _first(headers.get("x-forwarded-port"))
    if not host or _has_port(host) or not port.isdigit() or port in ("80", "443"):
        return host
    return f"{host}:{port}"


def _read_forwarded(text: str) -> dict[str, str]:
    """Return the parameters of the first proxy, the one that the client spoke to."""
    pairs = (pair.partition("=") for pair in text.split(",")[0].split(";"))
    return {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


def _first(value: str | None) -> str:
    return (value or "").split(",")[0].strip()


def _add_port(arrival: _Arrival, host: str) -> str:
    """Return a host with the port it was reached at, where that is sure.

    dicomweb-client names no port in `Host`. Elsewhere that means the scheme's own port, which
    a proxy or port mapping may have; between this machine and itself it means ours.
    """
    listener, client = _name_listener(arrival), arrival.client
    name, _, port = listener.rpartition(":")
    is_local = client is not None and _is_loopback(client) and _is_loopback(host)
    return f"{host}:{port}" if port and (is_local or host == name) else host


def _name_listener(arrival: _Arrival) -> str:
    """Return the address and port that the request came to, or ''."""
    server = arrival.server
    if server is None or server[1] is None:
        return ""
    name = f"[{server[0]}]" if ":" in server[0] else server[0]
    return f"{name}:{server[1]}"


def _is_forwarded(headers: Mapping[str, str]) -> bool:
    return any(name in headers for name in ("x-forwarded-host", "x-forwarded-proto", "forwarded"))


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]


def _is_loopback(host: str) -> bool:
    return Address(host.strip("[]"), 0).is_loopback


def _is_host(host: str) -> bool:
    return bool(host) and all(c.isalnum() or c in ".-_:[]" for c in host) and host.isascii()

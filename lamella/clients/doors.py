"""Sends requests to the doors of an installation that is open in this process.

What `requests` gives to a network connection goes to the web application instead: the same
routes, negotiation and errors as a server's, without a socket.

Source:
    ASGI, HTTP Connection Scope.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from http.client import responses as reasons
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from lamella.clients.answers import AnswerBody
from lamella.clients.household import HOUSEHOLD, Place
from lamella.dicomweb.problems import describe_problem
from lamella.errors import LamellaError


class DoorAdapter(BaseAdapter):
    """What a `requests.Session` reaches an installation by.

    Args:
        place: Where the installation is.
    """

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place

    def send(
        self, request: requests.PreparedRequest, *arguments: Any, **options: Any
    ) -> requests.Response:
        """Send a request; time-outs, certificates and proxies mean nothing here."""
        visit = _Visit(self._place, request)
        body = HOUSEHOLD.start(visit.pay)
        start = visit.started.result()
        response = requests.Response()
        response.status_code, response.headers = start.status, start.headers
        response.reason = reasons.get(start.status, "")
        response.url, response.request = str(request.url), request
        response.raw = body
        return response

    def close(self) -> None:
        """Keep the installation open: others may use it."""


@dataclass(frozen=True, slots=True)
class _Start:
    status: int
    headers: CaseInsensitiveDict[str]


class _Visit:
    """One request to the doors, and how it is answered.

    Attributes:
        started: The first of the answer.
    """

    def __init__(self, place: Place, request: requests.PreparedRequest) -> None:
        self.started: Future[_Start] = Future()
        self._place = place
        self._scope = describe_request(request)
        self._pieces = split_body(request.body)
        self._has_more = True
        self._is_over: asyncio.Event | None = None

    async def pay(self, body: AnswerBody) -> None:
        """Ask, and write what is answered to `body`."""
        self._is_over, self._body = asyncio.Event(), body
        try:
            doors = await HOUSEHOLD.open_doors(self._place)
            await doors(self._scope, self._receive, self._send)  # type: ignore[arg-type]
        except LamellaError as error:
            await self._refuse(error)
        except BaseException as error:
            if not self.started.done():
                self.started.set_exception(error)
            body.end(error)
            raise
        body.end()

    async def _receive(self) -> dict[str, Any]:
        assert self._is_over is not None
        if not self._has_more:
            await self._is_over.wait()
            return {"type": "http.disconnect"}
        piece = await asyncio.to_thread(next, self._pieces, None)
        self._has_more = piece is not None
        return {"type": "http.request", "body": piece or b"", "more_body": self._has_more}

    async def _send(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
            for name, value in message["headers"]:
                headers[name.decode("latin-1")] = value.decode("latin-1")
            self.started.set_result(_Start(message["status"], headers))
            return
        await self._body.write(message.get("body", b""))
        if not message.get("more_body"):
            assert self._is_over is not None
            self._is_over.set()

    async def _refuse(self, error: LamellaError) -> None:
        """Answer for doors that cannot be opened, as they would."""
        status, content_type = error.http_status, (b"content-type", b"application/json")
        start = {"type": "http.response.start", "status": status, "headers": [content_type]}
        await self._send(start)
        problem = describe_problem(status, error.title, error.detail)
        await self._send({"type": "http.response.body", "body": problem})


def describe_request(request: requests.PreparedRequest) -> dict[str, Any]:
    """Return the ASGI scope of a request."""
    parts = urlsplit(str(request.url))
    headers = [
        (_to_bytes(name).lower(), _to_bytes(value)) for name, value in request.headers.items()
    ]
    if "Host" not in request.headers:
        headers.append((b"host", parts.netloc.encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": parts.scheme,
        "path": unquote_to_bytes(parts.path).decode("utf-8", "replace"),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 0),
        "server": None,  # URLs in answers shall have the host as it is
        "extensions": {},
        "state": {},
    }


def split_body(body: Any) -> Iterator[bytes]:
    """Yield the pieces of a request's body: bytes, text, or anything that yields bytes."""
    if body is None:
        return iter(())
    if isinstance(body, str):
        return iter((body.encode(),))
    return iter((body,)) if isinstance(body, bytes) else iter(body)


def _to_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def open_session(host_url: str, place: Place) -> requests.Session:
    """Return a session that reaches a place by URLs that begin with its host."""
    session = requests.Session()
    session.trust_env = False  # no proxy stands between a process and itself
    session.headers["Accept-Encoding"] = "identity"
    session.mount(f"{host_url}/", DoorAdapter(place))
    return session

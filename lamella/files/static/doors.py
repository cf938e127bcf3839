"""Asks the DICOMweb doors, in this process: what they answer over HTTP is what goes into files."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import unquote

from litestar.types import ASGIApp

IN_MEMORY_BYTES = 8 << 20
_HOST = b"static.invalid"  # RFC 6761 §6.4: nobody's; no URL of an answer is kept


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        content_type: Of the body.
        body: Its end is where the file stands.
    """

    status: int
    content_type: str
    body: IO[bytes]


class Doors:
    """The application, asked without a network.

    Args:
        app: Answers.
        root: Path of the DICOMweb root below which everything is asked for.
    """

    def __init__(self, app: ASGIApp, root: str) -> None:
        self._app = app
        self._root = root

    async def get(self, path: str, accept: str) -> Reply:
        """Ask for a resource.

        Args:
            path: Below the root, escaped.
            accept: What may be answered.
        """
        reply: dict[str, Any] = {"status": 500, "type": ""}
        body: Any = SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - the caller's
        is_sent = False

        async def receive() -> Any:
            nonlocal is_sent
            if is_sent:
                await asyncio.Event().wait()  # the client stays until it has everything
            is_sent = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                reply["status"] = message["status"]
                headers = {name.lower(): value for name, value in message["headers"]}
                reply["type"] = headers.get(b"content-type", b"").decode("latin-1")
            else:
                body.write(message.get("body", b""))

        await self._app(self._describe(path, accept), receive, send)
        return Reply(reply["status"], reply["type"], body)

    def _describe(self, path: str, accept: str) -> Any:
        whole = f"{self._root}/{path}"
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": unquote(whole),
            "raw_path": whole.encode("ascii"),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", _HOST), (b"accept", accept.encode("ascii"))],
            "client": None,
            "server": None,
        }

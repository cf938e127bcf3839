"""A request and its answer, and the line with which a person repeats it."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_SHOWN_BYTES = 24_000
"""Bodies up to this size are part of the curl line; a shell takes no much longer word."""


@dataclass(frozen=True)
class Request:
    """What is sent.

    Attributes:
        url: Absolute; its path and query go out as they are written here.
        headers: Names and values in order.
        chunked: Whether the body goes out chunked, without a length.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    chunked: bool = False

    def to_curl(self) -> str:
        """Return a shell line that sends the same request and shows the answer."""
        words = ["curl", "-sS", "-i" if self.method != "HEAD" else "-I", "--path-as-is", "-g"]
        if self.method not in ("GET", "HEAD"):
            words += ["-X", self.method]
        shown = self.headers
        if not any(name.lower() == "accept" for name, _ in shown):
            shown = (*shown, ("Accept", ""))
        for name, value in shown:
            words += ["-H", f"{name}: {value}" if value else f"{name}:"]
        if self.chunked:
            words += ["-H", "Transfer-Encoding: chunked"]
        if self.body is None:
            return shlex.join([*words, self.url])
        line = shlex.join([*words, "--data-binary", "@-", self.url])
        if len(self.body) > _SHOWN_BYTES:
            return f"{line} < BODY   # {len(self.body)} bytes"
        return f"echo {base64.b64encode(self.body).decode()} | base64 -d | {line}"


@dataclass(frozen=True)
class Reply:
    """An answer that was read to its end.

    Attributes:
        headers: Names and values in order, as they came.
        body: As it came, with any content coding still on it.
    """

    request: Request
    status: int
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    def values(self, name: str) -> list[str]:
        """Return all values of a header field."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """Return a header field's value, joined if it came several times; None if absent."""
        values = self.values(name)
        return ", ".join(values) if values else None

    @property
    def content_type(self) -> str:
        """The Content-Type, '' if there is none."""
        return self.header("content-type") or ""

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, in lower case."""
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: It is none.
        """
        return json.loads(self.body)

    def summarise(self) -> str:
        """Return status, media type and size in a few words."""
        kind = self.content_type or "no Content-Type"
        return f"{self.status}, {kind}, {len(self.body)} bytes"


def list_warnings(reply: Reply) -> Iterator[str]:
    """Yield the texts of Warning header fields."""
    yield from reply.values("warning")

"""Multipart bodies, read strictly and written in all the ways a client may write them.

Source:
    RFC 2046 §5.1.1, RFC 2387, PS3.18 §8.6.1.2.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

_PARAMETER = re.compile(r';\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;,\s]*)')
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*\Z", re.S)


@dataclass(frozen=True)
class Part:
    """One part of a multipart body.

    Attributes:
        headers: By lower-case name.
    """

    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def content_type(self) -> str:
        """The Content-Type, '' if there is none."""
        return self.headers.get("content-type", "")

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, in lower case."""
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def transfer_syntax(self) -> str | None:
        """The transfer-syntax parameter of the Content-Type, None if absent."""
        return parse_parameters(self.content_type).get("transfer-syntax")


def parse_parameters(media_type: str) -> dict[str, str]:
    """Return the parameters of a media type by lower-case name, unquoted."""
    found: dict[str, str] = {}
    for name, value in _PARAMETER.findall(media_type):
        text = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        found.setdefault(name.lower(), text)
    return found


def split_parts(content_type: str, body: bytes) -> list[Part]:
    """Return the parts of a multipart body.

    Raises:
        ValueError: The Content-Type has no boundary, or the body does not keep to it: no first
            delimiter, no closing one, or a part whose header ends nowhere.
    """
    boundary = parse_parameters(content_type).get("boundary", "")
    if not boundary:
        raise ValueError("the Content-Type has no boundary")
    delimiter = b"\r\n--" + boundary.encode("ascii")
    pieces = (b"\r\n" + body).split(delimiter)
    if len(pieces) < 2:
        raise ValueError("the boundary does not occur in the body")
    if not pieces[-1].startswith(b"--"):
        raise ValueError("the closing boundary is missing")
    return [_read_part(piece) for piece in pieces[1:-1]]


def _read_part(piece: bytes) -> Part:
    piece = piece.lstrip(b" \t")
    head, blank, body = piece.partition(b"\r\n\r\n")
    if not head.startswith(b"\r\n") and not piece.startswith(b"\r\n\r\n"):
        raise ValueError("a boundary is not followed by a new line")
    if not blank:
        raise ValueError("a part has no blank line after its header")
    headers = {}
    for line in head.split(b"\r\n"):
        match = _FIELD.match(line)
        if match:
            headers[match[1].decode().lower()] = match[2].decode("latin-1")
    return Part(headers, body)


@dataclass(frozen=True)
class Writing:
    """How a multipart body is written; each of these ways is allowed.

    Attributes:
        quote_type: Whether the type parameter is quoted (RFC 2387 asks for it, many do not).
        quote_boundary: Whether the boundary is.
        preamble: Before the first delimiter; receivers have to ignore it.
        epilogue: After the last one, likewise.
        lengths: Whether parts have a Content-Length.
        lower: Whether names of header fields are in lower case.
        shout: Whether the media type is in capitals.
    """

    quote_type: bool = True
    quote_boundary: bool = False
    preamble: bytes = b""
    epilogue: bytes = b"\r\n"
    lengths: bool = False
    lower: bool = False
    shout: bool = False


def join_parts(
    parts: Sequence[Part], root_type: str, writing: Writing | None = None
) -> tuple[str, bytes]:
    """Return Content-Type and body of a multipart/related message."""
    how = writing or Writing()
    boundary = "conformance-" + secrets.token_hex(12)
    pieces = [how.preamble + b"\r\n" if how.preamble else b""]
    for part in parts:
        headers = dict(part.headers)
        if how.lengths:
            headers["Content-Length"] = str(len(part.body))
        lines = [f"--{boundary}"]
        lines += [f"{n.lower() if how.lower else n}: {v}" for n, v in headers.items()]
        pieces += ["\r\n".join(lines).encode() + b"\r\n\r\n", part.body, b"\r\n"]
    pieces += [f"--{boundary}--".encode(), how.epilogue]
    shown_type = f'"{root_type}"' if how.quote_type else root_type
    shown_boundary = f'"{boundary}"' if how.quote_boundary else boundary
    kind = "Multipart/Related; Type=" if how.shout else "multipart/related; type="
    return f"{kind}{shown_type}; boundary={shown_boundary}", b"".join(pieces)


def wrap(file: bytes, content_type: str = "application/dicom") -> Part:
    """Return a part that holds one file."""
    return Part({"Content-Type": content_type}, file)

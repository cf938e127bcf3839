"""The pieces of a multipart/related response: headers and closing, never the payload.

A handler sends part header, payload and closing as sends of their own. Joining them would copy
every frame once more and cost two thirds of the throughput.

Source:
    RFC 2046 §5.1.1, RFC 2387, PS3.18 §8.6.1.2.
"""

from __future__ import annotations

import re
import secrets

from lamella.dicomweb.media_types import MULTIPART_RELATED

_UNSENDABLE = re.compile(r"[^\x20-\x7e]")


def new_boundary() -> str:
    """Return a boundary for one response, of 128 random bits, that needs no quotes."""
    return "lamella-" + secrets.token_hex(16)


def multipart_content_type(boundary: str, part_media_type: str) -> str:
    """Return the Content-Type of a whole response.

    Args:
        boundary: From `new_boundary`.
        part_media_type: Of the first part, without parameters.

    Source:
        RFC 2387 §3.1 (`type` is required); PS3.18 §8.6.1.2 (it is quoted).
    """
    return f'{MULTIPART_RELATED}; type="{part_media_type}"; boundary={boundary}'


def part_header(
    boundary: str,
    content_type: str,
    location: str | None = None,
    length_bytes: int | None = None,
    *,
    is_first: bool = False,
) -> bytes:
    """Return what goes before a part's payload: delimiter line, header fields, blank line.

    Args:
        boundary: From `new_boundary`.
        content_type: Of the part, with its transfer syntax.
        location: URL of what the part holds.
        length_bytes: Of the payload, if it is known ahead.
        is_first: Whether nothing goes before this part (clients trip over an empty preamble).

    Raises:
        ValueError: A value holds a character that no header field may hold.
    """
    lines = [f"--{boundary}", f"Content-Type: {content_type}"]
    if length_bytes is not None:
        lines.append(f"Content-Length: {length_bytes}")
    if location is not None:
        lines.append(f"Content-Location: {location}")
    if any(_UNSENDABLE.search(line) for line in lines):
        raise ValueError("A part's header field holds a character that cannot be sent.")
    text = "\r\n".join(lines) + "\r\n\r\n"
    return (text if is_first else "\r\n" + text).encode("ascii")


def closing(boundary: str) -> bytes:
    """Return what goes after the last part's payload."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")

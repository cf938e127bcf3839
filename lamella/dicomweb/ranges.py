"""Range requests on a single body.

Source:
    RFC 9110 §14 (one byte range; several at once are answered whole, which §14.2 allows).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lamella.errors import RangeNotSatisfiable

_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A part of a body: from `start` to before `stop`, in bytes."""

    start: int
    stop: int

    def describe(self, size_bytes: int) -> str:
        """Return the value of Content-Range."""
        return f"bytes {self.start}-{self.stop - 1}/{size_bytes}"


def parse_range(
    header: str | None, size_bytes: int, *, if_range: str | None = None, etag: str = ""
) -> ByteRange | None:
    """Return the range that a request asks for; None means the whole body.

    Args:
        header: Value of Range.
        size_bytes: Of the whole body.
        if_range: Value of If-Range; another validator than `etag` means the whole body.
        etag: Of the body.

    Raises:
        RangeNotSatisfiable: The range lies outside the body.
    """
    match = _ONE_RANGE.fullmatch(header or "")
    if match is None or (if_range is not None and if_range.strip() != etag):
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        start, stop = max(0, size_bytes - _read(last)), size_bytes
    else:
        start = _read(first)
        stop = min(_read(last) + 1, size_bytes) if last else size_bytes
        if last and _read(last) < start:
            return None  # not a valid range: ignored
    if start >= size_bytes or start >= stop:
        raise RangeNotSatisfiable(size_bytes)
    return ByteRange(start, stop)


def _read(digits: str) -> int:
    """Return a number; of one that is beyond every body's size, its first digits will do."""
    return int(digits.lstrip("0")[:19] or 0)

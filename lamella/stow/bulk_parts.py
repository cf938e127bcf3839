"""Bulk parts of a store request, found by the BulkDataURI that metadata name them with.

Both sides may be absolute or relative, and percent-encoded or not; relative ones are relative to
the URL that was posted to, or to the DICOMweb root. Frames of one value may come as parts of the
same name, or under `/frames/1`, `/frames/2`, … behind it.

Source:
    PS3.18 §8.6.1.2.2 and §10.5.1.4; RFC 2557 §4.2 (Content-Location); RFC 3986 §5.2, §6.2.2.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote, urljoin

from lamella.dicomweb.media_types import MediaType
from lamella.errors import InvalidInstance, TooLarge
from lamella.imaging.elements import Span

MOST_PARTS = 100_000

_FRAME = re.compile(r"(.+)/frames/([1-9][0-9]{0,8})/?")


@dataclass(slots=True)
class BulkPart:
    """One bulk part.

    Attributes:
        span: Where it lies on the shelf.
        media_type: Its Content-Type.
        is_used: Whether any metadata refer to it.
    """

    span: Span
    media_type: MediaType
    is_used: bool = False


@dataclass(slots=True)
class BulkParts:
    """All bulk parts of a request.

    Attributes:
        bases: Absolute URLs that relative ones may be relative to.
    """

    bases: Sequence[str]
    _parts: list[BulkPart] = field(default_factory=list)
    _by_name: dict[str, list[BulkPart]] = field(default_factory=dict)
    _frames: dict[str, dict[int, BulkPart]] = field(default_factory=dict)

    def add(self, location: str | None, part: BulkPart) -> None:
        """Take a part; one without a location is found by nobody.

        Raises:
            TooLarge: There are too many.
        """
        if len(self._parts) >= MOST_PARTS:
            raise TooLarge(f"A request has at most {MOST_PARTS:,} bulk parts.")
        self._parts.append(part)
        for name in self._list_names(location or ""):
            self._by_name.setdefault(name, []).append(part)
            frame = _FRAME.fullmatch(name)
            if frame is not None:
                self._frames.setdefault(frame[1], {})[int(frame[2])] = part

    def find(self, uri: str) -> list[BulkPart]:
        """Return the parts that make up a value: one, or one a frame.

        Raises:
            InvalidInstance: There is none.
        """
        for name in self._list_names(uri):
            frames = self._frames.get(name.rstrip("/"), {})
            found = self._by_name.get(name) or [frames[number] for number in sorted(frames)]
            if found:
                for part in found:
                    part.is_used = True
                return found
        raise InvalidInstance("The request has no part for one of the BulkDataURIs.")

    def find_spans(self, uri: str) -> list[Span]:
        """Return where a value lies.

        Raises:
            InvalidInstance: Nowhere.
        """
        return [part.span for part in self.find(uri)]

    def count_unused(self) -> int:
        """Return how many parts no metadata refer to."""
        return sum(not part.is_used for part in self._parts)

    def _list_names(self, uri: str) -> Iterator[str]:
        """Yield the names that a URI goes by, the most specific first."""
        uri = uri.strip()
        if uri:
            names = [uri, *(urljoin(base, uri) for base in self.bases)]
            yield from dict.fromkeys(unquote(name) for name in names)

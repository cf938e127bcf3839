"""Results of a search as JSON with holes, made once for a row and a form of result.

A catalog row never changes, so its result is the same in every answer of the same form, but for
the base of its URL and its counts. A page is fragments, filled and joined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec

from lamella.archive.levels import (
    RETRIEVE_URL,
    SERIES_RELATED_INSTANCES,
    STUDY_RELATED_INSTANCES,
    STUDY_RELATED_SERIES,
)
from lamella.archive.matching import Attributes
from lamella.archive.query import Query
from lamella.archive.results import Shaper, build_shaper, strip_values

COUNTS: Final = (STUDY_RELATED_SERIES, STUDY_RELATED_INSTANCES, SERIES_RELATED_INSTANCES)
_OVERHEAD_BYTES: Final = 400


@dataclass(frozen=True, slots=True)
class Fragment:
    """One result; what is missing goes between the pieces.

    Attributes:
        pieces: One more than there are holes.
        holes: Tag of a count, or of the URL, whose base is missing.
    """

    pieces: tuple[bytes, ...]
    holes: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        return _OVERHEAD_BYTES + sum(map(len, self.pieces))

    def fill(self, root_url: bytes, counts: Mapping[str, int]) -> bytes:
        """Return the result as a JSON object.

        Args:
            root_url: Of the DICOMweb root, as it stands between quotes in JSON.
            counts: By tag; one that is missing is 0.
        """
        first, *rest = self.pieces
        filled = [first]
        for tag, piece in zip(self.holes, rest, strict=True):
            filled.append(root_url if tag == RETRIEVE_URL else b"%d" % counts.get(tag, 0))
            filled.append(piece)
        return b"".join(filled)


class FragmentWriter:
    """Writes fragments of one form; equal forms have the same writer (a key for caches)."""

    def __init__(self, shape: Shaper) -> None:
        self._shape = shape

    def write(self, attributes: Attributes, counts: Iterable[str], path: str) -> Fragment:
        """Return the fragment of a match.

        Args:
            attributes: DICOM JSON of the match.
            counts: Tags of the counts that are known of it.
            path: Its URL behind the root, escaped, beginning with a slash.
        """
        shaped = self._shape(attributes, dict.fromkeys(counts, 0), path)
        pieces: list[bytes] = []
        holes: list[str] = []
        current = bytearray(b"{")
        for tag, element in shaped.items():
            comma = b"," if pieces or len(current) > 1 else b""
            current += b'%s"%s":' % (comma, tag.encode())
            if tag == RETRIEVE_URL or tag in COUNTS:
                head, tail = _split_value(tag, element)
                pieces.append(bytes(current + head))
                holes.append(tag)
                current = bytearray(tail)
            else:
                current += msgspec.json.encode(element)
        return Fragment((*pieces, bytes(current + b"}")), tuple(holes))


def find_writer(query: Query) -> FragmentWriter:
    """Return the writer for results of the form that a query asks for."""
    return _make_writer(strip_values(query))


@lru_cache(maxsize=256)
def _make_writer(query: Query) -> FragmentWriter:
    return FragmentWriter(build_shaper(query))


def _split_value(tag: str, element: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Return what stands before and behind the hole of an element."""
    value = element["Value"][0]
    if tag == RETRIEVE_URL:
        return b'{"vr":"UR","Value":["', msgspec.json.encode(value)[1:] + b"]}"
    return b'{"vr":"IS","Value":[', b"]}"

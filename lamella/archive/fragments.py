"""Results of a search as JSON with holes, made once for a row and a form of result.

A catalog row never changes, so its result is the same in every answer of the same form, but for
the base of its URL and its counts. A page is fragments, filled and joined.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec

from lamella.archive.catalog_rows import Row
from lamella.archive.levels import (
    RETRIEVE_URL,
    SERIES_RELATED_INSTANCES,
    STUDY_RELATED_INSTANCES,
    STUDY_RELATED_SERIES,
)
from lamella.archive.query import Query
from lamella.archive.results import (
    Part,
    build_shaper,
    name_element,
    plan_form,
    prune_encoded,
    strip_values,
)

COUNTS: Final = (STUDY_RELATED_SERIES, STUDY_RELATED_INSTANCES, SERIES_RELATED_INSTANCES)
_OVERHEAD_BYTES: Final = 400

_COUNT_ENDS: Final = (b'{"vr":"IS","Value":[', b"]}")
_URL_HEAD: Final = b'{"vr":"UR","Value":["'
"""What stands before and behind the hole of an element."""

Encoded = bytes | msgspec.Raw
_Element = tuple[bytes, str, Encoded]
"""What stands before it in an object, its tag, its JSON."""


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
    """Writes fragments of one form; equal forms have the same writer (a key for caches).

    Elements are taken over as they are stored, not decoded: a page of a hundred studies would be
    decoded to thousands of objects, to be encoded again as it was.
    """

    def __init__(self, query: Query) -> None:
        self._form = plan_form(query)
        self._shape = build_shaper(query)

    def write(self, row: Row, counts: Collection[str], path: str) -> Fragment:
        """Return the fragment of a match.

        Args:
            row: The match.
            counts: Tags of the counts that are known of it.
            path: Its URL behind the root, escaped, beginning with a slash.
        """
        ends = dict.fromkeys(counts, _COUNT_ENDS)
        ends[RETRIEVE_URL] = _URL_HEAD, msgspec.json.encode(path)[1:] + b"]}"
        if self._form is None:
            elements = self._encode_whole(row, counts, path)
        else:
            elements = _pick(self._form, row, ends)
        pieces: list[bytes] = []
        holes: list[str] = []
        current: list[Encoded] = []
        for name, tag, element in elements:
            current.append(name)
            if tag in ends:
                head, tail = ends[tag]
                pieces.append(b"".join((*current, head)))
                holes.append(tag)
                current = [tail]
            else:
                current.append(element)
        pieces.append(b"".join((*current, b"}")))
        pieces[0] = b"{" + pieces[0].removeprefix(b",")
        return Fragment(tuple(pieces), tuple(holes))

    def _encode_whole(self, row: Row, counts: Collection[str], path: str) -> Iterator[_Element]:
        shaped = self._shape(row.attributes, dict.fromkeys(counts, 0), path)
        for tag, element in shaped.items():
            yield name_element(tag), tag, msgspec.json.encode(element)


def _pick(form: Sequence[Part], row: Row, computed: Container[str]) -> Iterator[_Element]:
    """Yield the elements of a result in order; those that are computed come with nothing."""
    stored = row.elements
    for name, tag, below, otherwise in form:
        element: Encoded | None = b"" if tag in computed else stored.get(tag, otherwise)
        if element is not None:
            yield name, tag, element if below is None else prune_encoded(element, below)


def find_writer(query: Query) -> FragmentWriter:
    """Return the writer for results of the form that a query asks for."""
    return _make_writer(strip_values(query))


@lru_cache(maxsize=256)
def _make_writer(query: Query) -> FragmentWriter:
    return FragmentWriter(query)

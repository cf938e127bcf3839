"""What searches look at in the documents of a series, decoded once.

Of 170 attributes a search needs ten, and most of those are alike in all instances of a series: a
document is scanned for them without being decoded, and equal elements become one object. Nobody
may change what comes from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from lamella.vcs.cache import LeastRecent

LIMIT_BYTES = 6 << 20
_INSTANCE_BYTES, _PLACE_BYTES, _ELEMENT_BYTES = 250, 50, 600  # what CPython takes, about

Instances = Sequence[tuple[str, dict[str, Any]]]
"""SOP Instance UID and DICOM JSON of the attributes asked for, in the order of answers."""

_Key = tuple[int, bytes, frozenset[str]]


class AttributeCache:
    """Decoded attributes of series nodes, by dataset, node and tags."""

    def __init__(self) -> None:
        self._kept: LeastRecent[_Key, Instances] = LeastRecent(LIMIT_BYTES)

    def find(self, dataset_id: int, root: bytes, tags: frozenset[str]) -> Instances | None:
        """Return what was decoded before, or None."""
        return self._kept.get((dataset_id, root, tags))

    def decode(
        self,
        dataset_id: int,
        root: bytes,
        tags: frozenset[str],
        documents: Iterable[tuple[str, bytes]],
    ) -> Instances:
        """Decode all documents of a series node, and keep the result.

        Args:
            dataset_id: Of the dataset.
            root: Of the series.
            tags: What to decode.
            documents: (SOP Instance UID, document) in the order of answers.
        """
        pick = AttributePicker(tags)
        instances = [(sop_uid, pick(document)) for sop_uid, document in documents]
        weight = pick.measure() + _INSTANCE_BYTES * len(instances)
        self._kept.put((dataset_id, root, tags), instances, weight)
        return instances


class AttributePicker:
    """Picks attributes out of documents; those it has seen before are shared."""

    def __init__(self, tags: frozenset[str]) -> None:
        self._tags = sorted(tags)
        self._scan = _build_scanner(tags)
        self._elements: dict[bytes, Any] = {}
        self._places = 0

    def __call__(self, document: bytes) -> dict[str, Any]:
        """Return those of the tags that a document has, in ascending order."""
        found = {}
        for tag, raw in zip(self._tags, self._scan(document), strict=True):
            if raw is not msgspec.UNSET:
                found[tag] = self._decode(bytes(raw))
        self._places += len(found)
        return found

    def measure(self) -> int:
        """Return about how many bytes the results take in memory."""
        longest = sum(map(len, self._elements))
        return 2 * longest + _ELEMENT_BYTES * len(self._elements) + _PLACE_BYTES * self._places

    def _decode(self, raw: bytes) -> Any:
        element = self._elements.get(raw)
        if element is None:
            element = self._elements[raw] = msgspec.json.decode(raw)
        return element


@lru_cache(maxsize=64)
def _build_scanner(tags: frozenset[str]) -> Callable[[bytes], tuple[Any, ...]]:
    """Return a function that finds the encoded elements of ascending tags in a document."""
    names = {f"t{tag}": tag for tag in sorted(tags)}
    fields = [(name, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for name in names]
    scanned = msgspec.defstruct("Scanned", fields, rename=names, gc=False)
    decode = msgspec.json.Decoder(scanned).decode
    return lambda document: msgspec.structs.astuple(decode(document))

"""Bulk data URIs: stored documents leave a hole where base URL, dataset and revision go."""

from __future__ import annotations

from collections.abc import Sequence

_HOLE = b'"BulkDataURI":"bulkdata/'


def fill_holes(document: bytes, instance_url: str) -> bytes:
    """Return an instance's DICOM JSON with absolute bulk data URIs.

    The hole cannot occur inside a string: quotes are escaped there.

    Args:
        document: As it is stored, or any part of it that msgspec encoded.
        instance_url: Of the instance, escaped.
    """
    return document.replace(_HOLE, _make_filling(instance_url))


def fill_all_holes(text: bytes, ends: Sequence[int], instance_urls: Sequence[str]) -> bytes:
    """Return many documents, one after the other, with absolute bulk data URIs.

    Args:
        text: The documents as they are stored, with anything short between them.
        ends: Where each ends, in bytes, ascending.
        instance_urls: Of their instances, escaped.
    """
    first, *others = text.split(_HOLE)
    pieces, place, index = [first], len(first), 0
    filling = _make_filling(instance_urls[0]) if instance_urls else b""
    for piece in others:
        if place >= ends[index]:
            while place >= ends[index]:
                index += 1
            filling = _make_filling(instance_urls[index])
        pieces += (filling, piece)
        place += len(_HOLE) + len(piece)
    return b"".join(pieces)


def _make_filling(instance_url: str) -> bytes:
    return b'"BulkDataURI":"' + instance_url.encode() + b"/bulkdata/"

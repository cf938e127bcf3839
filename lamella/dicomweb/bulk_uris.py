"""Bulk data URIs: stored documents leave a hole where base URL, dataset and revision go."""

from __future__ import annotations

_HOLE = b'"BulkDataURI":"bulkdata/'


def fill_holes(document: bytes, instance_url: str) -> bytes:
    """Return an instance's DICOM JSON with absolute bulk data URIs.

    The hole cannot occur inside a string: quotes are escaped there.

    Args:
        document: As it is stored, or any part of it that msgspec encoded.
        instance_url: Of the instance, escaped.
    """
    return document.replace(_HOLE, b'"BulkDataURI":"' + instance_url.encode() + b"/bulkdata/")

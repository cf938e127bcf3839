"""Stored files as they came, whole or in part."""

from __future__ import annotations

from lamella.dicomweb.answers import Answer
from lamella.dicomweb.media_types import DICOM
from lamella.dicomweb.pinned import Pinned
from lamella.dicomweb.ranges import parse_range
from lamella.vcs.tree import Entry


def answer_stored(pinned: Pinned, entry: Entry) -> Answer:
    """Return the bytes of a stored file, or the range of them that is asked for, or 304.

    Raises:
        RangeNotSatisfiable: The range lies outside the file.

    Source:
        RFC 9110 §14 and §15.3.7.
    """
    headers = pinned.headers(f"{DICOM}; stored")
    if pinned.is_fresh(headers):
        return Answer(304, headers)
    blobs = pinned.services.repository.blobs
    asked, size = pinned.request.headers, entry.size_bytes
    part = parse_range(
        asked.get("range"), size, if_range=asked.get("if-range"), etag=dict(headers)["etag"]
    )
    headers += [
        ("content-type", f"{DICOM}; transfer-syntax={entry.transfer_syntax_uid}"),
        ("accept-ranges", "bytes"),
    ]
    if part is None:
        return Answer(200, headers, blobs.stream(entry.segments), size)
    length = part.stop - part.start
    headers.append(("content-range", part.describe(size)))
    return Answer(206, headers, blobs.stream(entry.segments, part.start, length), length)

"""Instances that are no images, as what people read: encapsulated documents, reports, waveforms.

Source:
    PS3.18 Table 8.7.4-1; PS3.3 §C.24.2 (encapsulated document).
"""

from __future__ import annotations

from lamella.archive.bulk_values import find_value
from lamella.archive.threads import run_in_thread
from lamella.imaging.rendering.attributes import read_number
from lamella.wado.pictures import Subject
from lamella.wado.subjects import Kind

_DOCUMENT, _DOCUMENT_LENGTH = "00420011", "00420015"


async def make_document(subject: Subject, kind: Kind, media_type: str) -> bytes:
    """Return an instance that is no image as a document of one of its media types.

    Raises:
        IntegrityError: The instance is broken.
    """
    return await _read_encapsulated(subject)


async def _read_encapsulated(subject: Subject) -> bytes:
    """Return an encapsulated document without the byte that makes its length even."""
    blobs = subject.pinned.services.repository.blobs
    source = await blobs.open(subject.instance.entry.segments)
    value = await run_in_thread(find_value, source, _DOCUMENT)
    length = value.length_bytes
    told = read_number(await subject.read_document(), _DOCUMENT_LENGTH)
    if told is not None and length - 1 <= told <= length:
        length = int(told)
    return await run_in_thread(value.source.read_at, value.offset_bytes, length)

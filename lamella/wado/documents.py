"""Instances that are no images, as what people read: encapsulated documents, reports, waveforms.

Source:
    PS3.18 Table 8.7.4-1; PS3.3 §C.24.2 (encapsulated document).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from lamella.archive.bulk_values import find_value
from lamella.archive.source import ByteSource
from lamella.archive.threads import run_in_thread
from lamella.archive.values import swap_words
from lamella.dicomweb.renditions import name_rendition
from lamella.imaging.pool import Job
from lamella.imaging.rendering.attributes import read_number
from lamella.imaging.rendering.reports import write_html, write_text
from lamella.wado.pictures import Subject
from lamella.wado.subjects import HTML, Category, Kind

_DOCUMENT, _DOCUMENT_LENGTH = "00420011", "00420015"
_WAVEFORMS, _WAVEFORM_DATA = "54000100", "54001010"
# Minutes of a 12-lead ECG; nobody sees more in one drawing.
MOST_WAVEFORM_BYTES = 4 << 20


async def make_document(subject: Subject, kind: Kind, media_type: str) -> bytes:
    """Return an instance that is no image as a document of one of its media types.

    Raises:
        NotAcceptable: It is a waveform that is not drawn.
        BrokenInstance: The instance is broken.
    """
    if kind.category is Category.DOCUMENT:
        return await _read_encapsulated(subject)
    if kind.category is Category.WAVEFORM:
        name = name_rendition(subject.instance.key, "waveform")
        renditions = subject.pinned.services.renditions
        return await renditions.get(name, lambda: _plot_waveform(subject))
    write = write_html if media_type == HTML else write_text
    return await run_in_thread(write, await subject.read_document())


async def _read_encapsulated(subject: Subject) -> bytes:
    """Return an encapsulated document without the byte that makes its length even."""
    source = await _open(subject)
    value = await run_in_thread(find_value, source, _DOCUMENT)
    length = value.length_bytes
    told = read_number(await subject.read_document(), _DOCUMENT_LENGTH)
    if told is not None and length - 1 <= told <= length:
        length = int(told)
    return await run_in_thread(value.source.read_at, value.offset_bytes, length)


async def _plot_waveform(subject: Subject) -> bytes:
    document = await subject.read_document()
    groups = [group or {} for group in document[_WAVEFORMS].get("Value", [])]
    source = await _open(subject)

    async def payloads() -> AsyncIterator[bytes]:
        for index in range(len(groups)):
            path = f"{_WAVEFORMS}/{index}/{_WAVEFORM_DATA}"
            yield await run_in_thread(_read_samples, source, path)

    fields: dict[str, Any] = {"task": "plot", "groups": groups}
    job = Job(fields, payloads(), len(groups))
    return (await subject.pinned.services.decoders.work(job)).data


def _read_samples(source: ByteSource, path: str) -> bytes:
    value = find_value(source, path)
    length = min(value.length_bytes, MOST_WAVEFORM_BYTES)
    return swap_words(value.source.read_at(value.offset_bytes, length), value.word_bytes)


async def _open(subject: Subject) -> ByteSource:
    blobs = subject.pinned.services.repository.blobs
    return await blobs.open(subject.instance.entry.segments)

"""Data sets of stored instances in a transfer syntax that a peer takes.

As stored they are the bytes behind the file meta information, never parsed. Otherwise they become
Explicit VR Little Endian, and from that Implicit VR, in flat memory.

Source:
    PS3.5 Annex A; PS3.4 §C.4.2.3 and §C.4.3.3 (which transfer syntaxes a retrieve may use).
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from lamella.archive.blobs import StoredSource
from lamella.archive.frames import FrameTable
from lamella.archive.source import FileSource
from lamella.errors import NotAcceptable
from lamella.imaging.answers import Answer as Form
from lamella.imaging.answers import plan_answer
from lamella.imaging.decoders import PixelDescription
from lamella.imaging.elements import NATIVE_ENCODINGS
from lamella.imaging.explicit import (
    CHUNK_BYTES,
    EXPLICIT_VR_LITTLE_ENDIAN,
    DecodeFrame,
    decompress_instance,
    read_file_meta,
    rewrite_explicit,
)
from lamella.imaging.implicit import write_implicit
from lamella.vcs.selection import Selected
from lamella.vcs.stored import Document

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One instance that is to be sent.

    Attributes:
        source: Its stored bytes.
    """

    instance: Selected
    source: StoredSource


def choose_syntax(stored_uid: str, accepted: Collection[str]) -> str | None:
    """Return in which transfer syntax an instance goes out, or None if in none that is accepted."""
    for uid in (stored_uid, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN):
        if uid in accepted:
            return uid
    return None


def read_stored(outgoing: Outgoing) -> Iterator[bytes]:
    """Yield the data set as it is stored, in pieces of at most 1 MiB."""
    position, source = _find_start(outgoing), outgoing.source
    while position < source.size:
        yield source.read_at(position, CHUNK_BYTES)
        position += CHUNK_BYTES


def _find_start(outgoing: Outgoing) -> int:
    """Return where the data set begins: files are cut there, unless that was in doubt."""
    segments = outgoing.instance.entry.segments
    if len(segments) > 1:
        return int(segments[0][1])
    return read_file_meta(outgoing.source).end_bytes


class Transcoder:
    """Makes data sets in other transfer syntaxes than their own.

    Args:
        ask: Runs work on the event loop and waits for it.
        read_document: Returns the derived data of an instance.
        decode: Decodes one frame.
        spool_folder: Where what cannot be made in passing is written for a while.
    """

    def __init__(
        self,
        ask: Callable[[Any], Any],
        read_document: Callable[[Selected], Any],
        decode: DecodeFrame,
        spool_folder: Path,
    ) -> None:
        self._ask = ask
        self._read_document = read_document
        self._decode = decode
        self._spool_folder = spool_folder

    def read(self, outgoing: Outgoing, transfer_syntax_uid: str) -> Iterable[bytes]:
        """Return the data set in a transfer syntax, in pieces of bounded length.

        Raises:
            NotAcceptable: It has no such form.
            BrokenInstance: What is stored is broken; also raised while pieces are taken.
        """
        stored_uid = outgoing.instance.entry.transfer_syntax_uid
        if stored_uid == transfer_syntax_uid:
            return read_stored(outgoing)
        if transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN:
            if stored_uid in NATIVE_ENCODINGS:
                return write_implicit(outgoing.source)
            return self._read_implicit(self._read_explicit(outgoing))
        length = len(read_file_meta(outgoing.source).rewritten)
        return _skip(self._read_explicit(outgoing), length)

    def _read_explicit(self, outgoing: Outgoing) -> Iterator[bytes]:
        """Return the whole file in Explicit VR Little Endian."""
        stored_uid = outgoing.instance.entry.transfer_syntax_uid
        document: Document = self._ask(self._read_document(outgoing.instance))
        attributes = msgspec.json.decode(document.dicom_json)
        frames = FrameTable.from_bytes(document.frames) if document.frames else None
        n_frames = frames.n_frames if frames is not None else 0
        form = plan_answer(EXPLICIT_VR_LITTLE_ENDIAN, stored_uid, attributes, n_frames)
        if form is Form.REWRITTEN:
            return rewrite_explicit(outgoing.source).chunks
        if form is not Form.DECOMPRESSED or frames is None:
            raise NotAcceptable("The instance cannot be given in Explicit VR Little Endian.")
        pixel = PixelDescription.from_dicom_json(attributes, stored_uid)
        ranges = frames.all_ranges
        made = self._ask(decompress_instance(outgoing.source, ranges, pixel, self._decode))
        return self._iterate(made.chunks)

    def _read_implicit(self, explicit: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the Implicit VR form of a file that is made just now, by way of the disk."""
        with tempfile.TemporaryFile(dir=self._spool_folder) as file:
            for chunk in explicit:
                file.write(chunk)
            file.flush()
            yield from write_implicit(FileSource(file.fileno(), 0, file.tell()))

    def _iterate(self, chunks: AsyncIterator[bytes]) -> Iterator[bytes]:
        """Yield what an iterator of the event loop yields."""

        async def take() -> bytes | None:
            return await anext(chunks, None)

        while (chunk := self._ask(take())) is not None:
            yield chunk


def _skip(chunks: Iterator[bytes], length_bytes: int) -> Iterator[bytes]:
    """Yield chunks without their first bytes."""
    for chunk in chunks:
        if length_bytes >= len(chunk):
            length_bytes -= len(chunk)
            continue
        yield chunk[length_bytes:]
        length_bytes = 0

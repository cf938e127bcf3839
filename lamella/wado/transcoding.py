"""Instances in compressed transfer syntaxes other than their own.

Source:
    PS3.18 §8.7.3 (transfer syntaxes).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator

from lamella.dicomweb.pinned import Pinned
from lamella.dicomweb.renditions import name_rendition
from lamella.imaging.encoders import EncodedFrame
from lamella.imaging.transcoded import Original, TranscodedFile, transcode_instance
from lamella.vcs.selection import Selected
from lamella.wado.frames import FrameReader, open_frames

FRAMES_AHEAD = 2
MOST_WHOLE_BYTES = 8 << 20  # of the stored file


def name_whole(instance: Selected, transfer_syntax_uid: str) -> str:
    """Return the name under which an instance of one frame is kept in a transfer syntax."""
    return name_rendition(instance.key, "instance", transfer_syntax_uid)


async def open_transcoded(
    pinned: Pinned, instance: Selected, transfer_syntax_uid: str
) -> TranscodedFile:
    """Begin to make an instance in a compressed transfer syntax.

    One of a single frame is kept as a whole; of others the frames are, which are the dear part.

    Raises:
        NotAcceptable: It has no such form.
        BrokenInstance: Its first frame is broken.
    """
    reader = await open_frames(pinned, instance)
    if reader.table.n_frames > 1 or instance.entry.size_bytes > MOST_WHOLE_BYTES:
        return await _transcode(reader, transfer_syntax_uid)

    async def make() -> bytes:
        made = await _transcode(reader, transfer_syntax_uid)
        return b"".join([chunk async for chunk in made.chunks])

    name = name_whole(instance, transfer_syntax_uid)
    data = await pinned.services.renditions.get(name, make)
    return TranscodedFile(len(data), _give(data))


async def _give(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _transcode(reader: FrameReader, transfer_syntax_uid: str) -> TranscodedFile:
    blobs, table = reader.pinned.services.repository.blobs, reader.table
    original = Original(
        source=await blobs.open(reader.instance.entry.segments),
        inflated=reader.source,
        frame_ranges=table.all_ranges if table.encapsulated else None,
        pixel=await reader.describe(),
        document=await reader.read_attributes(),
    )
    first = await reader.encode(0, transfer_syntax_uid)
    rest = _encode_rest(reader, transfer_syntax_uid)
    return transcode_instance(original, transfer_syntax_uid, first, rest)


async def _encode_rest(
    reader: FrameReader, transfer_syntax_uid: str
) -> AsyncGenerator[EncodedFrame]:
    """Yield all frames but the first, encoding a few at a time."""
    running: deque[asyncio.Task[EncodedFrame]] = deque()
    remaining = iter(range(1, reader.table.n_frames))
    try:
        while True:
            while len(running) < FRAMES_AHEAD and (index := next(remaining, None)) is not None:
                made = reader.encode(index, transfer_syntax_uid)
                running.append(asyncio.create_task(made))
            if not running:
                return
            yield await running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

"""Frames one after another: animated GIF, and MP4 (H.264) where PyAV is installed.

PyAV rather than a program of ffmpeg's: it works on memory, without files or pipes of its own,
within the worker that a crash or a hang costs anyway.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from lamella.errors import NotAcceptable
from lamella.imaging.decoders import PixelDescription
from lamella.imaging.rendering.options import GIF, MP4, RenderOptions
from lamella.imaging.rendering.renderer import render_frame

# Pillow keeps all pictures of a GIF until it is written.
MOST_GIF_PIXELS = 1 << 27
_WORST_CRF = 40


def render_movie(fields: Mapping[str, Any], payloads: Iterator[bytes]) -> bytes:
    """Return frames as a movie.

    Args:
        fields: `pixel` and `options` as for `render_picture`; `attributes`: a list of them, and
            `looks`: for each frame which of them is its own; `frames_per_second`.
        payloads: The frames, as for `render_picture`.

    Raises:
        NotAcceptable: The frames cannot be rendered, or are too many for the media type.
        InvalidRequest, BrokenInstance: As `render_picture`.
    """
    options = RenderOptions.from_json(fields["options"])
    pixel, rate = PixelDescription(**fields["pixel"]), float(fields["frames_per_second"])

    def pictures() -> Iterator[Image.Image]:
        for look, data in zip(fields["looks"], payloads, strict=True):
            yield render_frame(data, pixel, fields["attributes"][look], options)

    if options.media_type == GIF:
        return _write_gif(pictures(), rate)
    if options.media_type == MP4:
        return _write_mp4(pictures(), rate, options.quality)
    raise NotAcceptable(f"Movies are not made as {options.media_type}.")


def _write_gif(pictures: Iterator[Image.Image], rate: float) -> bytes:
    first = next(pictures)
    buffer = io.BytesIO()
    first.save(
        buffer,
        "GIF",
        save_all=True,
        append_images=_count_pixels(pictures, first.width * first.height),
        duration=max(20, round(1000 / rate)),  # ms; viewers take less than 20 for "as it may be"
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()


def _count_pixels(pictures: Iterator[Image.Image], total: int) -> Iterator[Image.Image]:
    for picture in pictures:
        total += picture.width * picture.height
        if total > MOST_GIF_PIXELS:
            raise NotAcceptable("So long a GIF is not made: ask for a smaller viewport, or MP4.")
        yield picture


def _write_mp4(pictures: Iterator[Image.Image], rate: float, quality: int) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        crf = str(_WORST_CRF - round(quality * 0.25))
        stream = container.add_stream(
            "libx264",
            rate=Fraction(rate).limit_denominator(1000),
            options={"crf": crf, "preset": "veryfast"},
        )
        stream.pix_fmt = "yuv420p"
        for index, array in enumerate(map(_make_even, pictures)):
            if index == 0:
                stream.height, stream.width = array.shape[:2]
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def _make_even(picture: Image.Image) -> Any:
    """Return RGB with an even number of rows and columns, which 4:2:0 has; edges are repeated."""
    array = np.asarray(picture.convert("RGB"))
    rows, columns = array.shape[:2]
    return np.pad(array, ((0, rows % 2), (0, columns % 2), (0, 0)), mode="edge")

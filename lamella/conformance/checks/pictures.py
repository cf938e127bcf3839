"""Rendered pictures, looked at: their kind, their size, their pixels."""

from __future__ import annotations

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from lamella.conformance.exchange import Reply
from lamella.conformance.expect import expect, expect_status
from lamella.conformance.outcomes import CheckFailed

JPEG, PNG, GIF, WEBP = "image/jpeg", "image/png", "image/gif", "image/webp"
_SIGNS = {JPEG: b"\xff\xd8\xff", PNG: b"\x89PNG", GIF: b"GIF8", WEBP: b"RIFF"}
_DECODERS = {
    JPEG: imagecodecs.jpeg8_decode,
    PNG: imagecodecs.png_decode,
    GIF: imagecodecs.gif_decode,
    WEBP: imagecodecs.webp_decode,
}


def read_picture(reply: Reply, *media_types: str) -> NDArray[np.uint8]:
    """Return a picture's pixels: rows × columns, or rows × columns × samples.

    Args:
        reply: A 200 that is a picture.
        media_types: What it may be; any kind if none are given.

    Raises:
        CheckFailed: It is none of them, is not what its Content-Type says, or has more than 8
            bits a channel.
    """
    expect_status(reply, 200)
    return decode(reply, reply.media_type, reply.body, media_types or tuple(_SIGNS))


def decode(
    reply: Reply, kind: str, body: bytes, media_types: tuple[str, ...] = tuple(_SIGNS)
) -> NDArray[np.uint8]:
    """Return the pixels of a picture, or of a part of a reply that is one.

    Raises:
        CheckFailed: As `read_picture`.
    """
    expect(kind in media_types, reply, " or ".join(media_types), kind or "no Content-Type")
    expect(body.startswith(_SIGNS[kind]), reply, f"a picture of {kind}", body[:8])
    try:
        pixels = np.asarray(_DECODERS[kind](body))
    except (RuntimeError, ValueError) as error:
        raise CheckFailed(reply, f"a sound {kind}", str(error)) from error
    expect(pixels.dtype == np.uint8, reply, "8 bits a channel", pixels.dtype)
    return pixels


def measure(pixels: NDArray[np.uint8], kind: str = "") -> tuple[int, int]:
    """Return rows and columns; of an animation, those of a frame."""
    shape = pixels.shape
    if shape[-1] in (3, 4) and len(shape) > 2:
        shape = shape[:-1]
    return int(shape[-2]), int(shape[-1])


def to_grey(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return pixels as rows × columns of grey."""
    grey = pixels.astype(np.float64)
    if grey.ndim > 2 and grey.shape[-1] in (3, 4):
        grey = grey[..., :3].mean(axis=-1)
    return grey.reshape(grey.shape[-2:]) if grey.ndim == 2 else grey[0]

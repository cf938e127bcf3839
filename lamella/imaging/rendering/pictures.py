"""Pictures as files: JPEG, PNG, GIF, WebP and JPEG 2000."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from lamella.errors import NotAcceptable
from lamella.imaging.rendering.options import GIF, JP2, JPEG, PNG, WEBP

_PNG_LEVEL = 3  # a sixth larger than level 6, in a third of its time
_LOSSLESS_FROM = 100


def write_picture(
    picture: Image.Image, media_type: str, quality: int, icc_profile: bytes | None = None
) -> bytes:
    """Return a picture as a file.

    Args:
        picture: Mode L or RGB.
        media_type: One of `options.PICTURE_TYPES`.
        quality: 1 to 100; for JPEG, WebP (100 is lossless) and JPEG 2000 (likewise).
        icc_profile: To embed; GIF has no place for one.

    Raises:
        NotAcceptable: It is no such type, or the picture is too large for it.
    """
    if media_type == JPEG and icc_profile is None:
        return _write_jpeg(picture, quality)
    if media_type == JP2:
        return _write_jp2(picture, quality)
    kind, settings = _choose_format(media_type, quality)
    if icc_profile is not None:
        settings["icc_profile"] = icc_profile
    buffer = io.BytesIO()
    try:
        picture.save(buffer, kind, **settings)
    except (ValueError, OSError) as error:  # 16,383 pixels a side is all that WebP has
        raise NotAcceptable(f"The picture is too large for {media_type}.") from error
    return buffer.getvalue()


def _choose_format(media_type: str, quality: int) -> tuple[str, dict[str, Any]]:
    if media_type == JPEG:
        return "JPEG", {"quality": quality}
    if media_type == PNG:
        return "PNG", {"compress_level": _PNG_LEVEL}
    if media_type == GIF:
        return "GIF", {}
    if media_type == WEBP:
        return "WEBP", {"quality": quality, "lossless": quality >= _LOSSLESS_FROM, "method": 2}
    raise NotAcceptable(f"Pictures are not made as {media_type}.")


def _write_jpeg(picture: Image.Image, quality: int) -> bytes:
    """Return a JPEG without a detour through Pillow's encoder: a third of its time."""
    from imagecodecs import jpeg8_encode

    return bytes(jpeg8_encode(np.asarray(picture), level=quality))


def _write_jp2(picture: Image.Image, quality: int) -> bytes:
    from imagecodecs import jpeg2k_encode

    lossless = quality >= _LOSSLESS_FROM
    # PSNR in dB: 50 is hard to tell from the original, 30 easy
    level = 0 if lossless else 25 + quality // 4
    return bytes(
        jpeg2k_encode(np.asarray(picture), level=level, codecformat="JP2", reversible=lossless)
    )

"""A frame rendered, from the message that asks for it to the bytes of a picture.

Runs in a worker: what it is given was read elsewhere, and what it makes is sent elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from lamella.errors import NotAcceptable
from lamella.imaging.decoders import PixelDescription
from lamella.imaging.rendering.annotation import annotate
from lamella.imaging.rendering.attributes import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA
from lamella.imaging.rendering.colour import apply_profile, render_colour, render_palette
from lamella.imaging.rendering.greys import render_grey
from lamella.imaging.rendering.options import RenderOptions
from lamella.imaging.rendering.pictures import write_picture
from lamella.imaging.rendering.viewport import apply_viewport
from lamella.imaging.samples import read_samples


def render_picture(fields: Mapping[str, Any], payloads: Iterator[bytes]) -> bytes:
    """Return one frame as a picture.

    Args:
        fields: `pixel`: a `PixelDescription`; `attributes`: from `select_attributes`; `options`:
            `RenderOptions` as JSON.
        payloads: The frame as it is stored, native ones in little endian.

    Raises:
        InvalidRequest: The options do not fit the image.
        NotAcceptable: It cannot be rendered.
        BrokenInstance: It is broken.
    """
    options = RenderOptions.from_json(fields["options"])
    pixel, attributes = PixelDescription(**fields["pixel"]), fields["attributes"]
    picture = render_frame(next(payloads), pixel, attributes, options)
    picture, profile = apply_profile(picture, attributes, options.icc_profile)
    return write_picture(picture, options.media_type, options.quality, profile)


def render_frame(
    data: bytes, pixel: PixelDescription, attributes: Mapping[str, Any], options: RenderOptions
) -> Image.Image:
    """Return one frame as it is shown, of mode L or RGB.

    Raises:
        As `render_picture`.
    """
    array = _render_samples(data, pixel, attributes, options)
    picture = Image.fromarray(np.ascontiguousarray(array))
    picture = apply_viewport(picture, options.viewport, may_enlarge=options.may_enlarge)
    return annotate(picture, attributes, options.annotation)


def _render_samples(
    data: bytes, pixel: PixelDescription, attributes: Mapping[str, Any], options: RenderOptions
) -> Any:
    is_float = FLOAT_PIXEL_DATA in attributes or DOUBLE_FLOAT_PIXEL_DATA in attributes
    samples, photometric = read_samples(data, pixel, is_float=is_float)
    if photometric == "PALETTE COLOR":
        return render_palette(samples, pixel, attributes)
    if pixel.samples == 3:
        return render_colour(samples, pixel, photometric)
    if photometric not in ("MONOCHROME1", "MONOCHROME2", ""):
        raise NotAcceptable(f"Frames of {photometric} cannot be rendered.")
    return render_grey(samples, pixel, attributes, options.window)

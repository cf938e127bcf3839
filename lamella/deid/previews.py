"""Pictures for those who decide: a frame as it is seen, with the boxes that were blacked.

Runs in a process of its own (`crew.run_apart`): what it decodes may be broken.
"""

from __future__ import annotations

import io
from itertools import islice

import pydicom

from lamella.deid.lenient import UNREADABLE, lenient
from lamella.deid.made import DrawnFrames, list_boxes
from lamella.deid.pixels.frames import Frames
from lamella.deid.pixels.pictures import make_pictures
from lamella.errors import BrokenInstance, Conflict, ResourceNotFound

OUTLINE = (255, 140, 0)


def draw_preview(data: bytes, frame_number: int, drawn: DrawnFrames) -> bytes:
    """Return one frame as PNG, a pixel for a pixel, with the boxes outlined.

    Args:
        data: A Part 10 file.
        frame_number: From 1.
        drawn: The boxes of its frames.

    Raises:
        ResourceNotFound: It has no such frame.
        Conflict: It has no pixels that can be decoded.
    """
    from PIL import Image, ImageDraw  # whoever asks a process to do this needs it not

    try:
        with lenient():
            attributes = pydicom.dcmread(io.BytesIO(data))
            frames = Frames(attributes) if "PixelData" in attributes else None
        if frames is None or not frames.can_be_read():
            raise Conflict("The instance has no pixels that can be shown.")
        stored = next(islice(frames.stored(), frame_number - 1, None), None)
        if stored is None:
            raise ResourceNotFound(f"There is no frame {frame_number}.")
        picture = make_pictures(*frames.samples(stored), attributes)[0]
    except (*UNREADABLE, BrokenInstance) as error:
        raise Conflict("The pixels cannot be decoded.") from error
    image = Image.fromarray(picture).convert("RGB")
    pen = ImageDraw.Draw(image)
    for box in list_boxes(drawn, frame_number):
        pen.rectangle((box.left, box.top, box.right - 1, box.bottom - 1), outline=OUTLINE)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()

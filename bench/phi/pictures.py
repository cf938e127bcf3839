"""Pictures: something like anatomy, with lines of text burned in or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Array = np.ndarray[Any, Any]

STYLES = ("white", "grey", "outlined", "boxed", "black")
_CAP_TO_SIZE = 1.4
"""Pillow's own font has capitals of 0.7 of its size."""


@dataclass(frozen=True)
class Line:
    """A line of text in a picture.

    Attributes:
        text: What it says.
        is_secret: Whether it identifies somebody.
        box: Left, top, right, bottom of its ink; right and bottom excluded.
        height_px: Of its capitals.
    """

    text: str
    is_secret: bool
    box: tuple[int, int, int, int]
    height_px: int


@dataclass(frozen=True)
class Picture:
    """A frame of 8 bits, grey or colour, and the text in it."""

    array: Array
    lines: tuple[Line, ...]


def draw_anatomy(random: Random, rows: int, columns: int) -> Array:
    """Return a smooth grey picture of 8 bits with a bright outline and some noise."""
    noise = np.random.default_rng(random.randrange(1 << 32))
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    body = np.hypot(x / random.uniform(0.6, 0.8), y / random.uniform(0.7, 0.9))
    picture = np.where(body < 1, 70 + 25 * np.cos(5 * x + random.random()) * np.sin(4 * y), 6.0)
    picture += 90 * np.exp(-((body - 0.95) ** 2) / 0.002)
    for _ in range(5):
        cx, cy, r = random.uniform(-0.4, 0.4), random.uniform(-0.4, 0.4), random.uniform(0.06, 0.2)
        picture += random.uniform(-40, 60) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / r**2)
    picture += noise.normal(0, 2.5, picture.shape)
    eight: Array = picture.clip(0, 220).astype("u1")
    return eight


def burn(
    random: Random, grey: Array, texts: Sequence[tuple[str, bool]], *, is_colour: bool = False
) -> Picture:
    """Write lines into a picture: each at a corner of its own, of some size and style.

    Args:
        random: What it depends on.
        grey: Rows and columns of 8 bits.
        texts: Of the lines, and whether they are secret.
        is_colour: Whether to return three samples a pixel.
    """
    image = Image.fromarray(grey).convert("RGB")
    rows, columns = grey.shape
    top, bottom = 6, rows - 6
    lines = []
    for number, (text, is_secret) in enumerate(texts):
        height = random.choice([10, 11, 12, 14, 16, 18, 20, 24, 28, 32])
        font = _fit(text, height, columns - 16)
        left, up, right, down = font.getbbox(text)
        width, tall = right - left, down - up
        if bottom - top < tall + 12:
            break
        from_top = number % 2 == 0
        corner = random.choice([8, columns - width - 8])
        y = top if from_top else bottom - tall
        top, bottom = (top + tall + 12, bottom) if from_top else (top, bottom - tall - 12)
        box = _write(image, text, font, (int(corner), int(y)), random.choice(STYLES))
        lines.append(Line(text, is_secret, box, height))
    array = np.asarray(image if is_colour else image.convert("L"))
    return Picture(array.copy(), tuple(lines))


def _fit(text: str, height: int, width: int) -> Any:
    """Return a font with capitals of a height, smaller (not below 10 pixels) if it must be."""
    while True:
        font = ImageFont.load_default(round(height * _CAP_TO_SIZE))
        left, _, right, _ = font.getbbox(text)
        if right - left <= width or height <= 10:
            return font
        height -= 1


def _write(
    image: Image.Image, text: str, font: Any, at: tuple[int, int], style: str
) -> tuple[int, int, int, int]:
    """Draw a line; return the box of its ink."""
    left, up, _, _ = font.getbbox(text)
    x, y = at[0] - int(left), at[1] - int(up)
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).text((x, y), text, fill=255, font=font)
    box = mask.getbbox()
    assert box is not None, "a line has ink"
    draw = ImageDraw.Draw(image)
    around = (box[0] - 3, box[1] - 3, box[2] + 2, box[3] + 2)
    if style == "boxed":
        draw.rectangle(around, fill=(0, 0, 0))
    elif style == "black":
        draw.rectangle(around, fill=(215, 215, 215))
    colour = {"grey": (165, 165, 165), "black": (10, 10, 10)}.get(style, (250, 250, 250))
    edge = 1 if style == "outlined" else 0
    draw.text((x, y), text, fill=colour, font=font, stroke_width=edge, stroke_fill=(0, 0, 0))
    return box

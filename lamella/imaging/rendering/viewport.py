"""Viewports: crop, flip and scale a picture.

Source:
    PS3.18 §8.3.5.1.3: crop to the region, flip, then scale with the region's own aspect ratio
    until the width or the height of the viewport is reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamella.errors import InvalidRequest

if TYPE_CHECKING:
    from PIL import Image

MAX_SIDE = 16_384
MAX_PIXELS = 1 << 26


@dataclass(frozen=True)
class Viewport:
    """Where a picture has to fit, and which region of the image it shows.

    Attributes:
        width, height: Of the viewport, in pixels.
        left, top: Corner of the region, in pixels of the image.
        region_width, region_height: None: up to the edge of the image. Negative ones flip.
    """

    width: int
    height: int
    left: float = 0
    top: float = 0
    region_width: float | None = None
    region_height: float | None = None

    def check(self) -> None:
        """Raise unless a picture can be made for it.

        Raises:
            InvalidRequest: It has no or too many pixels.
        """
        is_sound = 0 < self.width <= MAX_SIDE and 0 < self.height <= MAX_SIDE
        if not is_sound or self.width * self.height > MAX_PIXELS:
            raise InvalidRequest(f"A viewport has 1 to {MAX_SIDE} pixels a side.")
        if self.left < 0 or self.top < 0 or self.region_width == 0 or self.region_height == 0:
            raise InvalidRequest("The viewport's region lies outside the image or is empty.")


def apply_viewport(
    picture: Image.Image, viewport: Viewport | None, *, may_enlarge: bool = True
) -> Image.Image:
    """Return the picture as the viewport shows it.

    Raises:
        InvalidRequest: The region lies (partly) outside the image.
    """
    from PIL import Image  # not needed where viewports are only parsed

    if viewport is None:
        return picture
    left, top, right, bottom = _find_region(picture, viewport)
    width, height = right - left, bottom - top
    scale = min(viewport.width / width, viewport.height / height)
    if not may_enlarge:
        scale = min(scale, 1.0)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    box = (left, top, right, bottom)
    if size == picture.size and box == (0, 0, *picture.size):
        shown = picture
    else:
        method = Image.Resampling.BICUBIC if scale != 1 else Image.Resampling.NEAREST
        shown = picture.resize(size, method, box)
    if (viewport.region_width or 0) < 0:
        shown = shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if (viewport.region_height or 0) < 0:
        shown = shown.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return shown


def _find_region(picture: Image.Image, viewport: Viewport) -> tuple[float, float, float, float]:
    left, top = viewport.left, viewport.top
    region_width, region_height = viewport.region_width, viewport.region_height
    right = picture.width if region_width is None else left + abs(region_width)
    bottom = picture.height if region_height is None else top + abs(region_height)
    if not (left < right <= picture.width and top < bottom <= picture.height):
        raise InvalidRequest("The viewport's region lies outside the image or is empty.")
    return left, top, right, bottom

"""What a client asks for when it asks for a picture, checked, and as JSON for a worker.

Source:
    PS3.18 §8.3.5 (query parameters of rendered resources).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lamella.imaging.rendering.viewport import Viewport
from lamella.imaging.rendering.windows import Window

JPEG, PNG, GIF, WEBP, JP2 = "image/jpeg", "image/png", "image/gif", "image/webp", "image/jp2"
MP4 = "video/mp4"
PICTURE_TYPES = (JPEG, PNG, GIF, WEBP, JP2)
MOVIE_TYPES = (GIF, MP4)
ANNOTATIONS = ("patient", "technique")
ICC_PROFILES = ("no", "yes", "srgb")
DEFAULT_QUALITY = 90


@dataclass(frozen=True)
class RenderOptions:
    """How a picture shall be.

    Attributes:
        media_type: One of `PICTURE_TYPES`, or of `MOVIE_TYPES` for several frames.
        window: None: as the instance says.
        viewport: None: the whole image at its own size.
        annotation: Some of `ANNOTATIONS`.
        quality: 1 to 100, for lossy types.
        icc_profile: One of `ICC_PROFILES`.
        may_enlarge: Whether a viewport larger than the image enlarges it.
    """

    media_type: str = JPEG
    window: Window | None = None
    viewport: Viewport | None = None
    annotation: tuple[str, ...] = ()
    quality: int = DEFAULT_QUALITY
    icc_profile: str = "no"
    may_enlarge: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> RenderOptions:
        """Return the options that `to_json` wrote."""
        window, viewport = fields["window"], fields["viewport"]
        return cls(
            fields["media_type"],
            None if window is None else Window(**window),
            None if viewport is None else Viewport(**viewport),
            tuple(fields["annotation"]),
            fields["quality"],
            fields["icc_profile"],
            fields["may_enlarge"],
        )


def can_make_mp4() -> bool:
    """Tell whether PyAV is installed (`pip install lamella[video]`)."""
    return importlib.util.find_spec("av") is not None

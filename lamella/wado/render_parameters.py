"""The query parameters of rendered resources.

Source:
    PS3.18 §8.3.5.1 (rendered), §8.3.5.2 (thumbnails).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from litestar.datastructures import MultiDict

from lamella.errors import InvalidRequest
from lamella.imaging.rendering.options import (
    ANNOTATIONS,
    DEFAULT_QUALITY,
    ICC_PROFILES,
    RenderOptions,
)
from lamella.imaging.rendering.viewport import Viewport
from lamella.imaging.rendering.windows import Window

RENDERED_PARAMETERS = ("annotation", "iccprofile", "quality", "viewport", "window")
THUMBNAIL_PARAMETERS = ("viewport",)
THUMBNAIL_SIDE = 256
_FUNCTIONS = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
Query = MultiDict[Any]


def read_options(query: Query) -> tuple[RenderOptions, list[str]]:
    """Return what a request for a rendered resource asks for, and warnings about the rest.

    Raises:
        InvalidRequest: A parameter makes no sense.

    Source:
        PS3.18 §8.3.5.1.1 to §8.3.5.1.5.
    """
    annotation, unknown = _read_annotation(query)
    options = RenderOptions(
        window=_read_window(_read_one(query, "window")),
        viewport=_read_viewport(_read_one(query, "viewport")),
        annotation=annotation,
        quality=read_quality(_read_one(query, "quality"), "quality"),
        icc_profile=_read_icc_profile(_read_one(query, "iccprofile")),
    )
    text = f"The following annotation values are not supported: {', '.join(unknown)}"
    return options, [text] if unknown else []


def read_thumbnail_options(query: Query) -> RenderOptions:
    """Return what a request for a thumbnail asks for.

    Raises:
        InvalidRequest: Its viewport makes no sense.

    Source:
        PS3.18 §8.3.5.2: a viewport's width and height are all there is.
    """
    text = _read_one(query, "viewport")
    if text is None:
        viewport = Viewport(THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        return RenderOptions(viewport=viewport, may_enlarge=False)
    asked = _read_viewport(text)
    if text.count(",") != 1:
        raise InvalidRequest("A thumbnail's viewport is a width and a height.")
    return RenderOptions(viewport=asked)


def _read_one(query: Query, name: str) -> str | None:
    values = query.getall(name, [])
    if len(values) > 1:
        raise InvalidRequest(f"The parameter {name} is given more than once.")
    return str(values[0]) if values else None


def _read_annotation(query: Query) -> tuple[tuple[str, ...], list[str]]:
    asked = [part.strip() for text in query.getall("annotation", []) for part in text.split(",")]
    known = tuple(kind for kind in ANNOTATIONS if kind in asked)
    unknown = [part for part in asked if part not in ANNOTATIONS]
    if "" in unknown:
        raise InvalidRequest(f"annotation takes {' and '.join(ANNOTATIONS)}.")
    return known, [part for part in unknown if part.isascii() and part.isprintable()]


def read_quality(text: str | None, name: str) -> int:
    """Return an image quality.

    Raises:
        InvalidRequest: It is no whole number from 1 to 100.
    """
    if text is None:
        return DEFAULT_QUALITY
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= 100):
        raise InvalidRequest(f"The parameter {name} is a whole number from 1 to 100.")
    return int(text)


def _read_icc_profile(text: str | None) -> str:
    if text is not None and text not in ICC_PROFILES:
        raise InvalidRequest(f"iccprofile is one of {', '.join(ICC_PROFILES)}.")
    return text or "no"


def _read_window(text: str | None) -> Window | None:
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 3 or parts[2].strip().lower() not in _FUNCTIONS:
        raise InvalidRequest("window is a center, a width, and linear, linear-exact or sigmoid.")
    center, width = read_decimals(parts[:2], "window")
    window = Window(center, width, _FUNCTIONS[parts[2].strip().lower()])
    window.check()
    return window


def _read_viewport(text: str | None) -> Viewport | None:
    """Return a viewport: vw,vh[,[sx],[sy],[sw],[sh]]."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not 2 <= len(parts) <= 6 or not all(
        part.isascii() and part.isdecimal() for part in parts[:2]
    ):
        raise InvalidRequest("viewport is a width and a height in pixels, and a region.")
    numbers = [None if not part else read_decimals([part], "viewport")[0] for part in parts[2:]]
    left, top, width, height = numbers + [None] * (4 - len(numbers))
    viewport = Viewport(int(parts[0][:9]), int(parts[1][:9]), left or 0, top or 0, width, height)
    viewport.check()
    return viewport


def read_decimals(texts: Sequence[str], name: str) -> list[float]:
    """Return decimal numbers.

    Raises:
        InvalidRequest: One is none.
    """
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise InvalidRequest(f"The parameter {name} needs decimal numbers.")
    return numbers

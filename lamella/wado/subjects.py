"""What kind of thing an instance is to somebody who wants to look at it.

Source:
    PS3.18 §8.7.2 (resource categories), Table 8.7.4-1 (rendered media types).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from lamella.imaging.rendering.attributes import count_frames, first_value, read_number
from lamella.imaging.rendering.options import MP4, PICTURE_TYPES, can_make_mp4

HTML, PLAIN, SVG = "text/html", "text/plain", "image/svg+xml"
DOCUMENT_TYPES = ("application/pdf", "text/xml", "model/stl", "model/obj", "model/mtl")
"""What encapsulated documents usually are; others go out as the type that they name."""
_PIXEL_DATA = ("7FE00010", "7FE00008", "7FE00009")
_DOCUMENT, _DOCUMENT_TYPE = "00420011", "00420012"
_WAVEFORMS, _CONTENT, _VALUE_TYPE = "54000100", "0040A730", "0040A040"
_REPRESENTATIVE_FRAME = "00286010"


class Category(Enum):
    """How an instance is rendered."""

    IMAGE = "image"
    DOCUMENT = "document"
    REPORT = "report"
    WAVEFORM = "waveform"


@dataclass(frozen=True)
class Kind:
    """An instance's category and what it can be rendered as.

    Attributes:
        media_types: The default first.
        n_frames: Of an image; else 0.
        representative: Index of the frame that stands for the image.
    """

    category: Category
    media_types: tuple[str, ...]
    n_frames: int = 0
    representative: int = 0


def list_image_types() -> tuple[str, ...]:
    """Return the media types of rendered images of several frames."""
    return PICTURE_TYPES + ((MP4,) if can_make_mp4() else ())


def list_rendered_types() -> tuple[str, ...]:
    """Return the media types of rendered resources, of whatever category."""
    return (*list_image_types(), HTML, PLAIN, SVG, *DOCUMENT_TYPES)


def classify(document: Mapping[str, Any]) -> Kind | None:
    """Return what an instance is, or None if there is nothing to see.

    Args:
        document: Its DICOM JSON.
    """
    if any(tag in document for tag in _PIXEL_DATA):
        return _classify_image(document)
    if _DOCUMENT in document:
        media_type = str(first_value(document, _DOCUMENT_TYPE) or "").strip().lower()
        return Kind(Category.DOCUMENT, (media_type or "application/octet-stream",))
    if _WAVEFORMS in document:
        return Kind(Category.WAVEFORM, (SVG,))
    if _CONTENT in document or _VALUE_TYPE in document:
        return Kind(Category.REPORT, (HTML, PLAIN))
    return None


def _classify_image(document: Mapping[str, Any]) -> Kind:
    n_frames = count_frames(document)
    if n_frames == 1:
        return Kind(Category.IMAGE, PICTURE_TYPES, 1)
    named = read_number(document, _REPRESENTATIVE_FRAME)
    index = n_frames // 2 if named is None else int(named) - 1
    return Kind(Category.IMAGE, list_image_types(), n_frames, index if 0 <= index < n_frames else 0)

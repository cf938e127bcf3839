"""Text burnt into a picture: who it shows, and how it was made.

Source:
    PS3.18 §8.3.5.1.1 (`annotation`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from lamella.imaging.rendering.attributes import PATIENT, first_value

_LEAST_TEXT_PX, _MOST_TEXT_PX = 9, 28
_LINES_PER_PICTURE = 32
_UNITS = (
    ("00180050", "{} mm"),
    ("00180060", "{} kV"),
    ("00181151", "{} mA"),
    ("00181150", "{} ms"),
    ("00180080", "TR {}"),
    ("00180081", "TE {}"),
    ("00180087", "{} T"),
)
_TEXTS = ("00080060", "00080070", "0008103E", "00180015", "00181030")


def annotate(
    picture: Image.Image, attributes: Mapping[str, Any], annotation: Sequence[str]
) -> Image.Image:
    """Return the picture with the texts asked for: the patient above, the technique below.

    Args:
        attributes: DICOM JSON with what `select_attributes` selects for it.
        annotation: `patient`, `technique`.
    """
    if not annotation:
        return picture
    shown = picture.copy()
    size_px = shown.height // _LINES_PER_PICTURE
    font = ImageFont.load_default(max(_LEAST_TEXT_PX, min(_MOST_TEXT_PX, size_px)))
    margin = 4
    if "patient" in annotation:
        _draw(shown, (margin, margin), "la", _describe_patient(attributes), font)
    if "technique" in annotation:
        place = (margin, shown.height - margin)
        _draw(shown, place, "ld", _describe_technique(attributes), font)
    return shown


def _draw(
    picture: Image.Image, place: tuple[int, int], anchor: str, lines: Sequence[str], font: Any
) -> None:
    """Draw lines in white with a black edge, so that they show on any ground."""
    white: Any = 255 if picture.mode == "L" else (255, 255, 255)
    black: Any = 0 if picture.mode == "L" else (0, 0, 0)
    drawing = ImageDraw.Draw(picture)
    drawing.multiline_text(
        place, "\n".join(lines), white, font, anchor=anchor, stroke_width=1, stroke_fill=black
    )


def _describe_patient(attributes: Mapping[str, Any]) -> list[str]:
    texts = [_read_text(attributes, tag) for tag in PATIENT]
    return [text for text in texts if text]


def _describe_technique(attributes: Mapping[str, Any]) -> list[str]:
    lines = [text for tag in _TEXTS if (text := _read_text(attributes, tag))]
    numbers = [
        pattern.format(text) for tag, pattern in _UNITS if (text := _read_text(attributes, tag))
    ]
    return [*lines, " · ".join(numbers)] if numbers else lines


def _read_text(attributes: Mapping[str, Any], tag: str) -> str:
    value = first_value(attributes, tag)
    if isinstance(value, dict):
        value = value.get("Alphabetic") or value.get("Ideographic") or ""
        value = " ".join(part for part in value.split("^") if part)
    return "" if value is None else " ".join(str(value).split())

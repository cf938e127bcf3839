"""Rectangles of pixels, and which of them belong together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A rectangle of a frame, in pixels from its upper left corner.

    Attributes:
        left: First column.
        top: First row.
        right: Column behind the last one.
        bottom: Row behind the last one.
    """

    left: int
    top: int
    right: int
    bottom: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def area(self) -> int:
        """Pixels; 0 if there are none."""
        return max(0, self.right - self.left) * max(0, self.bottom - self.top)

    def clip(self, columns: int, rows: int) -> Box:
        """Return the part that lies within a frame."""
        return Box(
            max(0, self.left), max(0, self.top), min(columns, self.right), min(rows, self.bottom)
        )

    def pad(self, pixels: int) -> Box:
        """Return it with a margin all around."""
        return Box(self.left - pixels, self.top - pixels, self.right + pixels, self.bottom + pixels)

    def shift(self, columns: int, rows: int) -> Box:
        """Return it somewhere else."""
        return Box(self.left + columns, self.top + rows, self.right + columns, self.bottom + rows)

    def touches(self, other: Box) -> bool:
        """Tell whether two share pixels, or an edge."""
        return (
            self.left <= other.right
            and other.left <= self.right
            and self.top <= other.bottom
            and other.top <= self.bottom
        )

    def overlap(self, other: Box) -> int:
        """Return how many pixels two share."""
        return Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        ).area

    def join(self, other: Box) -> Box:
        """Return the smallest box around two."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )


def drop_covered(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """Return the boxes that are not within another one, in order."""
    kept: list[Box] = []
    for box in sorted(set(boxes), key=lambda box: -box.area):
        if box.area and not any(box.join(other) == other for other in kept):
            kept.append(box)
    return tuple(sorted(kept))

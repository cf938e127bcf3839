"""A bar chart as SVG, written by hand: ratios on a logarithmic axis, each with its goal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH = 860
LABEL_WIDTH = 260
ROW = 22
_TOP = 60
_CAPTION = "Lamella's rate over the other's, logarithmic; the black mark is what must be shown."
_RIGHT = 70


def draw_ratios(bars: Sequence[tuple[str, float, float]]) -> str:
    """Return a chart.

    Args:
        bars: Label, ratio, and the ratio that must be shown.
    """
    height = _TOP + ROW * len(bars) + 10
    highest = max([10.0, *(max(ratio, goal) for _, ratio, goal in bars)])
    lowest = min([0.5, *(min(ratio, goal) for _, ratio, goal in bars)])
    axis = _Axis(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)))
    shapes = [shape for exponent in axis.exponents for shape in _draw_line(axis, exponent, height)]
    for row, bar in enumerate(bars):
        shapes += _draw_bar(axis, _TOP + ROW * row, *bar)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
        f'<text x="8" y="18" fill="#444">{escape(_CAPTION)}</text>\n'
        + "\n".join(shapes)
        + "\n</svg>\n"
    )


class _Axis:
    """Powers of ten from left to right."""

    def __init__(self, first: int, last: int) -> None:
        self.exponents = range(first, last + 1)
        self._first = first
        self._scale = (WIDTH - LABEL_WIDTH - _RIGHT) / (last - first)

    def x(self, value: float) -> float:
        """Return where a value lies."""
        return LABEL_WIDTH + (math.log10(max(value, 1e-9)) - self._first) * self._scale


def _draw_line(axis: _Axis, exponent: int, height: int) -> list[str]:
    x = axis.x(10.0**exponent)
    colour = "#444" if exponent == 0 else "#ddd"
    return [
        f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{height}" stroke="{colour}"/>',
        f'<text x="{x:.1f}" y="{_TOP - 14}" text-anchor="middle" fill="#666">'
        f"{10.0**exponent:g}×</text>",
    ]


def _draw_bar(axis: _Axis, y: int, label: str, ratio: float, goal: float) -> list[str]:
    one, end, mark = axis.x(1.0), max(axis.x(ratio), LABEL_WIDTH), axis.x(goal)
    colour = "#2a7f62" if ratio >= goal else "#c2552d"
    return [
        f'<text x="{LABEL_WIDTH - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>',
        f'<rect x="{min(one, end):.1f}" y="{y + 2}" width="{abs(end - one):.1f}" '
        f'height="{ROW - 8}" fill="{colour}"/>',
        f'<line x1="{mark:.1f}" y1="{y}" x2="{mark:.1f}" y2="{y + ROW - 4}" stroke="black" '
        'stroke-width="2"/>',
        f'<text x="{max(end, one, mark) + 5:.1f}" y="{y + 13}">{ratio:.3g}×</text>',
    ]

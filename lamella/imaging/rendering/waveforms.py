"""Waveforms as SVG: a row for each channel, with its name, on a common scale and time axis.

Source:
    PS3.3 §C.10.9 (waveform), §C.10.9.1.5 (sample interpretation, sensitivity, baseline).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from lamella.errors import BrokenInstance, NotAcceptable
from lamella.imaging.rendering.attributes import first_value, read_number

Array = np.ndarray[Any, Any]
_DTYPES = {"SB": "i1", "UB": "u1", "SS": "<i2", "US": "<u2", "SL": "<i4", "UL": "<u4"}
_WIDTH, _ROW, _LEFT, _TOP = 1200, 90, 110, 28
_SECONDS_LINES = 60
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}.grid{stroke:#f3c6c6;stroke-width:1}"
    "polyline{fill:none;stroke:#222;stroke-width:1}"
)


@dataclass(frozen=True)
class Channel:
    """One channel of a multiplex group.

    Attributes:
        values: In `unit`, NaN where the recording has a gap.
    """

    name: str
    unit: str
    values: Array


def render_waveform(fields: Mapping[str, Any], payloads: Iterator[bytes]) -> bytes:
    """Return multiplex groups as one drawing.

    Args:
        fields: `groups`: the items of Waveform Sequence, as DICOM JSON.
        payloads: The Waveform Data of each, little endian, or as much of it as is drawn.

    Raises:
        NotAcceptable: The samples are of a kind that is not drawn (A-law, mu-law).
        BrokenInstance: Attributes are missing or contradictory.
    """
    pieces, top = list[str](), 0
    for group, data in zip(fields["groups"], payloads, strict=True):
        rate = read_number(group, "003A001A") or 0
        if rate <= 0:
            raise BrokenInstance("A waveform has no sampling frequency.")
        channels = read_channels(group, data)
        pieces += _draw_group(_read_label(group), channels, rate, top)
        top += _TOP * 2 + _ROW * len(channels)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" '
        f'viewBox="0 0 {_WIDTH} {top}"><style>{_STYLE}</style>'
        f'<rect width="{_WIDTH}" height="{top}" fill="#fff"/>'
    )
    return (head + "".join(pieces) + "</svg>\n").encode()


def read_channels(group: Mapping[str, Any], data: bytes) -> list[Channel]:
    """Return the channels of a multiplex group in the units of their sensitivity.

    Raises:
        NotAcceptable, BrokenInstance: As `render_waveform`.
    """
    kind = str(first_value(group, "54001006") or "")
    if kind not in _DTYPES:
        raise NotAcceptable(f"Waveforms of {kind or 'unknown'} samples are not drawn.")
    definitions = group.get("003A0200", {}).get("Value", [])
    count = int(read_number(group, "003A0005") or len(definitions))
    if count < 1 or len(definitions) != count:
        raise BrokenInstance("A waveform's channels are not described.")
    stride = np.dtype(_DTYPES[kind]).itemsize * count
    raw = np.frombuffer(data[: len(data) // stride * stride], _DTYPES[kind])
    samples = raw.reshape(-1, count).astype(float)
    padding = read_number(group, "5400100A")
    if padding is not None:
        samples[samples == padding] = np.nan
    return [_scale(one or {}, samples[:, n], n) for n, one in enumerate(definitions)]


def _scale(definition: Mapping[str, Any], samples: Array, index: int) -> Channel:
    """Return samples as (sample + baseline) × sensitivity × correction, if those are known."""
    source = first_value(definition, "003A0208") or {}
    label = first_value(definition, "003A0203") or first_value(source, "00080104")
    sensitivity = read_number(definition, "003A0210")
    if sensitivity is None:
        return Channel(str(label or index + 1), "", samples)
    correction = read_number(definition, "003A0212")
    baseline = read_number(definition, "003A0213") or 0
    unit = first_value(first_value(definition, "003A0211") or {}, "00080100")
    values = (samples * sensitivity + baseline) * (1 if correction is None else correction)
    return Channel(str(label or index + 1), str(unit or ""), values)


def _read_label(group: Mapping[str, Any]) -> str:
    return str(first_value(group, "003A0020") or "")


def _draw_group(label: str, channels: Sequence[Channel], rate: float, top: int) -> Iterator[str]:
    n_samples = len(channels[0].values)
    seconds = n_samples / rate
    yield f'<text x="8" y="{top + 18}">{escape(label)} {seconds:g} s, {rate:g} Hz</text>'
    first, bottom = top + _TOP, top + _TOP + _ROW * len(channels)
    per_second = (_WIDTH - _LEFT) / max(seconds, 1e-9)
    for second in range(int(seconds) + 1 if seconds <= _SECONDS_LINES else 0):
        x = _LEFT + second * per_second
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{first}" y2="{bottom}"/>'
    scales = _find_scales(channels)
    for row, channel in enumerate(channels):
        scale, middle = scales[channel.unit], first + _ROW * row + _ROW / 2
        yield f'<text x="8" y="{middle:.0f}">{escape(_short(channel.name))}</text>'
        yield from _draw_scale(scale, channel.unit, middle)
        yield from _draw_channel(channel.values, scale, middle)


def _draw_scale(scale: float, unit: str, middle: float) -> Iterator[str]:
    """Yield a bar as long as a round number of units, and the number."""
    most = 0.6 * _ROW / scale
    decade = 10.0 ** math.floor(math.log10(most))
    size = next(step * decade for step in (5, 2, 1) if step * decade <= most)
    half = size * scale / 2
    yield f'<text x="8" y="{middle + 15:.0f}" opacity=".6">{size:g} {escape(unit)}</text>'
    line = f'x1="{_LEFT - 8}" x2="{_LEFT - 8}" y1="{middle - half:.1f}" y2="{middle + half:.1f}"'
    yield f'<line stroke="#888" stroke-width="2" {line}/>'


def _short(name: str) -> str:
    return name.removeprefix("Lead ")[:16]


def _find_scales(channels: Sequence[Channel]) -> dict[str, float]:
    """Return pixels per unit: the same for all channels of a unit, so that they compare."""
    scales: dict[str, float] = {}
    for channel in channels:
        shown = channel.values[np.isfinite(channel.values)]
        extent = float(np.ptp(shown)) if shown.size else 0.0
        scale = 0.8 * _ROW / extent if extent > 0 else 1.0
        scales[channel.unit] = min(scale, scales.get(channel.unit, scale))
    return scales


def _draw_channel(values: Array, scale: float, middle: float) -> Iterator[str]:
    """Yield lines through the lowest and highest value of each column, broken at gaps."""
    shown = values[np.isfinite(values)]
    center = (shown.min() + shown.max()) / 2 if shown.size else 0.0
    columns = min(len(values), 2 * (_WIDTH - _LEFT))
    if not columns:
        return
    points: list[str] = []
    for n, part in enumerate(np.array_split(values, columns)):
        x = _LEFT + n * (_WIDTH - _LEFT) / columns
        part = part[np.isfinite(part)]
        if not part.size:
            yield from _join(points)
            points = []
            continue
        for value in (part,) if part.size == 1 else (part.min(), part.max()):
            y = middle - (float(np.squeeze(value)) - center) * scale
            points.append(f"{x:.1f},{y:.1f}")
    yield from _join(points)


def _join(points: Sequence[str]) -> Iterator[str]:
    if len(points) > 1:
        yield f'<polyline points="{" ".join(points)}"/>'

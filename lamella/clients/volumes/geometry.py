"""Where the pixels of frames are in the patient.

Source:
    PS3.3 §C.7.6.2 (Image Plane), equation C.7.6.2.1-1; §C.7.6.16 (functional groups).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Attributes = dict[str, Any]

_FUNCTIONAL_GROUPS = ("52009230", "52009229")  # of the frame, then those all frames share
_POSITION = ("00209113", "00200032")
_ORIENTATION = ("00209116", "00200037")
_SPACING = ("00289110", "00280030")
_NO_SPACING = (1.0, 1.0)


@dataclass(frozen=True)
class Plane:
    """The plane of one frame.

    Attributes:
        position_mm: Of the middle of the first pixel: x, y, z (to the patient's left, back, head).
        along_row: Direction in which the columns' index grows.
        along_column: Direction in which the rows' index grows.
        spacing_mm: Between rows, between columns.
    """

    position_mm: Floats
    along_row: Floats
    along_column: Floats
    spacing_mm: tuple[float, float]

    @property
    def normal(self) -> Floats:
        """Direction in which slices are put in order."""
        return np.cross(self.along_row, self.along_column)

    @property
    def depth_mm(self) -> float:
        """Position along the normal."""
        return float(self.position_mm @ self.normal)


def read_plane(attributes: Attributes, frame_index: int) -> Plane | None:
    """Return the plane of a frame, or None if the instance does not say where it is.

    Args:
        attributes: DICOM JSON of the instance.
        frame_index: From 0 on.
    """
    position = read_frame_values(attributes, frame_index, *_POSITION)
    orientation = read_frame_values(attributes, frame_index, *_ORIENTATION)
    if len(position) != 3 or len(orientation) != 6:
        return None
    spacing = read_frame_values(attributes, frame_index, *_SPACING) or _NO_SPACING
    return Plane(
        np.array(position, dtype=float),
        np.array(orientation[:3], dtype=float),
        np.array(orientation[3:], dtype=float),
        (float(spacing[0]), float(spacing[1])),
    )


def read_frame_values(attributes: Attributes, frame_index: int, group: str, tag: str) -> list[Any]:
    """Return an attribute's values for a frame: from its functional group, or the instance's own.

    Args:
        attributes: DICOM JSON of the instance.
        frame_index: From 0 on.
        group: Tag of the functional group's sequence.
        tag: Of the attribute in it.
    """
    for sequence in _FUNCTIONAL_GROUPS:
        items = attributes.get(sequence, {}).get("Value", [])
        number = frame_index if sequence == _FUNCTIONAL_GROUPS[0] else 0
        item = items[number] if number < len(items) else {}
        for member in item.get(group, {}).get("Value", []):
            if tag in member:
                return list(member[tag].get("Value", []))
    return list(attributes.get(tag, {}).get("Value", []))


def read_values(attributes: Attributes, tag: str) -> list[Any]:
    """Return the values of an attribute; none if it is absent or empty."""
    return list(attributes.get(tag, {}).get("Value", []))


def read_number(attributes: Attributes, tag: str, default: float) -> float:
    """Return the first value of a numeric attribute."""
    values = read_values(attributes, tag)
    return float(values[0]) if values else default

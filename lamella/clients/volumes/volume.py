"""A series as one array, its slices in the order of their positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dicomweb_client.protocol import DICOMClient
from numpy.typing import NDArray

from lamella.clients.volumes.frames import FrameKey, list_frames, read_pixels
from lamella.clients.volumes.geometry import Floats, Plane, read_values

SAME_DIRECTION = 1e-4
SAME_PLACE_MM = 1e-2


@dataclass(frozen=True)
class Volume:
    """A series, or what is asked of it, as an array.

    Attributes:
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        pixels: (slices, rows, columns), and samples where a pixel has several; the modality's
            values (Hounsfield units of CT) as float32, or values as they are stored.
        affine: 4 × 4; from (column, row, slice) to x, y, z in mm (to the patient's left, back
            and head: DICOM's axes, not NIfTI's).
        spacing_mm: Between slices (0 if there is one), rows, columns.
        is_regular: Whether all slices are equally far from each other.
        sop_uids: Of each slice's instance.
        labels: (slices, rows, columns), 0 where there is none; None if none were asked for.
        label_names: By number.
    """

    study_uid: str
    series_uid: str
    pixels: NDArray[Any]
    affine: Floats
    spacing_mm: tuple[float, float, float]
    is_regular: bool
    sop_uids: tuple[str, ...]
    labels: NDArray[np.uint16] | None = None
    label_names: dict[int, str] = field(default_factory=dict)

    @property
    def orientation(self) -> Floats:
        """3 × 3; its columns are the directions in which column, row and slice indices grow."""
        lengths: Floats = np.linalg.norm(self.affine[:3, :3], axis=0)
        directions: Floats = self.affine[:3, :3] / lengths
        return directions


@dataclass(frozen=True)
class Slices:
    """Frames of a series in the order of their positions, and where they are.

    Attributes:
        keys: One a slice.
        planes: Likewise.
    """

    keys: tuple[FrameKey, ...]
    planes: tuple[Plane, ...]

    @property
    def depths_mm(self) -> Floats:
        """Of each slice, along their normal."""
        return np.array([plane.depth_mm for plane in self.planes])

    @property
    def step_mm(self) -> float:
        """Distance of slices, the most common where they differ; 0 if there is one slice."""
        steps = np.diff(self.depths_mm)
        return float(np.median(steps)) if len(steps) else 0.0

    @property
    def is_regular(self) -> bool:
        """Whether all slices are equally far from each other."""
        steps = np.diff(self.depths_mm)
        return bool(np.all(np.abs(steps - self.step_mm) < SAME_PLACE_MM))

    def build_affine(self) -> Floats:
        """Return the matrix from (column, row, slice) to x, y, z in mm."""
        first = self.planes[0]
        affine = np.eye(4)
        affine[:3, 0] = first.along_row * first.spacing_mm[1]
        affine[:3, 1] = first.along_column * first.spacing_mm[0]
        affine[:3, 2] = first.normal * (self.step_mm or 1.0)
        affine[:3, 3] = first.position_mm
        return affine


def read_volume(
    client: DICOMClient, study_uid: str, series_uid: str, *, rescale: bool = True
) -> tuple[Volume, Slices]:
    """Read a series.

    Args:
        client: Reads it.
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        rescale: Whether to return the modality's values rather than the stored ones.

    Raises:
        ValueError: It is no volume: its frames do not say where they are, are of different sizes
            or directions, or two are in one place.
        requests.HTTPError: The client cannot read it.
    """
    slices = sort_slices(list_frames(client, study_uid, series_uid))
    frames = read_pixels(client, slices.keys)
    pixels = [
        _rescale(key, frame) if rescale else frame
        for key, frame in zip(slices.keys, frames, strict=True)
    ]
    spacing = slices.planes[0].spacing_mm
    volume = Volume(
        study_uid,
        series_uid,
        np.stack(pixels),
        slices.build_affine(),
        (slices.step_mm, *spacing),
        slices.is_regular,
        tuple(key.uids[2] for key in slices.keys),
    )
    return volume, slices


def sort_slices(keys: Sequence[FrameKey]) -> Slices:
    """Return frames in the order of their positions along their normal.

    Raises:
        ValueError: They are no volume; see `read_volume`.
    """
    placed = [(key, plane) for key in keys if (plane := key.plane) is not None]
    if not placed or len(placed) != len(keys):
        raise ValueError("not all frames of the series say where they are")
    first_key, first = placed[0]
    for key, plane in placed:
        turned = np.abs(plane.along_row - first.along_row).max()
        turned = max(turned, np.abs(plane.along_column - first.along_column).max())
        if turned > SAME_DIRECTION or plane.spacing_mm != first.spacing_mm:
            raise ValueError("the frames of the series do not lie in one direction")
        if key.shape != first_key.shape:
            raise ValueError("the frames of the series are of different sizes")
    placed.sort(key=lambda pair: pair[1].depth_mm)
    slices = Slices(*zip(*placed, strict=True))
    if len(placed) > 1 and np.diff(slices.depths_mm).min() < SAME_PLACE_MM:
        raise ValueError("two frames of the series are in one place")
    return slices


def _rescale(key: FrameKey, frame: NDArray[Any]) -> NDArray[np.float32]:
    slope, intercept = key.rescale
    return (frame * np.float32(slope) + np.float32(intercept)).astype(np.float32)


def describe_series(attributes: dict[str, Any]) -> tuple[str, str]:
    """Return study and series UID of a search result."""
    return read_values(attributes, "0020000D")[0], read_values(attributes, "0020000E")[0]

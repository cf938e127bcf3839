"""Segmentations as labels, on the grid of the volume that they are of.

Source:
    PS3.3 §A.51 (Segmentation), §C.8.20 (its modules), §C.7.6.16 (functional groups).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from dicomweb_client.protocol import DICOMClient
from numpy.typing import NDArray

from lamella.clients.volumes.frames import FrameKey, list_frames, read_pixels
from lamella.clients.volumes.geometry import Attributes, Plane, read_frame_values, read_values
from lamella.clients.volumes.volume import (
    SAME_DIRECTION,
    SAME_PLACE_MM,
    Slices,
    describe_series,
)

HALF = 0.5
_SEGMENT = ("0062000A", "0062000B")
_REFERENCED_SERIES = "00081115"


def read_labels(
    client: DICOMClient, study_uid: str, series_uid: str, slices: Slices
) -> tuple[NDArray[np.uint16], dict[int, str]]:
    """Read all segmentations of a series that its study holds.

    Where several lie over each other, the later one counts (by series, instance, frame).
    Segments of a second segmentation are numbered on from those of the first.

    Args:
        client: Reads them.
        study_uid: Study Instance UID.
        series_uid: Of the series that is segmented.
        slices: Its slices, in order.

    Returns:
        (slices, rows, columns), 0 where there is no segment; and the segments' names by number.

    Raises:
        ValueError: A segmentation is on another grid than the series.
        requests.HTTPError: The client cannot read it.
    """
    labels = np.zeros((len(slices.keys), *slices.keys[0].shape[:2]), np.uint16)
    names: dict[int, str] = {}
    found = client.search_for_series(study_uid, search_filters={"Modality": "SEG"})
    for seg_uid in sorted(describe_series(one)[1] for one in found):
        keys = [
            key
            for key in list_frames(client, study_uid, seg_uid)
            if series_uid in _list_referenced(key.attributes)
        ]
        base, last_sop = max(names, default=0), ""
        for key, frame in zip(keys, read_pixels(client, keys), strict=True):
            if key.uids[2] != last_sop:
                last_sop, base = key.uids[2], max(names, default=0)
                names |= {base + n: name for n, name in _name_segments(key.attributes).items()}
            _paint(labels, slices, key, frame, base)
    return labels, names


def _paint(
    labels: NDArray[np.uint16], slices: Slices, key: FrameKey, frame: NDArray[Any], base: int
) -> None:
    """Write a frame's segment into the slice at its place."""
    plane = key.plane
    if plane is None or key.shape[:2] != labels.shape[1:]:
        raise ValueError(f"segmentation {key.uids[2]} is on another grid than its series")
    index = _find_slice(slices, plane)
    numbers = read_frame_values(key.attributes, key.frame_index, *_SEGMENT)
    is_fractional = read_values(key.attributes, "00620001") == ["FRACTIONAL"]
    threshold = HALF * float((read_values(key.attributes, "0062000E") or [1])[0])
    if read_values(key.attributes, "00620001") == ["LABELMAP"]:
        labels[index][frame > 0] = frame[frame > 0].astype(np.uint16) + base
    elif numbers:
        inside = frame >= threshold if is_fractional else frame > 0
        labels[index][inside] = base + int(numbers[0])


def _find_slice(slices: Slices, plane: Plane) -> int:
    """Return the index of the slice that lies where a plane does."""
    distances = np.abs(slices.depths_mm - float(plane.position_mm @ slices.planes[0].normal))
    index = int(distances.argmin())
    there = slices.planes[index]
    turned = max(
        np.abs(plane.along_row - there.along_row).max(),
        np.abs(plane.along_column - there.along_column).max(),
    )
    moved_mm = np.abs(plane.position_mm - there.position_mm).max()
    if turned > SAME_DIRECTION or moved_mm > SAME_PLACE_MM:
        raise ValueError("a segmentation is on another grid than its series")
    return index


def _list_referenced(attributes: Attributes) -> Sequence[str]:
    return [
        uid
        for item in attributes.get(_REFERENCED_SERIES, {}).get("Value", [])
        for uid in read_values(item, "0020000E")
    ]


def _name_segments(attributes: Attributes) -> dict[int, str]:
    """Return the labels of an instance's segments by number."""
    return {
        int(read_values(item, "00620004")[0]): str((read_values(item, "00620005") or [""])[0])
        for item in attributes.get("00620002", {}).get("Value", [])
        if read_values(item, "00620004")
    }

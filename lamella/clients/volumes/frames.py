"""Frames of a series: what metadata say of them, and their pixels.

Source:
    PS3.3 §C.7.6.3 (Image Pixel), §C.11.1 (Modality LUT), §C.7.6.16.2.9 (Pixel Value
    Transformation); PS3.5 §8.1.1 (pixel cells), §8.2 (native format).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from dicomweb_client.protocol import DICOMClient
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian

from lamella.clients.volumes.geometry import (
    Attributes,
    Plane,
    read_frame_values,
    read_number,
    read_plane,
    read_values,
)

NATIVE = (("application/octet-stream", ExplicitVRLittleEndian),)
FRAMES_AT_ONCE = 64
_TRANSFORMATION = "00289145"


@dataclass(frozen=True)
class FrameKey:
    """One frame of an instance, and what is needed to understand its pixels.

    Attributes:
        uids: Of study, series and instance.
        frame_index: From 0 on.
        attributes: DICOM JSON of the instance.
    """

    uids: tuple[str, str, str]
    frame_index: int
    attributes: Attributes

    @property
    def plane(self) -> Plane | None:
        """Where it is, if it says so."""
        return read_plane(self.attributes, self.frame_index)

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns, and samples if a pixel has several."""
        rows, columns = (int(read_number(self.attributes, tag, 0)) for tag in _SIZE)
        samples = int(read_number(self.attributes, "00280002", 1))
        return (rows, columns) if samples == 1 else (rows, columns, samples)

    @property
    def rescale(self) -> tuple[float, float]:
        """Slope and intercept, from stored values to the modality's."""
        slope = read_frame_values(self.attributes, self.frame_index, _TRANSFORMATION, "00281053")
        start = read_frame_values(self.attributes, self.frame_index, _TRANSFORMATION, "00281052")
        return float((slope or [1])[0]), float((start or [0])[0])


_SIZE = ("00280010", "00280011")


def list_frames(client: DICOMClient, study_uid: str, series_uid: str) -> list[FrameKey]:
    """Return all frames of a series, as its instances come; what has no pixels is left out.

    Raises:
        requests.HTTPError: The client cannot read the series.
    """
    return list(_list_frames(client.retrieve_series_metadata(study_uid, series_uid)))


def read_pixels(client: DICOMClient, keys: Sequence[FrameKey]) -> Iterator[NDArray[Any]]:
    """Yield the stored values of frames, those of an instance with few requests.

    Args:
        client: Reads them.
        keys: In the order asked; frames of an instance beside each other are read together.

    Raises:
        requests.HTTPError: The client cannot read them.
        ValueError: A frame has not the length that its attributes say.
    """
    start = 0
    while start < len(keys):
        stop = start + 1
        while stop < min(len(keys), start + FRAMES_AT_ONCE) and keys[stop].uids == keys[start].uids:
            stop += 1
        batch = keys[start:stop]
        numbers = [key.frame_index + 1 for key in batch]
        frames = client.retrieve_instance_frames(*batch[0].uids, numbers, media_types=NATIVE)
        yield from map(_decode, batch, frames)
        start = stop


def _list_frames(metadata: list[Attributes]) -> Iterator[FrameKey]:
    for attributes in metadata:
        uids = tuple(read_values(attributes, tag)[0] for tag in _UIDS)
        if not read_number(attributes, "00280010", 0):
            continue
        for frame_index in range(int(read_number(attributes, "00280008", 1))):
            yield FrameKey((uids[0], uids[1], uids[2]), frame_index, attributes)


_UIDS = ("0020000D", "0020000E", "00080018")


def _decode(key: FrameKey, frame: bytes) -> NDArray[Any]:
    """Return the pixels of a native little-endian frame."""
    bits = int(read_number(key.attributes, "00280100", 8))
    n_cells = int(np.prod(key.shape))
    if bits == 1:
        cells = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")[:n_cells]
    else:
        kind = "i" if read_number(key.attributes, "00280103", 0) else "u"
        if "7FE00008" in key.attributes or "7FE00009" in key.attributes:
            kind = "f"
        cells = np.frombuffer(frame, np.dtype(f"<{kind}{bits // 8}"))[:n_cells]
    if len(cells) != n_cells:
        raise ValueError(f"a frame of {key.uids[2]} is {len(frame)} bytes long")
    if len(key.shape) == 3 and read_number(key.attributes, "00280006", 0):
        rows, columns, samples = key.shape
        return np.moveaxis(cells.reshape(samples, rows, columns), 0, -1)
    return cells.reshape(key.shape)

"""Map-style data sets of a pinned revision, for `torch.utils.data.DataLoader`.

They need no torch: items are NumPy arrays, and what a `DataLoader` asks of a data set is
`len(…)`, an item by its index, and that it can be pickled.

    series = SeriesVolumes(LocalClient("lamella-data", "default", "v1"))
    loader = DataLoader(series, num_workers=4, collate_fn=list)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from dicomweb_client.protocol import DICOMClient
from numpy.typing import NDArray

from lamella.clients.volumes.frames import FrameKey, list_frames, read_pixels
from lamella.clients.volumes.labels import read_labels
from lamella.clients.volumes.volume import Volume, describe_series, read_volume

T = TypeVar("T")

SeriesNames = tuple[str, str]
"""Study and series UID."""


class SeriesVolumes(Generic[T]):
    """The series of a revision as volumes, or as what `transform` makes of them.

    Args:
        client: Any; it is pinned to the commit that it sees now, if it can be.
        search_filters: Which series: keywords and values, as for `search_for_series`.
        series: Study and series UIDs, instead of a search.
        rescale: Whether pixels are the modality's values, as float32, rather than stored ones.
        with_labels: Whether segmentations of a series in its study are read as labels.
        transform: Called with each volume, in the process that reads it.

    Raises:
        requests.HTTPError: The client cannot search.
    """

    def __init__(
        self,
        client: DICOMClient,
        search_filters: dict[str, Any] | None = None,
        *,
        series: Sequence[SeriesNames] | None = None,
        rescale: bool = True,
        with_labels: bool = False,
        transform: Callable[[Volume], T] | None = None,
    ) -> None:
        self.client = pin(client)
        self.series = list_series(self.client, search_filters) if series is None else [*series]
        self._rescale, self._with_labels, self._transform = rescale, with_labels, transform

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, index: int) -> Volume | T:
        """Read a series.

        Raises:
            IndexError: There is none of that index.
            ValueError: It is no volume, or its labels do not fit; see `read_volume`.
            requests.HTTPError: The client cannot read it.
        """
        names = self.series[index]
        volume, slices = read_volume(self.client, *names, rescale=self._rescale)
        if self._with_labels:
            labels, label_names = read_labels(self.client, *names, slices)
            volume = replace(volume, labels=labels, label_names=label_names)
        return volume if self._transform is None else self._transform(volume)


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        uids: Of study, series and instance.
        frame_number: From 1 on.
        pixels: (rows, columns), and samples where a pixel has several; as they are stored.
        attributes: DICOM JSON of its instance.
    """

    uids: tuple[str, str, str]
    frame_number: int
    pixels: NDArray[Any]
    attributes: dict[str, Any]


class Frames(Generic[T]):
    """The frames of all series of a revision, or what `transform` makes of them.

    Metadata of all series are read at once, and kept.

    Args:
        client: Any; it is pinned to the commit that it sees now, if it can be.
        search_filters: Of which series: keywords and values, as for `search_for_series`.
        series: Study and series UIDs, instead of a search.
        transform: Called with each frame, in the process that reads it.

    Raises:
        requests.HTTPError: The client cannot read.
    """

    def __init__(
        self,
        client: DICOMClient,
        search_filters: dict[str, Any] | None = None,
        *,
        series: Sequence[SeriesNames] | None = None,
        transform: Callable[[Frame], T] | None = None,
    ) -> None:
        self.client = pin(client)
        names = list_series(self.client, search_filters) if series is None else series
        self._keys: list[FrameKey] = [
            key for study_uid, uid in names for key in list_frames(self.client, study_uid, uid)
        ]
        self._transform = transform

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Frame | T:
        """Read a frame.

        Raises:
            IndexError: There is none of that index.
            requests.HTTPError: The client cannot read it.
        """
        key = self._keys[index]
        (pixels,) = read_pixels(self.client, [key])
        frame = Frame(key.uids, key.frame_index + 1, np.array(pixels), key.attributes)
        return frame if self._transform is None else self._transform(frame)


def pin(client: DICOMClient) -> DICOMClient:
    """Return a client of the commit that this one sees now; the client, if it knows no commits."""
    make_pinned = getattr(client, "pin", None)
    if make_pinned is None:
        return client
    try:
        pinned: DICOMClient = make_pinned()
    except ValueError:
        return client
    return pinned


def list_series(client: DICOMClient, search_filters: dict[str, Any] | None) -> list[SeriesNames]:
    """Return the series that a search finds, by UID.

    Raises:
        requests.HTTPError: The client cannot search.
    """
    found = client.search_for_series(search_filters=search_filters, get_remaining=True)
    return sorted(map(describe_series, found))

"""The compressed multi-frame: an enhanced CT object of JPEG 2000 frames, encoded once."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import imagecodecs
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence as Items
from pydicom.uid import EnhancedCTImageStorage, JPEG2000Lossless

from bench.workload import CtSeries, make_uid

COPY = 99_999


@dataclass
class MultiFrame:
    """The object and what its frames are.

    Attributes:
        frames: Codestreams in order; padded to even length, as they lie in the file.
    """

    n_frames: int
    side: int
    study_uid: str = make_uid(6, COPY)
    series_uid: str = make_uid(7, COPY)
    sop_uid: str = make_uid(8, COPY)
    data: bytes = b""
    frames: list[bytes] = field(default_factory=list)

    def load(self, cache: Path) -> None:
        """Encode it, or read what an earlier run has encoded."""
        path = cache / f"multiframe-{self.n_frames}-{self.side}.dcm"
        if not path.exists():
            cache.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(".part")
            draft.write_bytes(self._encode())
            draft.replace(path)
        self.data = path.read_bytes()
        ds = dcmread(io.BytesIO(self.data))
        self.frames = list(generate_frames(ds.PixelData, number_of_frames=self.n_frames))

    def _encode(self) -> bytes:
        slices = CtSeries(COPY, self.n_frames, self.side)
        codestreams = []
        for index in range(self.n_frames):
            pixels = np.frombuffer(slices.make(index).pixels, "<i2").reshape(self.side, self.side)
            encoded = imagecodecs.jpeg2k_encode(
                (pixels + 2048).clip(0).astype(np.uint16),
                level=0,
                reversible=True,
                codecformat="j2k",
            )
            codestreams.append(bytes(encoded))
        ds = self._describe()
        ds.PixelData = encapsulate(codestreams)
        ds["PixelData"].is_undefined_length = True
        buffer = io.BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()

    def _describe(self) -> Dataset:
        ds = Dataset()
        ds.SOPClassUID = EnhancedCTImageStorage
        ds.SOPInstanceUID = self.sop_uid
        ds.StudyInstanceUID = self.study_uid
        ds.SeriesInstanceUID = self.series_uid
        ds.PatientID = "M0000001"
        ds.PatientName = "Multi^Frame"
        ds.StudyDate = ds.ContentDate = "20250402"
        ds.StudyTime = ds.ContentTime = "101112"
        ds.Modality = "CT"
        ds.SeriesNumber = ds.InstanceNumber = 1
        ds.NumberOfFrames = self.n_frames
        ds.SamplesPerPixel = 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.Rows = ds.Columns = self.side
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit = 15
        ds.PixelRepresentation = 0
        ds.PerFrameFunctionalGroupsSequence = Items(map(_describe_frame, range(self.n_frames)))
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
        return ds


def _describe_frame(index: int) -> Dataset:
    content = Dataset()
    content.FrameAcquisitionNumber = 1
    content.StackID = "1"
    content.InStackPositionNumber = index + 1
    position = Dataset()
    position.ImagePositionPatient = ["-180.0", "-167.5", f"{-index * 1.5:.1f}"]
    item = Dataset()
    item.FrameContentSequence = Items([content])
    item.PlanePositionSequence = Items([position])
    return item

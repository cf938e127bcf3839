"""A tag that clients of all kinds are to read alike: a few kinds of instances in two studies."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import requests
from pydicom.uid import EncapsulatedPDFStorage, JPEG2000Lossless, RLELossless

from lamella.clients import WebClient
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, serve

TAG = "v1"
CT, MULTI_FRAME, DOCUMENT, SECRET = (
    ("1.2.3", "1.2.3.1", "1.2.3.1.2"),
    ("1.2.3", "1.2.3.2", "1.2.3.2.1"),
    ("1.2.4", "1.2.4.1", "1.2.4.1.1"),
    ("1.2.4", "1.2.4.2", "1.2.4.2.1"),
)
"""Study, series and instance of a slice, of a compressed multi-frame, of a document, and of a
compressed picture with a long private value."""


@dataclass(frozen=True)
class Archive:
    """A data folder with a tag, and a server on it.

    Attributes:
        files: Instances that the tag holds, by SOP Instance UID.
    """

    server: RunningServer
    files: dict[str, bytes]

    def connect(self, revision: str = TAG, dataset: str = "default") -> WebClient:
        """Return a client of the server."""
        return WebClient(self.server.root(revision, dataset))

    def make_dataset(self) -> str:
        """Make an empty dataset; return its name."""
        name = f"c{secrets.token_hex(4)}"
        self._post("datasets", {"name": name})
        return name

    def make_tag(self, dataset: str) -> None:
        """Make the tag of that name at the head of a dataset's branch."""
        self._post(f"datasets/{dataset}/tags", {"name": TAG, "revision": "main"})

    def _post(self, path: str, content: dict[str, str]) -> None:
        answer = requests.post(f"{self.server.http}/api/v1/{path}", json=content, timeout=60)
        assert answer.status_code == 201, answer.text


@contextmanager
def run_archive(folder: Path) -> Iterator[Archive]:
    """Make the tag in a new data folder, and let the branch go on after it."""
    files = make_files()
    with serve(folder / "data", dimse="off") as server:
        archive = Archive(server, files)
        with archive.connect("main") as client:
            client.store_instances([pydicom.dcmread(io.BytesIO(one)) for one in files.values()])
            archive.make_tag("default")
            client.store_instances([pydicom.dcmread(io.BytesIO(make_slice(9)))])
        yield archive


def make_files() -> dict[str, bytes]:
    """Return the instances of the tag by SOP Instance UID."""
    slices = {f"1.2.3.1.{number}": make_slice(number) for number in (1, 2, 3)}
    others = {CT[2]: slices[CT[2]], MULTI_FRAME[2]: _make_multi_frame()}
    return slices | others | {DOCUMENT[2]: _make_document(), SECRET[2]: _make_private()}


def make_slice(number: int) -> bytes:
    """Return a slice of a CT series whose order of positions is not that of its numbers."""
    return make_instance(
        "1.2.3",
        "1.2.3.1",
        f"1.2.3.1.{number}",
        rows=12,
        columns=20,
        fill=number,
        InstanceNumber=number,
        StudyDescription="Abdomen",
        SeriesDescription="thin",
        ImagePositionPatient=[-10, -20, 30 - 2.5 * number],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[0.5, 0.75],
        RescaleSlope=2,
        RescaleIntercept=-1024,
        FrameOfReferenceUID="1.2.3.99",
    )


def _make_multi_frame() -> bytes:
    ds = _read(make_instance(*MULTI_FRAME, rows=16, columns=24, Modality="MR", SeriesNumber=2))
    ds.NumberOfFrames = 3
    pixels = np.random.default_rng(5).integers(0, 4000, (3, 16, 24), dtype=np.uint16)
    ds.PixelData = pixels.tobytes()
    ds.compress(RLELossless, generate_instance_uid=False)
    return _write(ds)


def _make_document() -> bytes:
    ds = _read(make_instance(*DOCUMENT, patient_id="PAT2", PatientName="Müller^Jörg"))
    for keyword in ("Rows", "Columns", "PixelData", "BitsAllocated", "BitsStored", "HighBit"):
        delattr(ds, keyword)
    del ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EncapsulatedPDFStorage
    ds.SpecificCharacterSet, ds.Modality = "ISO_IR 192", "DOC"
    ds.StudyDate, ds.DocumentTitle = "20250203", "Letter"
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocument = b"%PDF-1.4 " + bytes(range(256)) * 300
    return _write(ds)


def _make_private() -> bytes:
    ds = _read(make_instance(*SECRET, patient_id="PAT2", rows=32, columns=32, Modality="OT"))
    ds.PatientName, ds.SpecificCharacterSet = "Müller^Jörg", "ISO_IR 192"
    ds.StudyDate = "20250203"
    ds.PixelData = (np.arange(1024, dtype=np.uint16) % 251).tobytes()
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    ds.private_block(0x0011, "LAMELLA TEST", create=True).add_new(1, "OB", bytes(range(256)) * 20)
    return _write(ds)


def _read(content: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(content))


def _write(ds: pydicom.Dataset) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()

"""Volumes, frames and labels, read with clients; and by the workers of a real DataLoader."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from lamella.clients import LocalClient, RequestFailed, WebClient
from lamella.clients.torch import Frames, SeriesVolumes
from lamella.clients.volumes.volume import Volume
from tests.contract.client_data import CT, MULTI_FRAME, Archive
from tests.contract.dicom_client import read_instance
from tests.contract.test_clients import open_local
from tests.harness.pytorch import has_pytorch
from tests.harness.samples import make_instance

# of how handlers declare parameters; the application is built in this very process
pytestmark = [
    pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Deprecated 'query' parameter:DeprecationWarning"),
]
SERIES = ("1.5.1", "1.5.1.1")
N_SLICES, ROWS, COLUMNS = 5, 8, 12
CORONAL = [1, 0, 0, 0, 0, -1]


def make_slices() -> list[pydicom.Dataset]:
    """Return slices that do not come in the order of their positions, each with its own rescale."""
    slices = []
    for number in (3, 1, 5, 2, 4):
        ds = read_instance(
            make_instance(
                *SERIES,
                f"1.5.1.1.{number}",
                rows=ROWS,
                columns=COLUMNS,
                InstanceNumber=6 - number,
                ImagePositionPatient=[-10, 3.0 * number, 40],
                ImageOrientationPatient=CORONAL,
                PixelSpacing=[0.5, 0.75],
                SliceThickness=3,
                PositionReferenceIndicator="",
                LossyImageCompression="00",
                RescaleSlope=number,
                RescaleIntercept=-1000,
                FrameOfReferenceUID="1.5.1.99",
                StudyID="1",
                AccessionNumber="",
                ReferringPhysicianName="",
                PatientBirthDate="",
                PatientSex="",
                Manufacturer="",
            )
        )
        ds.PixelData = np.full((ROWS, COLUMNS), 100 + number, np.uint16).tobytes()
        slices.append(ds)
    slices[0].compress(RLELossless, generate_instance_uid=False)
    return slices


def make_segmentation(slices: list[pydicom.Dataset]) -> pydicom.Dataset:
    """Return a segmentation of two segments, by highdicom."""
    native = [ds for ds in slices if ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian]
    mask = np.zeros((len(native), ROWS, COLUMNS, 2), np.uint8)
    for index, ds in enumerate(native):
        number = int(ds.SOPInstanceUID[-1])
        mask[index, :number, :4, 0] = 1
        mask[index, :number, 6:9, 1] = 1
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label in ((1, "left"), (2, "right"))
    ]
    return hd.seg.Segmentation(
        source_images=native,
        pixel_array=mask,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid="1.5.1.2",
        series_number=2,
        sop_instance_uid="1.5.1.2.1",
        instance_number=1,
        manufacturer="Lamella",
        manufacturer_model_name="tests",
        software_versions="1",
        device_serial_number="1",
    )


@pytest.fixture(scope="module")
def client(archive: Archive) -> LocalClient:
    opened = open_local(archive, archive.make_dataset(), "main")
    slices = make_slices()
    opened.store_instances([*slices, make_segmentation(slices)])
    return opened


class TestVolumes:
    def test_slices_are_in_the_order_of_their_positions(self, client: LocalClient) -> None:
        (volume,) = SeriesVolumes(client, {"Modality": "CT"})
        assert [uid[-1] for uid in volume.sop_uids] == ["5", "4", "3", "2", "1"] or [
            uid[-1] for uid in volume.sop_uids
        ] == ["1", "2", "3", "4", "5"]
        numbers = np.array([int(uid[-1]) for uid in volume.sop_uids])
        assert volume.pixels.shape == (N_SLICES, ROWS, COLUMNS)
        assert volume.pixels.dtype == np.float32
        assert np.array_equal(volume.pixels[:, 0, 0], (100 + numbers) * numbers - 1000)
        assert volume.spacing_mm == (3.0, 0.5, 0.75)
        assert volume.is_regular

    def test_the_affine_leads_to_positions(self, client: LocalClient) -> None:
        (volume,) = SeriesVolumes(client, {"Modality": "CT"})
        for index, sop_uid in enumerate(volume.sop_uids):
            found = client.retrieve_instance_metadata(*SERIES, sop_uid)
            position = np.array(found["00200032"]["Value"], float)
            assert np.allclose(volume.affine @ [0, 0, index, 1], [*position, 1])
            corner = position + 0.75 * 2 * np.array([1, 0, 0]) + 0.5 * 3 * np.array([0, 0, -1])
            assert np.allclose(volume.affine @ [2, 3, index, 1], [*corner, 1])
        assert np.linalg.det(volume.orientation) == pytest.approx(1)

    def test_stored_values(self, client: LocalClient) -> None:
        (volume,) = SeriesVolumes(client, {"Modality": "CT"}, rescale=False)
        assert volume.pixels.dtype == np.uint16
        assert {*np.unique(volume.pixels)} == {101, 102, 103, 104, 105}

    def test_labels(self, client: LocalClient) -> None:
        (volume,) = SeriesVolumes(client, {"Modality": "CT"}, with_labels=True)
        assert volume.label_names == {1: "left", 2: "right"}
        assert volume.labels is not None
        for sop_uid, labels in zip(volume.sop_uids, volume.labels, strict=True):
            number = int(sop_uid[-1])
            expected = np.zeros((ROWS, COLUMNS), np.uint16)
            if number != 3:  # the compressed slice was not segmented
                expected[:number, :4], expected[:number, 6:9] = 1, 2
            assert np.array_equal(labels, expected), sop_uid

    def test_labels_on_another_grid_are_refused(self, archive: Archive) -> None:
        client = open_local(archive, archive.make_dataset(), "main")
        slices = make_slices()
        segmentation = make_segmentation(slices)
        for ds in slices:
            ds.ImagePositionPatient = [-9, *ds.ImagePositionPatient[1:]]
        client.store_instances([*slices, segmentation])
        with pytest.raises(ValueError, match="another grid"):
            SeriesVolumes(client, {"Modality": "CT"}, with_labels=True)[0]

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"ImagePositionPatient": [-10, 3, 40]}, "one place"),
            ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "one direction"),
            ({"ImagePositionPatient": None}, "where they are"),
            ({"PixelSpacing": [1, 1]}, "one direction"),
        ],
    )
    def test_what_is_no_volume(self, archive: Archive, change: Any, reason: str) -> None:
        client = open_local(archive, archive.make_dataset(), "main")
        slices = make_slices()
        for keyword, value in change.items():
            setattr(slices[-1], keyword, value)
        client.store_instances(slices)
        with pytest.raises(ValueError, match=reason):
            SeriesVolumes(client)[0]

    def test_a_gap_is_not_regular(self, archive: Archive) -> None:
        client = open_local(archive, archive.make_dataset(), "main")
        client.store_instances([ds for ds in make_slices() if ds.SOPInstanceUID[-1] != "4"])
        (volume,) = SeriesVolumes(client)
        assert not volume.is_regular
        assert volume.spacing_mm[0] == 3.0

    def test_it_stays_at_its_commit(self, archive: Archive) -> None:
        client = open_local(archive, archive.make_dataset(), "main")
        slices = make_slices()
        client.store_instances(slices[:3])
        volumes = SeriesVolumes(client)
        client.store_instances(slices[3:])
        assert len(volumes[0].sop_uids) == 3
        with pytest.raises(RequestFailed):
            volumes.client.store_instances(slices)


class TestFrames:
    def test_all_of_a_series(self, client: LocalClient) -> None:
        frames = Frames(client, {"Modality": "CT"}, transform=lambda frame: frame.pixels[0, 0])
        assert sorted(frames[index] for index in range(len(frames))) == [101, 102, 103, 104, 105]

    def test_a_compressed_multi_frame(self, archive: Archive) -> None:
        with archive.connect() as web:
            frames = Frames(web, series=[MULTI_FRAME[:2]])
            expected = read_instance(archive.files[MULTI_FRAME[2]]).pixel_array
            assert len(frames) == 3
            for index, pixels in enumerate(expected):
                assert frames[index].frame_number == index + 1
                assert np.array_equal(frames[index].pixels, pixels)


@pytest.fixture(params=["local", "web"])
def shared(archive: Archive, request: pytest.FixtureRequest) -> Iterator[LocalClient | WebClient]:
    if request.param == "local":
        yield open_local(archive)
    else:
        with archive.connect() as web:
            yield web


@pytest.mark.skipif(not has_pytorch(), reason="PyTorch is not installed")
def test_workers_of_a_loader_read_the_same(shared: LocalClient | WebClient) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Debian's was made for an older NumPy, and is not new
        from torch.utils.data import DataLoader

        frames = Frames(shared, {"PatientID": "PAT1"}, transform=_digest)
        expected = [frames[index] for index in range(len(frames))]
        assert len(expected) == 6
        loader = DataLoader(frames, batch_size=2, num_workers=4, collate_fn=list)
        for _ in range(2):
            assert [digest for batch in loader for digest in batch] == expected
        volumes = SeriesVolumes(shared, series=[CT[:2]] * 4, transform=_digest_volume)
        read = list(DataLoader(volumes, batch_size=None, num_workers=4))
        assert read == [volumes[0]] * 4


def _digest(frame: Any) -> str:
    return sha256(frame.pixels.tobytes()).hexdigest()


def _digest_volume(volume: Volume) -> str:
    return sha256(volume.pixels.tobytes() + volume.affine.tobytes()).hexdigest()

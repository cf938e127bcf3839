"""dicomweb-client as a peer: every method, against a branch, a tag and a commit id."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import getmembers
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
from dicomweb_client.protocol import DICOMClient
from dicomweb_client.web import DICOMwebClient
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, serve

STUDIES = ["1.2.3", "1.2.4"]
ROWS, COLUMNS = 12, 20
N_LATER_STORES = 1000
ASK_NO_SERVER = {
    "lookup_keyword",
    "lookup_tag",
    "set_chunk_size",
    "set_http_retry_params",
    *(f"{name}_url_prefix" for name in ("qido", "wado", "stow", "delete")),
}
BOUNDARY = re.compile(r'boundary="?([^";]+)')


@dataclass
class Peer:
    """A dataset of two studies with a tag, and clients on three revisions of the same commit."""

    collection: Collection
    files: dict[str, bytes]  # by SOP Instance UID
    revisions: dict[str, str]

    def connect(self, kind: str) -> DICOMwebClient:
        return DICOMwebClient(self.collection.root(self.revisions[kind]))

    def read(self, sop_uid: str) -> pydicom.Dataset:
        return pydicom.dcmread(io.BytesIO(self.files[sop_uid]))


def make_files() -> dict[str, bytes]:
    """Return two studies of two series of three instances."""
    files = {}
    for study_uid in STUDIES:
        for series in (1, 2):
            for number in (1, 2, 3):
                sop_uid = f"{study_uid}.{series}.{number}"
                files[sop_uid] = make_instance(
                    study_uid,
                    f"{study_uid}.{series}",
                    sop_uid,
                    patient_id=f"P{study_uid}",
                    rows=ROWS,
                    columns=COLUMNS,
                    fill=number,
                    InstanceNumber=number,
                    SeriesNumber=series,
                    Modality="CT" if series == 1 else "MR",
                )
    return files


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("peer") / "data", dimse="off") as running:
        yield running


@pytest.fixture(scope="module")
def peer(server: RunningServer) -> Iterator[Peer]:
    with open_client() as client:
        collection = make_collection(client, server)
        files = make_files()
        head = collection.store_well(*files.values())
        assert collection.make_ref("tags", "v1").status_code == 201
        yield Peer(collection, files, {"branch": "main", "tag": "v1", "commit": head})


@pytest.fixture(params=["branch", "tag", "commit"])
def client(peer: Peer, request: pytest.FixtureRequest) -> Iterator[DICOMwebClient]:
    connected = peer.connect(request.param)
    yield connected
    connected._session.close()


class TestSearch:
    def test_studies(self, client: DICOMwebClient) -> None:
        found = client.search_for_studies()
        assert sorted(_uids(found, "0020000D")) == STUDIES
        assert all(study["00201206"]["Value"] == [2] for study in found)
        filters = {"PatientID": "P1.2.4"}
        assert _uids(client.search_for_studies(search_filters=filters), "0020000D") == ["1.2.4"]
        assert client.search_for_studies(search_filters={"PatientID": "NOBODY"}) == []
        assert len(client.search_for_studies(limit=1)) == 1
        first, second = (client.search_for_studies(limit=1, offset=n) for n in (0, 1))
        assert sorted(_uids([*first, *second], "0020000D")) == STUDIES
        assert len(client.search_for_studies(limit=1, get_remaining=True)) == 2
        fuzzy = client.search_for_studies(
            fuzzymatching=True, search_filters={"PatientName": "test"}
        )
        assert len(fuzzy) == 2

    def test_series(self, client: DICOMwebClient) -> None:
        assert len(client.search_for_series()) == 4
        found = client.search_for_series("1.2.3", fields=["SeriesNumber"])
        assert _uids(found, "0020000E") == ["1.2.3.1", "1.2.3.2"]
        (magnetic,) = client.search_for_series("1.2.3", search_filters={"Modality": "MR"})
        assert magnetic["00201209"]["Value"] == [3]

    def test_instances(self, peer: Peer, client: DICOMwebClient) -> None:
        assert sorted(_uids(client.search_for_instances(), "00080018")) == sorted(peer.files)
        assert len(client.search_for_instances("1.2.4")) == 6
        found = client.search_for_instances("1.2.4", "1.2.4.2", fields=["Rows"])
        assert _uids(found, "00080018") == ["1.2.4.2.1", "1.2.4.2.2", "1.2.4.2.3"]
        (one,) = client.search_for_instances(search_filters={"SOPInstanceUID": "1.2.3.1.2"})
        assert one["0020000E"]["Value"] == ["1.2.3.1"]


class TestRetrieve:
    def test_instances(self, peer: Peer, client: DICOMwebClient) -> None:
        one = client.retrieve_instance("1.2.3", "1.2.3.1", "1.2.3.1.2")
        assert one == peer.read("1.2.3.1.2")
        for found, expected in [
            (client.retrieve_series("1.2.3", "1.2.3.1"), 3),
            (list(client.iter_series("1.2.3", "1.2.3.1")), 3),
            (client.retrieve_study("1.2.3"), 6),
            (list(client.iter_study("1.2.3")), 6),
        ]:
            assert len(found) == expected
            for ds in found:
                assert ds == peer.read(ds.SOPInstanceUID)

    def test_transfer_syntaxes(self, peer: Peer, client: DICOMwebClient) -> None:
        wanted = (("application/dicom", ExplicitVRLittleEndian),)
        ds = client.retrieve_instance("1.2.3", "1.2.3.1", "1.2.3.1.1", media_types=wanted)
        assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        stored = client.retrieve_study("1.2.3", media_types=(("application/dicom", "*"),))
        assert len(stored) == 6

    def test_metadata(self, peer: Peer, client: DICOMwebClient) -> None:
        assert len(client.retrieve_study_metadata("1.2.3")) == 6
        series = client.retrieve_series_metadata("1.2.3", "1.2.3.2")
        assert _uids(series, "00080018") == ["1.2.3.2.1", "1.2.3.2.2", "1.2.3.2.3"]
        found = client.retrieve_instance_metadata("1.2.3", "1.2.3.1", "1.2.3.1.1")
        original = peer.read("1.2.3.1.1")
        ds = pydicom.Dataset.from_json(found, lambda *_: original.PixelData)
        assert ds == _without_meta(original)

    def test_frames(self, peer: Peer, client: DICOMwebClient) -> None:
        names = ("1.2.3", "1.2.3.1", "1.2.3.1.3")
        expected = peer.read("1.2.3.1.3").PixelData
        assert client.retrieve_instance_frames(*names, [1]) == [expected]
        assert list(client.iter_instance_frames(*names, [1])) == [expected]
        octets = ("application/octet-stream",)
        assert client.retrieve_instance_frames(*names, [1], media_types=octets) == [expected]
        with pytest.raises(Exception, match="404"):
            client.retrieve_instance_frames(*names, [2])

    def test_bulk_data(self, peer: Peer, client: DICOMwebClient) -> None:
        metadata = client.retrieve_instance_metadata("1.2.3", "1.2.3.1", "1.2.3.1.3")
        url = metadata["7FE00010"]["BulkDataURI"]
        expected = peer.read("1.2.3.1.3").PixelData
        assert client.retrieve_bulkdata(url) == [expected]
        assert list(client.iter_bulkdata(url)) == [expected]
        octets = ("application/octet-stream",)
        assert client.retrieve_bulkdata(url, media_types=octets) == [expected]


class TestRendered:
    def test_instance(self, client: DICOMwebClient) -> None:
        names = ("1.2.3", "1.2.3.1", "1.2.3.1.1")
        picture = _open_picture(client.retrieve_instance_rendered(*names))
        assert (picture.format, picture.size) == ("JPEG", (COLUMNS, ROWS))
        for media_type, form in [("image/png", "PNG"), ("image/gif", "GIF"), ("image/jp2", None)]:
            data = client.retrieve_instance_rendered(*names, media_types=(media_type,))
            assert form is None or _open_picture(data).format == form
        options = {"viewport": "40,40", "window": "100,200,linear", "quality": 50}
        picture = _open_picture(client.retrieve_instance_rendered(*names, params=options))
        assert picture.size == (40, 24)

    def test_frames(self, client: DICOMwebClient) -> None:
        names = ("1.2.3", "1.2.3.1", "1.2.3.1.1")
        data = client.retrieve_instance_frames_rendered(*names, [1], media_types=("image/png",))
        picture = _open_picture(data)
        assert (picture.format, picture.size) == ("PNG", (COLUMNS, ROWS))
        assert len({*picture.tobytes()}) == 1

    def test_series(self, client: DICOMwebClient) -> None:
        data = client.retrieve_series_rendered("1.2.3", "1.2.3.1")
        parts = _split_multipart(data)
        assert [_open_picture(part).format for part in parts] == ["JPEG"] * 3


@pytest.fixture
def writable(server: RunningServer) -> Iterator[DICOMwebClient]:
    with open_client() as http:
        connected = DICOMwebClient(make_collection(http, server).root())
        yield connected
        connected._session.close()


class TestStore:
    def test_a_store_and_its_return(self, peer: Peer, writable: DICOMwebClient) -> None:
        sent = [peer.read("1.2.3.1.1"), peer.read("1.2.3.1.2")]
        answer = writable.store_instances(sent)
        assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [
            "1.2.3.1.1",
            "1.2.3.1.2",
        ]
        assert "FailedSOPSequence" not in answer
        back = writable.retrieve_series("1.2.3", "1.2.3.1")
        assert back == sent

    def test_a_store_into_one_study(self, peer: Peer, writable: DICOMwebClient) -> None:
        sent = [peer.read("1.2.3.1.1"), peer.read("1.2.4.1.1")]
        answer = writable.store_instances(sent, study_instance_uid="1.2.3")
        (failed,) = answer.FailedSOPSequence
        assert failed.ReferencedSOPInstanceUID == "1.2.4.1.1"
        assert len(answer.ReferencedSOPSequence) == 1

    @pytest.mark.parametrize("kind", ["tag", "commit"])
    def test_what_is_not_a_branch_is_read_only(self, peer: Peer, kind: str) -> None:
        client = peer.connect(kind)
        with pytest.raises(Exception, match="405"):
            client.store_instances([peer.read("1.2.3.1.1")])
        client._session.close()

    @pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
    def test_compressed_pixels(self, writable: DICOMwebClient, syntax: str) -> None:
        ds = pydicom.dcmread(io.BytesIO(make_instance(rows=32, columns=32)))
        pixels = np.random.default_rng(3).integers(0, 4000, (32, 32), dtype=np.uint16)
        ds.PixelData = pixels.tobytes()
        ds.compress(syntax, generate_instance_uid=False)
        writable.store_instances([ds])
        names = ("1.2.3", "1.2.3.1", "1.2.3.1.1")
        (frame,) = writable.retrieve_instance_frames(*names, [1])
        assert frame == pixels.tobytes()
        wanted = (("application/dicom", ExplicitVRLittleEndian),)
        back = writable.retrieve_instance(*names, media_types=wanted)
        assert back.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert back.PixelData == pixels.tobytes()
        for wanted in ((("application/dicom", syntax),), None):  # None: dicomweb-client asks *
            stored = writable.retrieve_instance(*names, media_types=wanted)
            assert stored.file_meta.TransferSyntaxUID == syntax
            assert stored.PixelData == ds.PixelData


class TestDelete:
    @pytest.fixture
    def filled(self, peer: Peer, writable: DICOMwebClient) -> DICOMwebClient:
        writable.store_instances([peer.read(uid) for uid in peer.files])
        return writable

    def test_instance(self, filled: DICOMwebClient) -> None:
        filled.delete_instance("1.2.3", "1.2.3.1", "1.2.3.1.2")
        left = _uids(filled.search_for_instances("1.2.3", "1.2.3.1"), "00080018")
        assert left == ["1.2.3.1.1", "1.2.3.1.3"]
        with pytest.raises(Exception, match="404"):
            filled.retrieve_instance("1.2.3", "1.2.3.1", "1.2.3.1.2")

    def test_series(self, filled: DICOMwebClient) -> None:
        filled.delete_series("1.2.3", "1.2.3.1")
        assert _uids(filled.search_for_series("1.2.3"), "0020000E") == ["1.2.3.2"]

    def test_study(self, filled: DICOMwebClient) -> None:
        filled.delete_study("1.2.3")
        assert _uids(filled.search_for_studies(), "0020000D") == ["1.2.4"]
        with pytest.raises(Exception, match="404"):
            filled.delete_study("1.2.3")

    @pytest.mark.parametrize("kind", ["tag", "commit"])
    def test_what_is_not_a_branch_is_read_only(self, peer: Peer, kind: str) -> None:
        client = peer.connect(kind)
        with pytest.raises(Exception, match="405"):
            client.delete_study("1.2.3")
        client._session.close()


def test_every_method_is_called_here() -> None:
    """A new method of the client, or of its protocol, has to be called above."""
    names = {name for kind in (DICOMwebClient, DICOMClient) for name, _ in getmembers(kind)}
    called = set(re.findall(r"\.(\w+)\(", Path(__file__).read_text()))
    assert {name for name in names if not name.startswith("_")} - called == ASK_NO_SERVER


def test_a_tag_answers_the_same_after_many_stores(server: RunningServer) -> None:
    with open_client() as http:
        collection = make_collection(http, server)
        files = make_files()
        collection.store_well(*files.values())
        assert collection.make_ref("tags", "v1").status_code == 201
        before = {path: _read(collection, path) for path in _list_paths(files)}
        for start in range(0, N_LATER_STORES, 100):
            numbers = range(start, start + 100)
            collection.store_well(*(_make_later(files, number) for number in numbers))
        n_instances = len(collection.get("/instances?limit=2000").json())
        assert n_instances > len(files) + 800, "the branch went on"
        after = {path: _read(collection, path) for path in before}
        assert after == before


def _make_later(files: dict[str, bytes], number: int) -> bytes:
    """Return a new version of a known instance, another one of its series, or another study."""
    study_uid = STUDIES[number % 2]
    if number % 10 == 0:
        sop_uid = list(files)[number // 10 % len(files)]
        ds = pydicom.dcmread(io.BytesIO(files[sop_uid]))
        ds.SeriesDescription = f"version {number}"
        buffer = io.BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()
    if number % 10 == 1:
        uid = f"1.2.5.{number}"
        return make_instance(uid, f"{uid}.1", f"{uid}.1.1")
    sop_uid = f"{study_uid}.1.{1000 + number}"
    return make_instance(study_uid, f"{study_uid}.1", sop_uid, patient_id=f"P{study_uid}")


def _list_paths(files: dict[str, bytes]) -> list[str]:
    instances = []
    for sop_uid in files:
        study_uid, series = sop_uid.rsplit(".", 2)[0], sop_uid.rsplit(".", 1)[0]
        instances.append(f"/studies/{study_uid}/series/{series}/instances/{sop_uid}")
    tails = ("", "/metadata", "/frames/1", "/bulkdata/7FE00010")
    return [
        "/studies",
        "/studies?includefield=all",
        "/studies?StudyDate=20260101-20260131&limit=1",
        "/series",
        "/instances",
        "/instances?includefield=all&limit=5&offset=2",
        *(f"/studies/{uid}{tail}" for uid in STUDIES for tail in ("", "/metadata", "/series")),
        *(f"{path}{tail}" for path in instances for tail in tails),
    ]


def _read(collection: Collection, path: str) -> tuple[int, bytes, dict[str, str]]:
    """Return an answer at the tag, with a name of our own for its random boundary."""
    answer: httpx.Response = collection.get(path, "v1")
    assert answer.status_code == 200, (path, answer.text)
    headers = {k: v for k, v in answer.headers.items() if k != "date"}
    body = answer.content
    match = BOUNDARY.search(headers["content-type"])
    if match is not None:
        headers["content-type"] = headers["content-type"].replace(match[1], "B")
        body = body.replace(match[1].encode(), b"B")
        headers.pop("content-length", None)
    return answer.status_code, body, headers


def _uids(found: list[dict[str, dict]], tag: str) -> list[str]:
    return [one[tag]["Value"][0] for one in found]


def _without_meta(ds: pydicom.Dataset) -> pydicom.Dataset:
    plain = pydicom.Dataset()
    plain.update({element.tag: element for element in ds})
    return plain


def _open_picture(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def _split_multipart(data: bytes) -> list[bytes]:
    boundary = data.lstrip().partition(b"\r\n")[0]
    parts = data.split(boundary)[1:-1]
    return [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts]

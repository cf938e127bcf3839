"""The contract of clients: every kind's tests inherit `DicomClientContract`.

What a client of a tag answers is compared with what dicomweb-client itself gets from a server.
"""

from __future__ import annotations

import inspect
import io
import multiprocessing
import pickle
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import pydicom
import pytest
import requests
from dicomweb_client.protocol import DICOMClient
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

from lamella.clients import RequestFailed, WebClient
from tests.contract.client_data import CT, DOCUMENT, MULTI_FRAME, SECRET, Archive, make_slice

ROOT = re.compile(r"(?:https?|s3|file)://.*?(?=/studies/)")
METHODS = sorted(
    name for name, _ in inspect.getmembers(DICOMClient, callable) if not name.startswith("_")
)
AS_STORED = (("application/dicom", "*"),)
OCTETS = ("application/octet-stream",)

SEARCHES: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "studies": ("studies", (), {}),
    "studies by id": ("studies", (), {"search_filters": {"PatientID": "PAT2"}}),
    "studies by name": ("studies", (), {"search_filters": {"PatientName": "müller*"}}),
    "studies by sound": (
        "studies",
        (),
        {"fuzzymatching": True, "search_filters": {"PatientName": "Mueller"}},
    ),
    "studies by dates": ("studies", (), {"search_filters": {"StudyDate": "20260101-"}}),
    "studies by modality": ("studies", (), {"search_filters": {"ModalitiesInStudy": "MR"}}),
    "studies by list": ("studies", (), {"search_filters": {"StudyInstanceUID": "1.2.4,1.2.9"}}),
    "no studies": ("studies", (), {"search_filters": {"PatientID": "NOBODY"}}),
    "one study": ("studies", (), {"limit": 1}),
    "the next": ("studies", (), {"limit": 1, "offset": 1}),
    "all pages": ("studies", (), {"limit": 1, "get_remaining": True}),
    "studies with fields": ("studies", (), {"fields": ["StudyDescription", "PatientSex"]}),
    "series": ("series", (), {}),
    "series of a study": ("series", ("1.2.3",), {"fields": ["SeriesDescription"]}),
    "series by modality": ("series", (), {"search_filters": {"Modality": "DOC"}}),
    "series of no study": ("series", ("1.2.9",), {}),
    "series by study": ("series", (), {"search_filters": {"PatientID": "PAT1"}}),
    "instances": ("instances", (), {}),
    "instances of a study": ("instances", ("1.2.4",), {}),
    "instances of a series": ("instances", CT[:2], {"fields": ["Rows", "PixelSpacing"]}),
    "an instance": ("instances", (), {"search_filters": {"SOPInstanceUID": CT[2]}}),
    "instances by number": ("instances", CT[:2], {"search_filters": {"InstanceNumber": "2"}}),
    "a page of instances": ("instances", (), {"limit": 2, "offset": 1}),
}

RETRIEVALS: dict[str, Callable[[Any], Any]] = {
    "instance": lambda c: c.retrieve_instance(*CT),
    "compressed": lambda c: c.retrieve_instance(*SECRET),
    "transcoded": lambda c: c.retrieve_instance(
        *SECRET, media_types=(("application/dicom", ExplicitVRLittleEndian),)
    ),
    "series": lambda c: c.retrieve_series(*CT[:2]),
    "series, one by one": lambda c: list(c.iter_series(*CT[:2])),
    "study": lambda c: c.retrieve_study("1.2.4"),
    "study, one by one": lambda c: list(c.iter_study("1.2.4")),
    "study metadata": lambda c: c.retrieve_study_metadata("1.2.4"),
    "series metadata": lambda c: c.retrieve_series_metadata(*CT[:2]),
    "instance metadata": lambda c: c.retrieve_instance_metadata(*SECRET),
    "frame": lambda c: c.retrieve_instance_frames(*CT, [1]),
    "frames": lambda c: c.retrieve_instance_frames(*MULTI_FRAME, [3, 1]),
    "frames as octets": lambda c: c.retrieve_instance_frames(*MULTI_FRAME, [2], OCTETS),
    "frames as stored": lambda c: c.retrieve_instance_frames(
        *SECRET, [1], (("image/jp2", JPEG2000Lossless),)
    ),
    "frames, one by one": lambda c: list(c.iter_instance_frames(*MULTI_FRAME, [1, 2, 3])),
    "rendered": lambda c: c.retrieve_instance_rendered(*CT),
    "rendered png": lambda c: c.retrieve_instance_rendered(*CT, media_types=("image/png",)),
    "rendered small": lambda c: c.retrieve_instance_rendered(
        *CT, params={"viewport": "10,10", "window": "100,200,linear"}
    ),
    "rendered document": lambda c: c.retrieve_instance_rendered(
        *DOCUMENT, media_types=("application/pdf",)
    ),
    "rendered series": lambda c: _split(c.retrieve_series_rendered(*CT[:2])),
    "rendered frame": lambda c: c.retrieve_instance_frames_rendered(
        *MULTI_FRAME, [2], media_types=("image/png",)
    ),
}

FAILURES: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "no study": (404, lambda c: c.retrieve_study("1.2.9")),
    "no series": (404, lambda c: c.retrieve_series_metadata("1.2.3", "1.2.9")),
    "no instance": (404, lambda c: c.retrieve_instance(*CT[:2], "1.2.9")),
    "elsewhere": (404, lambda c: c.retrieve_instance(CT[0], MULTI_FRAME[1], CT[2])),
    "no frame": (404, lambda c: c.retrieve_instance_frames(*MULTI_FRAME, [4])),
    "no such form": (
        406,
        lambda c: c.retrieve_instance_rendered(*CT, media_types=("application/pdf",)),
    ),
    "no date": (400, lambda c: c.search_for_studies(search_filters={"StudyDate": "tomorrow"})),
    "no value there": (
        404,
        lambda c: c.retrieve_bulkdata(f"{_find_bulk(c, SECRET)[0].rpartition('/')[0]}/00091001"),
    ),
}


class DicomClientContract:
    """What a client does, whatever it reads.

    A kind's class of tests overrides the fixture `client`, a client of the tag, and `branch`,
    one of an empty place that can be written to, where there is such a thing.
    """

    @pytest.fixture
    def client(self, archive: Archive) -> Iterator[Any]:
        raise NotImplementedError

    @pytest.fixture
    def oracle(self, archive: Archive) -> Iterator[WebClient]:
        with archive.connect() as connected:
            yield connected

    def test_it_has_the_protocol(self, client: Any) -> None:
        assert isinstance(client, DICOMClient)
        assert client.base_url.startswith(f"{client.scheme}://")

    @pytest.mark.parametrize("name", METHODS)
    def test_the_signature_is_the_protocols(self, client: Any, name: str) -> None:
        wanted = inspect.signature(getattr(DICOMClient, name)).parameters
        found = dict(inspect.signature(getattr(type(client), name)).parameters)
        shared = [found.pop(parameter, None) for parameter in wanted]
        assert [(p.name, p.kind, p.default) for p in shared if p] == [
            (p.name, p.kind, p.default) for p in wanted.values()
        ]
        assert all(p.default is not p.empty for p in found.values()), "more may be, at will"

    @pytest.mark.parametrize("name", SEARCHES)
    def test_a_search(self, client: Any, oracle: WebClient, name: str) -> None:
        level, uids, options = SEARCHES[name]
        expected = getattr(oracle, f"search_for_{level}")(*uids, **options)
        found = getattr(client, f"search_for_{level}")(*uids, **options)
        assert normalise(found) == normalise(expected)
        assert bool(expected) != name.startswith("no ") or name == "series of no study"

    @pytest.mark.parametrize("name", RETRIEVALS)
    def test_a_retrieval(self, client: Any, oracle: WebClient, name: str) -> None:
        retrieve = RETRIEVALS[name]
        expected = retrieve(oracle)
        assert expected
        assert normalise(retrieve(client)) == normalise(expected)

    @pytest.mark.parametrize("names", [CT, MULTI_FRAME, DOCUMENT, SECRET])
    def test_bulk_data(self, client: Any, oracle: WebClient, names: tuple[str, str, str]) -> None:
        urls, expected_urls = _find_bulk(client, names), _find_bulk(oracle, names)
        assert urls
        for url, expected_url in zip(urls, expected_urls, strict=True):
            expected = oracle.retrieve_bulkdata(expected_url)
            assert expected
            assert client.retrieve_bulkdata(url) == expected
            assert list(client.iter_bulkdata(url)) == expected
            assert client.retrieve_bulkdata(url, media_types=OCTETS) == oracle.retrieve_bulkdata(
                expected_url, media_types=OCTETS
            )

    def test_a_range_of_bulk_data(self, client: Any, oracle: WebClient) -> None:
        urls, expected_urls = _find_bulk(client, DOCUMENT), _find_bulk(oracle, DOCUMENT)
        expected = oracle.retrieve_bulkdata(expected_urls[0], OCTETS, byte_range=(5, 9))
        assert client.retrieve_bulkdata(urls[0], OCTETS, byte_range=(5, 9)) == expected

    def test_instances_are_what_was_stored(self, archive: Archive, client: Any) -> None:
        for study_uid in ("1.2.3", "1.2.4"):
            for ds in client.iter_study(study_uid, media_types=AS_STORED):
                stored = read_instance(archive.files[ds.SOPInstanceUID])
                assert (ds, ds.file_meta.TransferSyntaxUID) == (
                    stored,
                    stored.file_meta.TransferSyntaxUID,
                )

    @pytest.mark.parametrize("name", FAILURES)
    def test_a_failure(self, client: Any, name: str) -> None:
        status, fail = FAILURES[name]
        with pytest.raises(requests.HTTPError) as caught:
            fail(client)
        assert isinstance(caught.value, RequestFailed)
        assert caught.value.response.status_code == status
        again = pickle.loads(pickle.dumps(caught.value))
        assert (type(again), again.response.status_code) == (type(caught.value), status)

    def test_what_is_not_a_branch_is_read_only(self, client: Any) -> None:
        for change in (
            lambda: client.store_instances([read_instance(make_slice(1))]),
            lambda: client.delete_instance(*CT),
            lambda: client.delete_series(*CT[:2]),
            lambda: client.delete_study(CT[0]),
        ):
            with pytest.raises(requests.HTTPError) as caught:
                change()
            assert caught.value.response.status_code == 405

    def test_threads_share_it(self, client: Any) -> None:
        expected = summarise(client)
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(summarise, [client] * 12)) == [expected] * 12

    @pytest.mark.parametrize(("method", "count"), [("fork", 2), ("spawn", 1)])
    def test_processes_share_it(self, client: Any, method: str, count: int) -> None:
        expected = summarise(client)
        begun = client.iter_study("1.2.4")
        first = next(begun)
        with multiprocessing.get_context(method).Pool(count) as pool:
            assert pool.map(summarise, [client] * 4, chunksize=1) == [expected] * 4
        assert summarise(client) == expected
        rest = [ds.SOPInstanceUID for ds in begun]
        assert [first.SOPInstanceUID, *rest] == [DOCUMENT[2], SECRET[2]]

    def test_it_can_be_pickled(self, client: Any) -> None:
        again = pickle.loads(pickle.dumps(client))
        assert summarise(again) == summarise(client)


class WritableClientContract(DicomClientContract):
    """What a client does besides, if what it reads can be written to."""

    @pytest.fixture
    def branch(self, archive: Archive) -> Iterator[Any]:
        raise NotImplementedError

    def test_what_is_stored_is_there(self, branch: Any) -> None:
        sent = [read_instance(make_slice(number)) for number in (1, 2, 3)]
        answer = branch.store_instances(sent)
        assert len(answer.ReferencedSOPSequence) == 3
        assert "FailedSOPSequence" not in answer
        assert branch.retrieve_series(*CT[:2]) == sent
        (study,) = branch.search_for_studies()
        assert study["00201208"]["Value"] == [3]

    def test_a_store_into_one_study(self, branch: Any) -> None:
        sent = [read_instance(make_slice(1))]
        with pytest.raises(requests.HTTPError) as caught:
            branch.store_instances(sent, study_instance_uid="1.2.77")
        assert caught.value.response.status_code == 409
        assert branch.search_for_studies() == []
        assert branch.store_instances(sent, "1.2.3").ReferencedSOPSequence

    def test_a_long_store(self, branch: Any) -> None:
        ds = read_instance(make_slice(1))
        ds.Rows, ds.Columns = 1024, 1024
        ds.PixelData = bytes(range(256)) * 8192
        assert branch.store_instances([ds]).ReferencedSOPSequence
        assert branch.retrieve_instance_frames(*CT[:2], "1.2.3.1.1", [1]) == [ds.PixelData]

    def test_what_is_deleted_is_gone(self, branch: Any) -> None:
        branch.store_instances([read_instance(make_slice(n)) for n in (1, 2, 3)])
        branch.delete_instance(*CT)
        assert len(branch.search_for_instances(*CT[:2])) == 2
        branch.delete_series(*CT[:2])
        assert branch.search_for_series() == []
        branch.store_instances([read_instance(make_slice(1))])
        branch.delete_study(CT[0])
        with pytest.raises(requests.HTTPError) as caught:
            branch.delete_study(CT[0])
        assert caught.value.response.status_code == 404


def summarise(client: Any) -> tuple[str, ...]:
    """Return digests of what a client reads: of metadata, a frame, a picture."""
    frames = client.retrieve_instance_frames(*MULTI_FRAME, [1, 3])
    return (
        *(study["0020000D"]["Value"][0] for study in client.search_for_studies()),
        sha256(repr(normalise(client.retrieve_series_metadata(*CT[:2]))).encode()).hexdigest(),
        *(sha256(frame).hexdigest() for frame in frames),
        sha256(client.retrieve_instance_rendered(*CT)).hexdigest(),
    )


def normalise(found: Any) -> Any:
    """Return an answer without the roots of its URLs and with data sets in full."""
    if isinstance(found, dict):
        return {key: normalise(value) for key, value in sorted(found.items())}
    if isinstance(found, list):
        return [normalise(value) for value in found]
    return ROOT.sub("", found) if isinstance(found, str) else found


def _find_bulk(client: Any, names: tuple[str, str, str]) -> list[str]:
    """Return the URLs of an instance's bulk data."""
    metadata = client.retrieve_instance_metadata(*names)
    return [
        metadata[tag]["BulkDataURI"] for tag in sorted(metadata) if "BulkDataURI" in metadata[tag]
    ]


def _split(message: bytes) -> list[bytes]:
    """Return the parts of a multipart message."""
    boundary = message.lstrip().split(b"\r\n", 1)[0]
    parts = message.split(boundary)
    return [part.partition(b"\r\n\r\n")[2] for part in parts if b"\r\n\r\n" in part]


def read_instance(content: bytes) -> pydicom.Dataset:
    """Parse a Part 10 file."""
    return pydicom.dcmread(io.BytesIO(content))

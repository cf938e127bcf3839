"""Capabilities hold what they say: each media type that they name can be had, or is taken."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, serve

COMPRESSED = {  # a transfer syntax of each media type that frames have
    "image/jpeg": "1.2.840.10008.1.2.4.50",
    "image/jls": "1.2.840.10008.1.2.4.80",
    "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jphc": "1.2.840.10008.1.2.4.201",
    "image/dicom-rle": "1.2.840.10008.1.2.5",
    "image/jpx": "1.2.840.10008.1.2.4.92",
    "image/jxl": "1.2.840.10008.1.2.4.110",
}
PICTURE: dict[str, Any] = {
    "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "NumberOfFrames": 2,
    "PixelData": b"\x40" * 512,
}  # fmt: skip


@dataclass(frozen=True)
class Specimen:
    """An instance of a study of its own."""

    study: str
    series: str
    instance: str
    file: bytes

    def fill(self, path: str, frames: str = "1") -> str:
        """Return a path that capabilities give, of this instance."""
        names = {"study": self.study, "series": self.series, "instance": self.instance}
        return path.format(**names, frames=frames, path="7FE00010")

    @property
    def uri_query(self) -> str:
        """What WADO-URI wants to be asked."""
        uids = f"studyUID={self.study}&seriesUID={self.series}&objectUID={self.instance}"
        return f"requestType=WADO&{uids}"


def make_specimens() -> list[Specimen]:
    """Return one or more instances for each media type there is."""
    files = [make_instance("1.2.9.1", "1.2.9.1.1", "1.2.9.1.1.1")]
    files.append(make_instance("1.2.9.2", "1.2.9.2.1", "1.2.9.2.1.1", **PICTURE))
    for number, syntax in enumerate(COMPRESSED.values(), 10):
        uid = f"1.2.9.{number}"
        content = encapsulate([b"no real codestream"])
        written = syntax.replace("4.110", "4.201")  # pydicom does not write JPEG XL
        pixels = {"PixelData": content, "NumberOfFrames": 1, "transfer_syntax": written}
        file = make_instance(uid, f"{uid}.1", f"{uid}.1.1", **(PICTURE | pixels))
        files.append(file.replace(written.encode(), syntax.encode()))
    kinds = ["application/pdf", "text/xml", "model/stl", "model/obj", "model/mtl"]
    files += [make_document(f"1.2.9.{number}", kind) for number, kind in enumerate(kinds, 30)]
    for name in ("reportsi.dcm", "waveform_ecg.dcm"):
        path = get_testdata_file(name, download=False)
        assert isinstance(path, str)
        files.append(Path(path).read_bytes())
    return [describe(file) for file in files]


def make_document(uid: str, media_type: str) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(make_instance(uid, f"{uid}.1", f"{uid}.1.1")))
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(ds, keyword)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    ds.MIMETypeOfEncapsulatedDocument = media_type
    ds.EncapsulatedDocument = b"document"
    buffer = io.BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


def describe(file: bytes) -> Specimen:
    ds = pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True)
    return Specimen(ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID, file)


@dataclass
class Site:
    """A dataset with all specimens, and what it says of itself."""

    collection: Collection
    specimens: list[Specimen]
    resources: list[dict[str, Any]]

    def list_methods(self, method: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the path and description of each resource that has a method."""
        for resource in self.resources:
            if method in resource["methods"]:
                yield resource["path"], resource["methods"][method]

    def get(self, path: str, specimen: Specimen, accept: str, frames: str = "1") -> httpx.Response:
        """GET a resource of a specimen."""
        query = f"?{specimen.uri_query}" if path == "wado" else ""
        return self.collection.get(
            f"/{specimen.fill(path, frames)}{query}", headers={"Accept": accept}
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("declared") / "data", dimse="off") as running:
        yield running


@pytest.fixture(scope="module")
def site(server: RunningServer) -> Iterator[Site]:
    with open_client() as client:
        collection = make_collection(client, server)
        specimens = make_specimens()
        collection.store_well(*(one.file for one in specimens))
        asked = client.options(collection.root(), headers={"Accept": "application/json"})
        yield Site(collection, specimens, asked.json()["resources"])


def is_as_asked(answer: httpx.Response, wanted: str) -> bool:
    """Tell whether an answer has a media type, with the type of its parts."""
    got = answer.headers["content-type"].replace('"', "").replace(" ", "")
    kind, _, parameter = wanted.replace('"', "").replace(" ", "").partition(";")
    return got.partition(";")[0] == kind and parameter in got


def test_answers_can_be_had(site: Site) -> None:
    tried = 0
    for path, method in site.list_methods("GET"):
        assert method["mediaTypes"], path
        for wanted in method["mediaTypes"]:
            answers = (
                site.get(path, one, wanted, frames)
                for frames in ("1", "1,2")
                for one in site.specimens
            )
            found = next((one for one in answers if one.status_code in (200, 206)), None)
            assert found is not None, f"{path} as {wanted}"
            assert is_as_asked(found, wanted), (path, wanted, found.headers["content-type"])
            tried += 1
    assert tried >= 150


def test_the_first_is_the_default(site: Site) -> None:
    """Rendered reports and frames have defaults of their own, those of their kind."""
    of_their_own = {
        "retrieve-rendered",
        "retrieve-rendered-frames",
        "retrieve-by-uri",
        "retrieve-frames",
        "retrieve-bulk-data",
    }
    for path, method in site.list_methods("GET"):
        answer = site.get(path, site.specimens[0], "*/*")
        assert answer.status_code == 200, path
        if method["transaction"] not in of_their_own:
            assert is_as_asked(answer, method["mediaTypes"][0]), path


def test_what_is_not_named_is_not_acceptable(site: Site) -> None:
    for path, method in site.list_methods("GET"):
        for wanted in ("audio/basic", "image/tiff", 'multipart/related; type="image/tiff"'):
            assert wanted not in method["mediaTypes"]
            assert site.get(path, site.specimens[0], wanted).status_code == 406, (path, wanted)


def test_bodies_are_taken(site: Site) -> None:
    client, root = site.collection.client, site.collection.root()
    tried = 0
    for path, method in site.list_methods("POST"):
        url = f"{root}/{site.specimens[0].fill(path)}"
        for kind in [*method["takes"], "text/plain"]:
            headers = {"Content-Type": f"{kind}; boundary=b" if "multipart" in kind else kind}
            refusal = client.post(url, content=b"nothing of the kind", headers=headers)
            assert (refusal.status_code == 415) is (kind == "text/plain"), (path, kind)
            tried += 1
        for wanted in method["mediaTypes"]:
            headers = {"Content-Type": "application/dicom", "Accept": wanted}
            answer = client.post(url, content=site.specimens[0].file, headers=headers)
            assert answer.status_code == 200
            assert is_as_asked(answer, wanted)
    assert tried >= 6


def test_parameters_are_known(site: Site) -> None:
    """A search warns of parameters that it does not know."""
    for path, method in site.list_methods("GET"):
        if method["transaction"].startswith("search-"):
            values = {
                "accept": "application/json",
                "limit": "1",
                "offset": "0",
                "includefield": "all",
                "charset": "utf-8",
            }
            query = "&".join(f"{name}={values.get(name, 'false')}" for name in method["parameters"])
            answer = site.collection.get(f"/{site.specimens[0].fill(path)}?{query}")
            assert answer.status_code == 200
            assert "not" not in answer.headers.get("warning", "")
            unknown = site.collection.get(f"/{site.specimens[0].fill(path)}?nonsense=1")
            assert "nonsense" in unknown.headers["warning"]

"""The forms that a store request may have besides Part 10 files: metadata with bulk parts, zip."""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

from lamella.conformance.native_xml import write_native
from tests.harness.collection import (
    FAILED,
    OTHER_FAILURES,
    REFERENCED,
    Collection,
    list_reasons,
    list_uids,
    make_collection,
    open_client,
)
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, serve

STUDY, SERIES, SOP = "1.2.3", "1.2.3.1", "1.2.3.1.1"
JSON, XML, ZIP = "application/dicom+json", "application/dicom+xml", "application/zip"
OCTETS = "application/octet-stream"
INVALID, TOO_LONG, DISCARDED = 0xC000, 413, 0xB006
PIXELS = "7FE00010"

Part = tuple[dict[str, str], bytes]
DataSet = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("forms") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("bounded") / "data"
    with serve(folder, max_request="100 kB", max_instance="20KiB") as running:
        yield running


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with open_client() as opened:
        yield opened


@pytest.fixture
def collection(client: httpx.Client, server: RunningServer) -> Collection:
    return make_collection(client, server)


def join(parts: Sequence[Part], root_type: str) -> tuple[str, bytes]:
    """Return Content-Type and body of a multipart request of any parts."""
    boundary = secrets.token_hex(16)
    body = bytearray()
    for headers, payload in parts:
        body += f"--{boundary}\r\n".encode()
        body += "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        body += b"\r\n" + payload + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return f'multipart/related; type="{root_type}"; boundary={boundary}', bytes(body)


def post(
    collection: Collection, content_type: str, body: bytes, study: str = "", **headers: str
) -> httpx.Response:
    url = f"{collection.root()}/studies" + (f"/{study}" if study else "")
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return collection.client.post(
        url, content=body, headers={"Content-Type": content_type, **names}
    )


def store(
    collection: Collection, parts: Sequence[Part], root_type: str = JSON, **headers: str
) -> httpx.Response:
    content_type, body = join(parts, root_type)
    return post(collection, content_type, body, **headers)


def describe(data: bytes, pixels: dict[str, Any] | None) -> DataSet:
    """Return a file's metadata; `pixels` takes the place of its pixel data's value."""
    ds = pydicom.dcmread(io.BytesIO(data))
    found: DataSet = ds.to_json_dict(bulk_data_threshold=1 << 30)
    if pixels is None:
        found.pop(PIXELS, None)
    else:
        found[PIXELS] = {"vr": found[PIXELS]["vr"], **pixels}
    return found


def metadata(*data_sets: DataSet, kind: str = JSON, suffix: str = "") -> Part:
    if kind == XML:
        (data_set,) = data_sets
        return {"Content-Type": kind + suffix}, write_native(data_set)
    return {"Content-Type": kind + suffix}, json.dumps(data_sets).encode()


def bulk(location: str, payload: bytes, kind: str = OCTETS) -> Part:
    return {"Content-Type": kind, "Content-Location": location}, payload


def read(collection: Collection, sop: str = SOP) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(collection.read_file(sop)))


def without_charset(ds: pydicom.Dataset) -> DataSet:
    found: DataSet = ds.to_json_dict(bulk_data_threshold=1 << 30)
    found.pop("00080005", None)
    return found


def comments(answer: httpx.Response, sequence: str = FAILED) -> list[str]:
    return [
        item["00000902"]["Value"][0] for item in answer.json().get(sequence, {}).get("Value", [])
    ]


class TestMetadata:
    @pytest.mark.parametrize("kind", [JSON, XML])
    def test_an_instance_with_its_bulk_part(self, collection: Collection, kind: str) -> None:
        original = make_instance(fill=7, PatientName="Buc^Jérôme", PatientWeight="70.5")
        data_set = describe(original, {"BulkDataURI": "bulk/1"})
        pixels = pydicom.dcmread(io.BytesIO(original)).PixelData
        answer = store(collection, [metadata(data_set, kind=kind), bulk("bulk/1", pixels)], kind)
        assert answer.status_code == 200, answer.text
        assert list_uids(answer, REFERENCED) == [SOP]
        stored = read(collection)
        assert stored.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert stored.SpecificCharacterSet == "ISO_IR 192"
        assert stored.PatientName == "Buc^Jérôme"
        assert without_charset(stored) == without_charset(pydicom.dcmread(io.BytesIO(original)))

    @pytest.mark.parametrize("kind", [JSON, XML])
    def test_inline_values_alone(self, collection: Collection, kind: str) -> None:
        original = make_instance(fill=9)
        pixels = pydicom.dcmread(io.BytesIO(original)).PixelData
        inline = {"InlineBinary": base64.b64encode(pixels).decode()}
        part = metadata(describe(original, inline), kind=kind)
        assert store(collection, [part], kind).status_code == 200
        # the same as a body of its own
        assert post(collection, kind, part[1]).status_code == 200
        assert len(collection.log()) == 2
        assert read(collection).PixelData == pixels

    def test_a_series_in_one_array(self, collection: Collection) -> None:
        files = [make_instance(sop=f"{SERIES}.{n}", fill=n) for n in range(1, 6)]
        sets = [describe(data, {"BulkDataURI": f"b/{n}"}) for n, data in enumerate(files)]
        parts = [
            bulk(f"b/{n}", pydicom.dcmread(io.BytesIO(data)).PixelData)
            for n, data in enumerate(files)
        ]
        assert store(collection, [metadata(*sets), *parts]).status_code == 200
        for n in range(1, 6):
            assert set(read(collection, f"{SERIES}.{n}").PixelData) == {n}
        assert len(collection.log()) == 2, "one commit"

    @pytest.mark.parametrize(
        ("uri", "location"),
        [
            ("bulk/a b", "bulk/a%20b"),
            ("{root}/bulk/1", "{root}/bulk/1"),
            ("{root}/bulk/1", "bulk/1"),
            ("cid-like:1", "cid-like:1"),
        ],
    )
    def test_names_of_bulk_parts(self, collection: Collection, uri: str, location: str) -> None:
        data_set = describe(make_instance(), {"BulkDataURI": uri.format(root=collection.root())})
        part = bulk(location.format(root=collection.root()), bytes([3]) * 512)
        assert store(collection, [part, metadata(data_set)]).status_code == 200
        assert read(collection).PixelData == bytes([3]) * 512

    def test_bulk_values_of_any_attribute(self, collection: Collection) -> None:
        data_set = describe(make_instance(), None)
        data_set |= {
            "00420010": {"vr": "ST", "BulkDataURI": "b/title"},
            "00420011": {"vr": "OB", "BulkDataURI": "b/pdf"},
            "00189509": {
                "vr": "SQ",
                "Value": [{"00281202": {"vr": "OW", "BulkDataURI": "b/lut"}}],
            },
        }
        parts = [
            bulk("b/title", "Überblick".encode()),
            bulk("b/pdf", b"%PDF-1.4 odd", "application/pdf"),
            bulk("b/lut", b"\1\2" * 70_000),
        ]
        assert store(collection, [metadata(data_set), *parts]).status_code == 200
        stored = read(collection)
        assert stored.EncapsulatedDocument == b"%PDF-1.4 odd"
        assert stored[0x00189509].value[0][0x00281202].value == b"\1\2" * 70_000

    def test_every_kind_of_value(self, collection: Collection) -> None:
        data_set = describe(make_instance(), None)
        data_set |= {
            "00080008": {"vr": "CS", "Value": ["DERIVED", None, "AXIAL"]},
            "00081140": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}, None]},
            "00101001": {
                "vr": "PN",
                "Value": [{"Alphabetic": "A^B", "Ideographic": "山田^太郎"}, {"Phonetic": "x"}],
            },
            "00101020": {"vr": "DS", "Value": [1.7234567890123456789, "2.50", 3]},
            "00181063": {"vr": "DS"},
            "00200032": {"vr": "DS", "Value": [-1e-7, 0.1, 12345678.9012345678]},
            "00189074": {"vr": "DT", "Value": ["20260102101112.5"]},
            "00280009": {"vr": "AT", "Value": ["00181063"]},
            "00289001": {"vr": "UL", "Value": [4294967295]},
            "00186020": {"vr": "SL", "Value": [-5]},
            "00189087": {"vr": "FD", "Value": ["Infinity", 0.1]},
            "00189073": {"vr": "FD", "Value": [2]},
            "7FE00001": {"vr": "OV", "InlineBinary": base64.b64encode(bytes(8)).decode()},
            "00091010": {"vr": "LO", "Value": ["ACME"]},
            "00091011": {"vr": "UV", "Value": ["18446744073709551615"]},
            "00091012": {"vr": "UN", "InlineBinary": "AQID"},
            "00091013": {"vr": "UT", "Value": ["x" * 70_000]},
        }
        assert store(collection, [metadata(data_set)]).status_code == 200
        stored = read(collection)
        assert list(stored.ImageType) == ["DERIVED", "", "AXIAL"]
        assert len(stored.ReferencedImageSequence) == 2
        assert str(stored.OtherPatientNames[0]) == "A^B=山田^太郎"
        assert [str(v) for v in stored.PatientSize][1:] == ["2.50", "3"]  # type: ignore[union-attr]
        assert all(len(str(v)) <= 16 for v in stored.ImagePositionPatient)
        assert stored.FrameIncrementPointer == 0x00181063
        assert stored[0x00289001].value == 4294967295
        assert stored[0x00186020].value == -5
        assert stored[0x00189087].value == [float("inf"), 0.1]
        assert stored[0x00091011].value == 18446744073709551615
        assert stored[0x00091012].value == b"\1\2\3\0"
        path = f"/studies/{STUDY}/series/{SERIES}/instances/{SOP}/metadata"
        (shown,) = collection.get(path).json()
        assert shown["00101001"] == data_set["00101001"]

    def test_what_dicomweb_gave_can_be_given_back(self, collection: Collection) -> None:
        """Metadata and bulk data that this server answered with make the same instance again."""
        original = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
        collection.store_well(original)
        sop = pydicom.dcmread(io.BytesIO(original)).SOPInstanceUID
        (found,) = collection.get("/instances").json()
        place = "/studies/{}/series/{}/instances/{}".format(
            *(found[key]["Value"][0] for key in ("0020000D", "0020000E", "00080018"))
        )
        (data_set,) = collection.get(f"{place}/metadata").json()
        uris = re.findall(r'"BulkDataURI": ?"([^"]+)"', json.dumps(data_set))
        assert uris
        parts = [
            bulk(uri, collection.client.get(uri, headers={"Accept": OCTETS}).content)
            for uri in uris
        ]
        answer = store(collection, [metadata(data_set), *parts])
        assert answer.status_code == 200, answer.text
        assert collection.get(f"{place}/metadata").json() == [data_set]
        assert read(collection, sop).PixelData == pydicom.dcmread(io.BytesIO(original)).PixelData


class TestPixels:
    def frames_of(self, name: str) -> tuple[bytes, list[bytes]]:
        data = Path(str(get_testdata_file(name))).read_bytes()
        ds = pydicom.dcmread(io.BytesIO(data))
        count = int(ds.get("NumberOfFrames", 1))
        return data, list(generate_frames(ds.PixelData, number_of_frames=count))

    @pytest.mark.parametrize(
        ("name", "kind", "syntax"),
        [
            ("SC_rgb_jpeg_dcmtk.dcm", "image/jpeg", JPEGBaseline8Bit),
            ("JPEG2000.dcm", "image/jp2", "1.2.840.10008.1.2.4.91"),
            ("MR_small_jp2klossless.dcm", "image/jp2", JPEG2000Lossless),
            ("MR_small_jpeg_ls_lossless.dcm", "image/jls", "1.2.840.10008.1.2.4.80"),
            ("MR_small_RLE.dcm", "image/dicom-rle", "1.2.840.10008.1.2.5"),
        ],
    )
    def test_compressed_parts(
        self, collection: Collection, name: str, kind: str, syntax: str
    ) -> None:
        data, frames = self.frames_of(name)
        ds = pydicom.dcmread(io.BytesIO(data))
        data_set = describe(data, {"BulkDataURI": "p"})
        parts = [metadata(data_set), *(bulk("p", frame, kind) for frame in frames)]
        assert store(collection, parts).status_code == 200
        stored = read(collection, ds.SOPInstanceUID)
        assert stored.file_meta.TransferSyntaxUID == syntax
        assert list(generate_frames(stored.PixelData, number_of_frames=len(frames))) == frames
        url = f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances"
        frame = collection.get(f"{url}/{ds.SOPInstanceUID}/frames/1")
        assert frame.status_code == 200

    @pytest.mark.parametrize("pattern", ["p", "p/frames/{}"])
    def test_a_part_for_each_frame(self, collection: Collection, pattern: str) -> None:
        data, frames = self.frames_of("SC_rgb_rle_2frame.dcm")
        data_set = describe(data, {"BulkDataURI": "p"})
        kind = 'application/octet-stream; transfer-syntax="1.2.840.10008.1.2.5"'
        parts = [bulk(pattern.format(n), frame, kind) for n, frame in enumerate(frames, 1)]
        assert store(collection, [metadata(data_set), *parts]).status_code == 200
        ds = read(collection, pydicom.dcmread(io.BytesIO(data)).SOPInstanceUID)
        assert list(generate_frames(ds.PixelData, number_of_frames=2)) == frames
        # a frame is missing
        answer = store(collection, [metadata(data_set), parts[0]])
        assert answer.status_code == 409
        assert comments(answer) == ["There are 1 parts of pixels for 2 frames."]

    def test_an_encapsulated_value_as_it_is(self, collection: Collection) -> None:
        data, frames = self.frames_of("SC_rgb_rle_2frame.dcm")
        ds = pydicom.dcmread(io.BytesIO(data))
        data_set = describe(data, {"BulkDataURI": "p"})
        kind = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.5"
        assert store(collection, [metadata(data_set), bulk("p", ds.PixelData, kind)]).is_success
        stored = read(collection, ds.SOPInstanceUID)
        assert list(generate_frames(stored.PixelData, number_of_frames=2)) == frames

    @pytest.mark.parametrize(
        ("name", "kind"),
        [("SC_rgb_jpeg_dcmtk.dcm", "image/jpeg"), ("MR_small_jp2klossless.dcm", "image/jp2")],
    )
    def test_image_attributes_are_derived(
        self, collection: Collection, name: str, kind: str
    ) -> None:
        data, (frame,) = self.frames_of(name)
        ds = pydicom.dcmread(io.BytesIO(data))
        data_set = {
            key: element
            for key, element in describe(data, {"BulkDataURI": "p"}).items()
            if not key.startswith("0028")
        }
        assert store(collection, [metadata(data_set), bulk("p", frame, kind)]).status_code == 200
        stored = read(collection, ds.SOPInstanceUID)
        assert (stored.Rows, stored.Columns) == (ds.Rows, ds.Columns)
        assert stored.SamplesPerPixel == ds.SamplesPerPixel
        assert stored.PixelRepresentation == ds.PixelRepresentation
        assert (stored.pixel_array == ds.pixel_array).all()

    @pytest.mark.parametrize("length", [510, 514, 0])
    def test_a_wrong_length(self, collection: Collection, length: int) -> None:
        data_set = describe(make_instance(), {"BulkDataURI": "p"})
        answer = store(collection, [metadata(data_set), bulk("p", bytes(length))])
        assert answer.status_code == 409
        assert list_reasons(answer) == [INVALID]
        assert comments(answer) == [f"Pixel Data have {length} bytes instead of 512."]

    @pytest.mark.parametrize("kind", ["image/jpeg", "image/png", "video/quicktime"])
    def test_pixels_of_no_transfer_syntax(self, collection: Collection, kind: str) -> None:
        data_set = describe(make_instance(), {"BulkDataURI": "p"})
        answer = store(collection, [metadata(data_set), bulk("p", b"GIF89a", kind)])
        assert answer.status_code == 409
        assert list_reasons(answer) == [0xC122]


class TestFaults:
    def test_a_missing_part_fails_its_instance_alone(self, collection: Collection) -> None:
        good = describe(make_instance(), {"BulkDataURI": "here"})
        bad = describe(make_instance(sop=f"{SERIES}.2"), {"BulkDataURI": "nowhere"})
        answer = store(collection, [metadata(bad, good), bulk("here", bytes(512))])
        assert answer.status_code == 202
        assert list_uids(answer, REFERENCED) == [SOP]
        assert list_uids(answer, FAILED) == [f"{SERIES}.2"]
        assert list_reasons(answer) == [INVALID]
        assert len(collection.get("/instances").json()) == 1

    def test_a_part_that_nothing_refers_to(self, collection: Collection) -> None:
        data_set = describe(make_instance(), {"BulkDataURI": "here"})
        parts = [metadata(data_set), bulk("here", bytes(512)), bulk("there", b"x")]
        answer = store(collection, [*parts, ({"Content-Type": OCTETS}, b"without a name")])
        assert answer.status_code == 202
        assert list_uids(answer, REFERENCED) == [SOP]
        assert list_reasons(answer, OTHER_FAILURES) == [INVALID, INVALID]

    @pytest.mark.parametrize(
        "document",
        [
            b"",
            b"{",
            b"nonsense",
            b"[1]",
            b'[{"00080018": 5}]',
            b'[{"0008": {"vr": "UI"}}]',
            b'[{"00080016": {"vr": "ZZ", "Value": ["1"]}}]',
            b'[{"00080016": {"Value": ["1"]}}]',
            b'[{"00280010": {"vr": "US", "Value": ["x"]}}]',
            b'[{"00280010": {"vr": "US", "Value": [65536]}}]',
            b'[{"00280010": {"vr": "US", "Value": {"a": 1}}}]',
            b'[{"00280010": {"vr": "SQ", "Value": [7]}}]',
            b'[{"7FE00010": {"vr": "OW", "InlineBinary": "?"}}]',
            b'[{"7FE00010": {"vr": "OW", "Value": [1, 2]}}]',
            b'[{"7FE00010": {"vr": 5, "InlineBinary": 6}}]',
            b'[{"00100010": {"vr": "PN", "Value": [{"Alphabetic": 5}]}}]',
            b"[" * 100_000,
            b"[" + b"1," * 1_000_001 + b"1]",
            b'[{"x": {"y": [' + b"1," * 300_001 + b"1]}}]",
        ],
        ids=range(19),
    )
    def test_json_that_is_no_instance(self, collection: Collection, document: bytes) -> None:
        answer = store(collection, [({"Content-Type": JSON}, document)])
        assert answer.status_code == 409, answer.text
        assert list_reasons(answer, OTHER_FAILURES) == [INVALID]
        assert collection.get("/instances").json() == []

    @pytest.mark.parametrize(
        "document",
        [
            b"",
            b"<NativeDicomModel>",
            b"<Other/>",
            b"<NativeDicomModel><x/></NativeDicomModel>",
            b'<NativeDicomModel><DicomAttribute tag="00080018"/></NativeDicomModel>',
            b'<!DOCTYPE x [<!ENTITY a "b">]><NativeDicomModel/>',
            b"<NativeDicomModel>" + b"<DicomAttribute/>" * 300_001 + b"</NativeDicomModel>",
            b"<NativeDicomModel>" * 500,
            b'<NativeDicomModel><DicomAttribute tag="00280010" vr="US"><Value number="999999999">'
            b"1</Value></DicomAttribute></NativeDicomModel>",
        ],
        ids=range(9),
    )
    def test_xml_that_is_no_instance(self, collection: Collection, document: bytes) -> None:
        answer = store(collection, [({"Content-Type": XML}, document)], XML)
        assert answer.status_code == 409, answer.text
        assert list_reasons(answer, OTHER_FAILURES) == [INVALID]

    def test_an_instance_that_cannot_be_written_is_named(self, collection: Collection) -> None:
        data_set = describe(make_instance(), None)
        data_set["00280010"] = {"vr": "US", "Value": ["many"]}
        answer = store(collection, [metadata(data_set)])
        assert answer.status_code == 409
        assert list_uids(answer, FAILED) == [SOP]
        assert comments(answer) == ["Attribute 00280010 has a value that is no US."]

    def test_elements_of_no_data_set_are_discarded_with_a_warning(
        self, collection: Collection
    ) -> None:
        data_set = describe(make_instance(), None)
        data_set["00020010"] = {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]}
        answer = store(collection, [metadata(data_set)])
        assert answer.status_code == 202
        (item,) = answer.json()[REFERENCED]["Value"]
        assert item["00081196"] == {"vr": "US", "Value": [DISCARDED]}
        assert list(item) == sorted(item)

    def test_metadata_that_are_too_long(self, collection: Collection) -> None:
        answer = store(collection, [({"Content-Type": JSON}, b" " * ((32 << 20) + 1))])
        assert answer.status_code == TOO_LONG
        assert "32 MiB" in answer.json()["detail"]

    @pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
    def test_a_truncated_body_stores_nothing(self, collection: Collection, share: float) -> None:
        head = collection.head()
        data_set = describe(make_instance(), {"BulkDataURI": "p"})
        file = ({"Content-Type": "application/dicom"}, make_instance(sop=f"{SERIES}.2"))
        content_type, body = join([file, metadata(data_set), bulk("p", bytes(512))], JSON)
        answer = post(collection, content_type, body[: int(len(body) * share)])
        assert answer.status_code == 400
        assert collection.head() == head

    def test_another_study_than_the_url_names(self, collection: Collection) -> None:
        data_set = describe(make_instance(), None)
        content_type, body = join([metadata(data_set)], JSON)
        answer = post(collection, content_type, body, study="1.2.99")
        assert answer.status_code == 409
        assert list_uids(answer, FAILED) == [SOP]

    def test_a_content_coding_is_refused(self, collection: Collection) -> None:
        content_type, body = join([metadata(describe(make_instance(), None))], JSON)
        assert post(collection, content_type, body, Content_Encoding="gzip").status_code == 415


class TestMixedParts:
    def test_files_metadata_and_archives_in_one_request(self, collection: Collection) -> None:
        parts = [
            ({"Content-Type": "application/dicom"}, make_instance(sop=f"{SERIES}.1")),
            metadata(describe(make_instance(sop=f"{SERIES}.2"), {"BulkDataURI": "p"})),
            metadata(describe(make_instance(sop=f"{SERIES}.3"), {"BulkDataURI": "p"}), kind=XML),
            bulk("p", bytes(512)),
            ({"Content-Type": ZIP}, make_archive({"a": make_instance(sop=f"{SERIES}.4")})),
            ({}, make_instance(sop=f"{SERIES}.5")),
        ]
        answer = store(collection, parts, "application/dicom")
        assert answer.status_code == 200, answer.text
        assert sorted(list_uids(answer, REFERENCED)) == [f"{SERIES}.{n}" for n in range(1, 6)]
        assert len(collection.log()) == 2, "one commit"


def make_archive(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


class TestArchives:
    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_its_files_are_stored(self, collection: Collection, method: int) -> None:
        files = {f"s/{n}.dcm": make_instance(sop=f"{SERIES}.{n}") for n in range(1, 8)}
        answer = post(collection, ZIP, make_archive(files, method))
        assert answer.status_code == 200, answer.text
        for n in range(1, 8):
            assert collection.read_file(f"{SERIES}.{n}") == files[f"s/{n}.dcm"]
        assert len(collection.log()) == 2
        again = collection.get("/studies", headers={"Accept": ZIP})
        assert again.status_code in (200, 406)

    def test_what_lies_beside_instances(self, collection: Collection) -> None:
        dicomdir = Path(str(get_testdata_file("DICOMDIR"))).read_bytes()
        files = {
            "DICOM/I1": make_instance(),
            "DICOMDIR": dicomdir,
            "__MACOSX/._I1": b"Mac",
            "README.TXT": b"Read me.",
        }
        answer = post(collection, ZIP, make_archive(files))
        assert answer.status_code == 202
        assert list_uids(answer, REFERENCED) == [SOP]
        assert list_reasons(answer, OTHER_FAILURES) == [INVALID], "the README"

    def test_what_was_given_as_an_archive_can_be_given_back(self, collection: Collection) -> None:
        collection.store_well(make_instance(), make_instance(sop=f"{SERIES}.2"))
        head = collection.head()
        given = collection.get(f"/studies/{STUDY}", headers={"Accept": ZIP})
        assert given.status_code == 200
        answer = post(collection, ZIP, given.content)
        assert answer.status_code == 200
        assert answer.headers["lamella-commit"] == head

    def test_an_archive_that_is_none(self, collection: Collection) -> None:
        whole = make_archive({"a": make_instance()})
        for body in (b"", b"PK\3\4nonsense", whole[:-30], whole[:200]):
            assert post(collection, ZIP, body).status_code == 400, body[:20]
        assert post(collection, ZIP, make_archive({})).status_code == 400

    def test_a_damaged_member_fails_alone(self, collection: Collection) -> None:
        files = {"a": make_instance(), "b": make_instance(sop=f"{SERIES}.2")}
        body = bytearray(make_archive(files, zipfile.ZIP_STORED))
        body[body.find(b"DICM") + 600] ^= 0xFF
        answer = post(collection, ZIP, bytes(body))
        assert answer.status_code == 202
        assert list_uids(answer, REFERENCED) == [f"{SERIES}.2"]
        assert comments(answer, OTHER_FAILURES) == [
            "A file cannot be unpacked from the zip archive."
        ]

    def test_a_bomb_is_not_unpacked(self, collection: Collection) -> None:
        body = bytearray(make_archive({"a": bytes(1 << 20), "b": make_instance()}))
        # its directory says 4 GiB: nobody asks how long it really is
        entry = body.rfind(b"PK\1\2", 0, body.rfind(b"PK\1\2"))
        body[entry + 24 : entry + 28] = struct.pack("<L", 0xFFFFFFF0)
        answer = post(collection, ZIP, bytes(body))
        assert answer.status_code == 409
        assert "200 times" in comments(answer, OTHER_FAILURES)[0]

    def test_an_archive_of_too_many_members(self, collection: Collection) -> None:
        body = bytearray(make_archive({"a": make_instance()}))
        end = body.rfind(b"PK\5\6")
        body[end + 12 : end + 16] = struct.pack("<L", 9 << 20)
        assert post(collection, ZIP, bytes(body)).status_code == TOO_LONG

    def test_an_encrypted_member(self, collection: Collection) -> None:
        body = bytearray(make_archive({"a": make_instance()}))
        body[body.rfind(b"PK\1\2") + 8] |= 1
        answer = post(collection, ZIP, bytes(body))
        assert answer.status_code == 409
        assert comments(answer, OTHER_FAILURES) == ["It is encrypted."]


class TestPreconditions:
    """`If-Match` with every form: the head has moved, so nothing is stored."""

    def bodies(self) -> list[tuple[str, bytes]]:
        data_set = describe(make_instance(), {"BulkDataURI": "p"})
        return [
            ("application/dicom", make_instance()),
            join([({}, make_instance())], "application/dicom"),
            join([metadata(data_set), bulk("p", bytes(512))], JSON),
            join([metadata(data_set, kind=XML), bulk("p", bytes(512))], XML),
            (JSON, metadata(describe(make_instance(), None))[1]),
            (ZIP, make_archive({"a": make_instance()})),
        ]

    def test_all_forms(self, collection: Collection) -> None:
        old = collection.head()
        head = collection.store_well(make_instance(sop=f"{SERIES}.9"))
        for content_type, body in self.bodies():
            answer = post(collection, content_type, body, If_Match=f'"{old}"')
            assert answer.status_code == 412, content_type
            assert collection.head() == head
        for content_type, body in self.bodies():
            fresh = f'"{collection.head()}"'
            answer = post(collection, content_type, body, If_Match=fresh)
            assert answer.status_code in (200, 409), content_type

    def test_a_tag_takes_no_form(self, collection: Collection) -> None:
        assert collection.make_ref("tags", "v1").status_code == 201
        for content_type, body in self.bodies():
            answer = collection.client.post(
                f"{collection.root('v1')}/studies",
                content=body,
                headers={"Content-Type": content_type},
            )
            assert answer.status_code == 405
            assert "POST" not in answer.headers["allow"]


class TestAnswers:
    def test_xml(self, collection: Collection) -> None:
        for accept in (XML, f'multipart/related; type="{XML}"'):
            answer = store(
                collection,
                [metadata(describe(make_instance(), None), describe(make_instance(SERIES), None))],
                Accept=accept,
            )
            assert answer.headers["content-type"].startswith(accept.partition(";")[0])
            assert b"<NativeDicomModel" in answer.content
            assert f'<DicomAttribute tag="{REFERENCED}" vr="SQ"'.encode() in answer.content

    def test_a_text_form_is_not_acceptable(self, collection: Collection) -> None:
        answer = store(collection, [metadata(describe(make_instance(), None))], Accept="text/html")
        assert answer.status_code == 406
        assert collection.get("/instances").json() == []


class TestLimits:
    @pytest.fixture
    def small(self, client: httpx.Client, bounded: RunningServer) -> Collection:
        return make_collection(client, bounded)

    @pytest.mark.parametrize("is_streamed", [False, True])
    @pytest.mark.parametrize("kind", ["application/dicom", JSON, ZIP])
    def test_a_request_that_is_too_long(
        self, small: Collection, kind: str, is_streamed: bool
    ) -> None:
        content_type, body = join(
            [({"Content-Type": kind}, make_instance(rows=64, columns=64))] * 13,
            "application/dicom",
        )
        pieces: Any = (body[n : n + 999] for n in range(0, len(body), 999))
        answer = post(small, content_type, pieces if is_streamed else body)
        assert answer.status_code == TOO_LONG
        assert "100,000 bytes" in answer.json()["detail"]
        assert small.get("/instances").json() == []

    def test_an_instance_that_is_too_long(self, small: Collection) -> None:
        longest = make_instance(rows=128, columns=64)
        assert small.store(longest).status_code == 200
        answer = small.store(make_instance(sop=f"{SERIES}.2"), make_instance(rows=128, columns=99))
        assert answer.status_code == TOO_LONG
        assert "20,480 bytes" in answer.json()["detail"]
        assert len(small.get("/instances").json()) == 1, "nothing of the request is kept"
        packed = make_archive({"a": make_instance(rows=128, columns=99)})
        assert post(small, ZIP, packed).status_code == TOO_LONG

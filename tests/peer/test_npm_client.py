"""npm's dicomweb-client as a peer, in Chromium and from another origin: every method it has."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from tests.browser.browser import HERE, Browser, find_chromium, launch_browser
from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import serve

BUILD = HERE / "node_modules" / "dicomweb-client" / "build"
PAGE = Path(__file__).with_name("client_page.html")
STUDY, SERIES, ONE, FRAMES = "1.2.3", "1.2.3.1", "1.2.3.1.1", "1.2.3.1.2"
NAMES = {"studyInstanceUID": STUDY, "seriesInstanceUID": SERIES, "sopInstanceUID": ONE}
OF_FRAMES = NAMES | {"sopInstanceUID": FRAMES}
SETTINGS = {"setDebug", "getDebug", "setVerbose", "getVerbose"}  # they ask no server


def make_files() -> dict[str, bytes]:
    """Return an image, a multi-frame, and an image of another series, by SOP Instance UID."""
    ramp = np.arange(24 * 32, dtype="<u2").reshape(24, 32)
    frames = np.stack([ramp, ramp + 100, ramp + 200])
    size = {"rows": 24, "columns": 32}
    one = make_instance(STUDY, SERIES, ONE, PixelData=ramp.tobytes(), **size)
    many = make_instance(
        STUDY, SERIES, FRAMES, PixelData=frames.tobytes(), NumberOfFrames=3, **size
    )
    other = make_instance(STUDY, "1.2.3.2", "1.2.3.2.1", Modality="MR", SeriesNumber=2, **size)
    return {ONE: one, FRAMES: many, "1.2.3.2.1": other}


class Failed(Exception):
    """A call's promise was rejected.

    Attributes:
        status: Of the answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Peer:
    """The client on a page of its own origin."""

    browser: Browser
    collection: Collection
    files: dict[str, bytes]

    def call(self, method: str, root: str | None = None, **options: Any) -> Any:
        """Call a method of the client and return what its promise is kept with."""
        settings = {"url": root or self.collection.root()}
        if method == "buildInstanceWadoURIUrl":
            settings["wadoURLPrefix"] = "wado"
        script = f"call({json.dumps(settings)}, {json.dumps(method)}, {json.dumps(options)})"
        answer = self.browser.do("evaluate", script=script)
        if "value" not in answer:
            raise Failed(answer["status"], answer["message"])
        return read_bytes(answer["value"])

    def read(self, sop_uid: str) -> pydicom.Dataset:
        """Return an instance as pydicom reads it from the file."""
        return pydicom.dcmread(io.BytesIO(self.files[sop_uid]))


def read_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [read_bytes(each) for each in value]
    if isinstance(value, dict) and set(value) == {"base64"}:
        return base64.b64decode(value["base64"])
    return value


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_script = self.path == "/client.js"
        body = (BUILD / "dicomweb-client.js" if is_script else PAGE).read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript" if is_script else "text/html")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        return


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    site = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=site.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{site.server_port}/"
    site.shutdown()
    site.server_close()
    thread.join()


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory, page: str) -> Iterator[Peer]:
    find_chromium(BUILD)
    folder = tmp_path_factory.mktemp("npm")
    with (
        serve(folder / "data", dimse="off") as server,
        open_client() as client,
        launch_browser(folder) as browser,
    ):
        collection, files = make_collection(client, server), make_files()
        collection.store_well(*files.values())
        assert collection.make_ref("tags", "v1").status_code == 201
        browser.do("open", url=page)
        yield Peer(browser, collection, files)


def list_uids(found: list[dict[str, Any]], tag: str) -> list[str]:
    return sorted(one[tag]["Value"][0] for one in found)


def open_picture(data: bytes | list[bytes]) -> Image.Image:
    """Return a picture; the client gives a bare body as the only member of a list."""
    (body,) = data if isinstance(data, list) else [data]
    picture = Image.open(io.BytesIO(body))
    picture.load()
    return picture


class TestSearch:
    def test_studies(self, peer: Peer) -> None:
        (study,) = peer.call("searchForStudies")
        assert study["0020000D"]["Value"] == [STUDY]
        assert study["00201208"]["Value"] == [3]
        query = {"PatientID": "PAT1", "includefield": "00081030", "limit": 5}
        assert len(peer.call("searchForStudies", queryParams=query)) == 1
        assert peer.call("searchForStudies", queryParams={"PatientID": "NOBODY"}) == []

    def test_series(self, peer: Peer) -> None:
        expected = [SERIES, "1.2.3.2"]
        assert list_uids(peer.call("searchForSeries"), "0020000E") == expected
        found = peer.call("searchForSeries", studyInstanceUID=STUDY)
        assert list_uids(found, "0020000E") == expected
        (found,) = peer.call("searchForSeries", queryParams={"Modality": "MR"})
        assert found["0020000E"]["Value"] == ["1.2.3.2"]

    def test_instances(self, peer: Peer) -> None:
        assert list_uids(peer.call("searchForInstances"), "00080018") == sorted(peer.files)
        found = peer.call("searchForInstances", studyInstanceUID=STUDY)
        assert list_uids(found, "00080018") == sorted(peer.files)
        names = {"studyInstanceUID": STUDY, "seriesInstanceUID": SERIES}
        found = peer.call("searchForInstances", **names)
        assert list_uids(found, "00080018") == [ONE, FRAMES]


class TestMetadata:
    def test_of_an_instance(self, peer: Peer) -> None:
        (found,) = peer.call("retrieveInstanceMetadata", **NAMES)
        original = peer.read(ONE)
        ds = pydicom.Dataset.from_json(found, lambda *_: original.PixelData)
        assert {element.tag for element in ds} == {element.tag for element in original}
        assert all(ds[element.tag].value == element.value for element in original)

    def test_of_more(self, peer: Peer) -> None:
        names = {"studyInstanceUID": STUDY, "seriesInstanceUID": SERIES}
        found = peer.call("retrieveSeriesMetadata", **names)
        assert list_uids(found, "00080018") == [ONE, FRAMES]
        found = peer.call("retrieveStudyMetadata", studyInstanceUID=STUDY)
        assert list_uids(found, "00080018") == sorted(peer.files)

    def test_nothing_there(self, peer: Peer) -> None:
        with pytest.raises(Failed) as failure:
            peer.call("retrieveStudyMetadata", studyInstanceUID="1.2.99")
        assert failure.value.status == 404


class TestInstances:
    def test_one(self, peer: Peer) -> None:
        data = peer.call("retrieveInstance", **NAMES)
        assert pydicom.dcmread(io.BytesIO(data)) == peer.read(ONE)

    def test_many(self, peer: Peer) -> None:
        series = {"studyInstanceUID": STUDY, "seriesInstanceUID": SERIES}
        for found, expected in [
            (peer.call("retrieveSeries", **series), 2),
            (peer.call("retrieveStudy", studyInstanceUID=STUDY), 3),
        ]:
            assert len(found) == expected
            for data in found:
                ds = pydicom.dcmread(io.BytesIO(data))
                assert ds == peer.read(ds.SOPInstanceUID)

    def test_by_wado_uri(self, peer: Peer) -> None:
        url = peer.call("buildInstanceWadoURIUrl", **NAMES)
        with urlopen(url) as answer:
            assert pydicom.dcmread(io.BytesIO(answer.read())) == peer.read(ONE)


class TestFrames:
    def test_uncompressed(self, peer: Peer) -> None:
        expected = peer.read(FRAMES).pixel_array
        found = peer.call("retrieveInstanceFrames", **OF_FRAMES, frameNumbers=[3, 1])
        assert found == [expected[2].tobytes(), expected[0].tobytes()]
        with pytest.raises(Failed) as failure:
            peer.call("retrieveInstanceFrames", **OF_FRAMES, frameNumbers=[4])
        assert failure.value.status == 404

    @pytest.mark.parametrize(
        ("media_type", "syntax"),
        [
            ("image/jp2", JPEG2000Lossless),
            ("image/x-dicom-rle", RLELossless),
            ("application/octet-stream", ExplicitVRLittleEndian),
        ],
    )
    def test_media_types(self, peer: Peer, media_type: str, syntax: str) -> None:
        wanted = [{"mediaType": media_type, "transferSyntaxUID": syntax}]
        names = OF_FRAMES | {"frameNumbers": [2], "mediaTypes": wanted}
        (frame,) = peer.call("retrieveInstanceFrames", **names)
        expected = peer.read(FRAMES).pixel_array[1]
        if media_type == "image/jp2":
            assert np.array_equal(np.asarray(open_picture(frame)), expected)
        elif media_type == "application/octet-stream":
            assert frame == expected.tobytes()
        else:
            assert int.from_bytes(frame[:4], "little") == 2  # RLE segments of 16 bits

    def test_whatever_it_is_stored_in(self, peer: Peer) -> None:
        wanted = [
            {"mediaType": "image/jls", "transferSyntaxUID": "1.2.840.10008.1.2.4.80"},
            {
                "mediaType": "application/octet-stream",
                "transferSyntaxUID": ExplicitVRLittleEndian,
            },
        ]
        names = OF_FRAMES | {"frameNumbers": [2], "mediaTypes": wanted}
        (frame,) = peer.call("retrieveInstanceFrames", **names)
        assert frame == peer.read(FRAMES).pixel_array[1].tobytes()


class TestRendered:
    def test_instance(self, peer: Peer) -> None:
        assert open_picture(peer.call("retrieveInstanceRendered", **NAMES)).format == "JPEG"
        options = NAMES | {
            "mediaTypes": [{"mediaType": "image/png"}],
            "queryParams": {"viewport": "64,48", "window": "400,800,linear"},
        }
        picture = open_picture(peer.call("retrieveInstanceRendered", **options))
        assert (picture.format, picture.size) == ("PNG", (64, 48))
        dark, light = np.asarray(picture)[0, 0], np.asarray(picture)[-1, -1]
        assert dark < 10
        assert light > 200

    def test_thumbnail(self, peer: Peer) -> None:
        assert open_picture(peer.call("retrieveInstanceThumbnail", **NAMES)).size == (32, 24)
        options = NAMES | {"mediaTypes": [{"mediaType": "image/gif"}]}
        assert open_picture(peer.call("retrieveInstanceThumbnail", **options)).format == "GIF"

    def test_frames(self, peer: Peer) -> None:
        options = OF_FRAMES | {"frameNumbers": [2], "mediaTypes": [{"mediaType": "image/png"}]}
        picture = open_picture(peer.call("retrieveInstanceFramesRendered", **options))
        assert (picture.format, picture.size) == ("PNG", (32, 24))
        thumbnail = open_picture(peer.call("retrieveInstanceFramesThumbnail", **options))
        assert (thumbnail.format, thumbnail.size) == ("PNG", (32, 24))


def test_bulk_data(peer: Peer) -> None:
    (metadata,) = peer.call("retrieveInstanceMetadata", **NAMES)
    url = metadata["7FE00010"]["BulkDataURI"]
    expected = peer.read(ONE).PixelData
    assert peer.call("retrieveBulkData", BulkDataURI=url) == [expected]
    octets = [{"mediaType": "application/octet-stream"}]
    assert peer.call("retrieveBulkData", BulkDataURI=url, mediaTypes=octets) == [expected]


class TestStore:
    @pytest.fixture
    def target(self, peer: Peer) -> Collection:
        return make_collection(peer.collection.client, peer.collection.server)

    def test_and_return(self, peer: Peer, target: Collection) -> None:
        sent = [base64.b64encode(file).decode() for file in peer.files.values()]
        peer.call("storeInstances", target.root(), datasets=sent)
        for sop_uid, file in peer.files.items():
            assert target.read_file(sop_uid) == file

    def test_into_a_study(self, peer: Peer, target: Collection) -> None:
        sent = [base64.b64encode(peer.files[ONE]).decode()]
        peer.call("storeInstances", target.root(), datasets=sent, studyInstanceUID=STUDY)
        assert target.read_file(ONE) == peer.files[ONE]
        with pytest.raises(Failed) as failure:
            peer.call("storeInstances", target.root(), datasets=sent, studyInstanceUID="1.2.4")
        assert failure.value.status == 409

    def test_a_tag_takes_nothing(self, peer: Peer) -> None:
        sent = [base64.b64encode(peer.files[ONE]).decode()]
        with pytest.raises(Failed) as failure:
            peer.call("storeInstances", peer.collection.root("v1"), datasets=sent)
        assert failure.value.status == 405


def test_every_method_is_called_here(peer: Peer) -> None:
    """A new method of the client has to be called above."""
    called = set(re.findall(r'peer\.call\(\s*"(\w+)"', Path(__file__).read_text()))
    assert set(peer.browser.do("evaluate", script="listMethods()")) == called | SETTINGS

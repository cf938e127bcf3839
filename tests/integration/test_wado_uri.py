"""WADO-URI, reports and waveforms through the front door."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pydicom.data
import pytest
from PIL import Image

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import serve

BUNDLED = Path(pydicom.data.__file__).parent / "test_files"
IMAGE = {"studyUID": "1.2.3", "seriesUID": "1.2.3.1", "objectUID": "1.2.3.1.1"}
CINE = IMAGE | {"objectUID": "1.2.3.1.2"}
RAMP = np.add.outer(np.arange(32) * 10, np.arange(48) * 20).astype("<u2")
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def make_cine() -> bytes:
    frames = np.stack([np.full((16, 16), value, "u1") for value in (10, 20, 30)])
    return make_instance(
        sop="1.2.3.1.2", InstanceNumber=2, BitsAllocated=8, BitsStored=8, HighBit=7,
        NumberOfFrames=3, PixelData=frames.tobytes(),
    )  # fmt: skip


def identify(path: Path) -> dict[str, str]:
    ds = pydicom.dcmread(path)
    return {
        "studyUID": ds.StudyInstanceUID,
        "seriesUID": ds.SeriesInstanceUID,
        "objectUID": ds.SOPInstanceUID,
    }


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    with serve(tmp_path_factory.mktemp("uri")) as server, open_client() as client:
        collection = make_collection(client, server)
        image = make_instance(rows=32, columns=48, PixelData=RAMP.tobytes())
        files = [BUNDLED / name for name in ("test-SR.dcm", "waveform_ecg.dcm")]
        collection.store_well(image, make_cine(), *(path.read_bytes() for path in files))
        yield collection


def ask(stored: Collection, uids: dict[str, str], **parameters: str) -> httpx.Response:
    query = {"requestType": "WADO", **uids, **parameters}
    return stored.client.get(f"{stored.root()}/wado", params=query)


def show(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_a_picture_is_the_default_of_one_frame_and_a_file_of_several(stored):
    answer = ask(stored, IMAGE)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["lamella-commit"] == stored.head()
    assert show(answer).shape == (32, 48)
    several = ask(stored, CINE)
    assert several.headers["content-type"].startswith("application/dicom")
    root = stored.root(None)
    assert stored.client.get(f"{root}/wado", params={"requestType": "WADO", **IMAGE}).is_success


@pytest.mark.parametrize("kind", ["image/png", "image/gif", "image/jp2", "image/webp"])
def test_the_content_type_decides(stored, kind):
    answer = ask(stored, IMAGE, contentType=kind)
    assert answer.headers["content-type"] == kind
    assert Image.open(io.BytesIO(answer.content)).get_format_mimetype() == kind
    assert ask(stored, IMAGE, contentType=f"text/html,{kind}").headers["content-type"] == kind


def test_files_in_the_transfer_syntax_asked_for(stored):
    plain = ask(stored, IMAGE, contentType="application/dicom")
    assert pydicom.dcmread(io.BytesIO(plain.content)).PixelData == RAMP.tobytes()
    for uid in ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"):
        answer = ask(stored, IMAGE, contentType="application/dicom", transferSyntax=uid)
        assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={uid}"
        assert pydicom.dcmread(io.BytesIO(answer.content)).file_meta.TransferSyntaxUID == uid


def test_windows_sides_regions_and_frames(stored):
    shown = show(ask(stored, IMAGE, contentType="image/png", windowCenter="500", windowWidth="401"))
    expected = np.rint(255 * np.clip((RAMP - 499.5) / 400 + 0.5, 0, 1))
    np.testing.assert_array_equal(shown, expected)
    assert show(ask(stored, IMAGE, rows="16")).shape == (16, 24)
    assert show(ask(stored, IMAGE, columns="12", rows="100")).shape == (8, 12)
    part = show(ask(stored, IMAGE, contentType="image/png", region="0.5,0,1,0.5"))
    whole = show(ask(stored, IMAGE, contentType="image/png"))
    np.testing.assert_array_equal(part, whole[:16, 24:])
    second = show(ask(stored, CINE, contentType="image/png", frameNumber="2"))
    assert set(second.ravel()) == {20}


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"requestType": "wado?"}, 400),
        ({"studyUID": "not a uid"}, 400),
        ({"objectUID": ""}, 400),
        ({"objectUID": "9.9"}, 404),
        ({"windowCenter": "40"}, 400),
        ({"windowCenter": "40", "windowWidth": "0"}, 400),
        ({"rows": "0"}, 400),
        ({"columns": "a"}, 400),
        ({"region": "0,0,1"}, 400),
        ({"region": "0.5,0,0.4,1"}, 400),
        ({"region": "0,0,1,2"}, 400),
        ({"imageQuality": "0"}, 400),
        ({"frameNumber": "0"}, 400),
        ({"frameNumber": "2"}, 404),
        ({"contentType": "application/dicom", "frameNumber": "1"}, 400),
        ({"contentType": "application/dicom", "transferSyntax": "x"}, 400),
        ({"contentType": "application/dicom", "transferSyntax": "1.2.840.10008.1.2"}, 406),
        ({"transferSyntax": "1.2.840.10008.1.2.4.80"}, 400),
        ({"contentType": "text/plain"}, 406),
        ({"anonymize": "yes"}, 406),
        ({"presentationUID": "1.2"}, 400),
    ],
)
def test_what_makes_no_sense_is_refused(stored, parameters, status):
    answer = ask(stored, IMAGE | parameters)
    assert answer.status_code == status
    assert answer.json()["detail"].endswith(".")


def path(uids: dict[str, str]) -> str:
    study, series, instance = uids.values()
    return f"/studies/{study}/series/{series}/instances/{instance}/rendered"


def test_a_report_is_a_page_or_text(stored):
    uids = identify(BUNDLED / "test-SR.dcm")
    for accept in ("*/*", BROWSER, "text/html"):
        page = stored.get(path(uids), headers={"Accept": accept})
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "Diameter" in page.text
    text = stored.get(path(uids) + "?accept=text/plain")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert text.text.startswith("Diagnosis")
    assert ask(stored, uids).text == page.text
    assert stored.get(path(uids) + "?accept=image/jpeg").status_code == 406


def test_a_waveform_is_a_drawing(stored):
    uids = identify(BUNDLED / "waveform_ecg.dcm")
    for accept in ("*/*", BROWSER, "image/svg+xml"):
        answer = stored.get(path(uids), headers={"Accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
        assert answer.text.count("<polyline") == 24
    assert stored.get(path(uids) + "?accept=image/jpeg").status_code == 406

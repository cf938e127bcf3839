"""Rendered resources and thumbnails through the front door."""

from __future__ import annotations

import io
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, serve

STUDY, SERIES, CT, CINE = "1.2.3", "1.2.3.1", "1.2.3.1.1", "1.2.3.1.2"
PDF_SERIES, PDF = "1.2.3.2", "1.2.3.2.1"
BROWSER = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
    "*/*;q=0.8"
)
IMG_TAG = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
PDF_BYTES = b"%PDF-1.4 not much of a document %%EOF "


def ramp(rows: int = 32, columns: int = 48) -> np.ndarray:
    return np.add.outer(np.arange(rows) * 10, np.arange(columns) * 20).astype("<u2")


def make_cine() -> bytes:
    frames = np.stack(
        [np.full((16, 16, 3), (value, 0, 255 - value), "u1") for value in (0, 100, 200)]
    )
    return make_instance(
        STUDY,
        SERIES,
        CINE,
        InstanceNumber=2,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        NumberOfFrames=3,
        CineRate=10,
        PixelData=frames.tobytes(),
    )


def make_pdf() -> bytes:
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = PDF, STUDY, PDF_SERIES
    ds.PatientID, ds.Modality, ds.SeriesNumber = "PAT1", "DOC", 2
    ds.EncapsulatedDocument = PDF_BYTES
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocumentLength = len(PDF_BYTES) - 1
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = PDF
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("rendered")) as running:
        yield running


@pytest.fixture(scope="module")
def stored(server: RunningServer) -> Iterator[Collection]:
    with open_client() as client:
        collection = make_collection(client, server)
        ct = make_instance(
            STUDY, SERIES, CT, rows=32, columns=48, PixelData=ramp().tobytes(), WindowCenter=600,
            WindowWidth=1200,
        )  # fmt: skip
        collection.store_well(ct, make_cine(), make_pdf())
        yield collection


def path(*, series: str = SERIES, sop: str = CT) -> str:
    return f"/studies/{STUDY}/series/{series}/instances/{sop}"


def show(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def split(answer: httpx.Response) -> list[tuple[dict[str, str], bytes]]:
    """Return header fields and body of each part."""
    boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
    parts = []
    for piece in answer.content.split(b"--" + boundary)[1:-1]:
        head, _, body = piece.strip(b"\r\n").partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        parts.append((fields, body))
    return parts


def test_an_instance_is_windowed_as_it_says(stored):
    shown = show(stored.get(path() + "/rendered?accept=image/png"))
    expected = np.rint(255 * np.clip((ramp() - 599.5) / 1199 + 0.5, 0, 1))
    np.testing.assert_array_equal(shown, expected)


def test_a_request_can_bring_its_own_window_viewport_and_quality(stored):
    query = "?accept=image/png&window=500,400,linear-exact&viewport=24,20,0,0,-48,32"
    shown = show(stored.get(path() + "/rendered" + query))
    assert shown.shape == (16, 24)
    assert shown[0, 0] > shown[0, -1]  # flipped
    small = stored.get(path() + "/rendered?quality=5").content
    assert len(small) < len(stored.get(path() + "/rendered?quality=100").content)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "image/jpeg"),
        ("image/*", "image/jpeg"),
        ("image/png;q=0.5, image/gif", "image/gif"),
        (IMG_TAG, "image/webp"),
        (BROWSER, "image/webp"),
        ("image/jp2", "image/jp2"),
        ("text/html, */*;q=0.1", "image/jpeg"),
    ],
)
def test_the_media_type_is_negotiated(stored, accept, media_type):
    answer = stored.get(path() + "/rendered", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert Image.open(io.BytesIO(answer.content)).get_format_mimetype() == media_type
    assert answer.headers["lamella-commit"] == stored.head()


@pytest.mark.parametrize("query", ["accept=image/png", "accept=image%2Fpng"])
def test_a_query_parameter_outranks_the_header(stored, query):
    for resource in ("rendered", "thumbnail"):
        answer = stored.get(f"{path()}/{resource}?{query}", headers={"Accept": "text/html"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/rendered?window=40", 400),
        ("/rendered?window=40,400,cubic", 400),
        ("/rendered?window=40,0,linear", 400),
        ("/rendered?window=x,400,linear", 400),
        ("/rendered?viewport=0,5", 400),
        ("/rendered?viewport=5", 400),
        ("/rendered?viewport=5,5,40,0,40,5", 400),
        ("/rendered?viewport=5,5,a,0,40,5", 400),
        ("/rendered?quality=0", 400),
        ("/rendered?quality=101", 400),
        ("/rendered?quality=1e1", 400),
        ("/rendered?iccprofile=maybe", 400),
        ("/rendered?annotation=", 400),
        ("/thumbnail?viewport=5,5,1,1,3,3", 400),
        ("/frames/0/rendered", 400),
        ("/frames/x/rendered", 400),
        ("/frames/2/rendered", 404),
        ("/frames/2/thumbnail", 404),
        ("/rendered?accept=text/html", 406),
        ("/rendered?accept=video/mp4", 406),
        ("/thumbnail?accept=application/dicom", 406),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(stored, target, status):
    answer = stored.get(path() + target)
    assert answer.status_code == status
    assert answer.json()["detail"].endswith(".")


def test_nothing_there_is_404(stored):
    for target in ("/studies/9.9", "/studies/9.9/series/1", path(sop="9.9")):
        for resource in ("rendered", "thumbnail"):
            assert stored.get(f"{target}/{resource}").status_code == 404


def test_unknown_annotations_are_warned_about(stored):
    answer = stored.get(path() + "/rendered?annotation=patient,shoes")
    assert answer.status_code == 200
    warning = answer.headers["warning"]
    assert warning.startswith("299 ")
    assert warning.endswith("The following annotation values are not supported: shoes")


def test_single_frames_of_a_cine(stored):
    for number, value in ((1, 0), (2, 100), (3, 200)):
        target = f"{path(sop=CINE)}/frames/{number}/rendered?accept=image/png"
        assert show(stored.get(target))[0, 0].tolist() == [value, 0, 255 - value]
    assert show(stored.get(path(sop=CINE) + "/rendered?accept=image/png"))[0, 0, 0] == 100


def test_frames_come_in_the_order_asked(stored):
    answer = stored.get(path(sop=CINE) + "/frames/3,1,3/rendered?accept=multipart/related")
    assert answer.headers["content-type"].startswith('multipart/related; type="image/jpeg"')
    places = [fields["Content-Location"] for fields, _ in split(answer)]
    base = stored.root() + path(sop=CINE)
    assert places == [f"{base}/frames/{number}/rendered" for number in (3, 1, 3)]
    assert stored.get(path(sop=CINE) + "/frames/3,4/rendered").status_code == 404


def test_a_cine_as_a_movie(stored):
    movie = Image.open(
        io.BytesIO(stored.get(path(sop=CINE) + "/rendered?accept=image/gif").content)
    )
    assert (movie.n_frames, movie.info["duration"]) == (3, 100)
    some = Image.open(
        io.BytesIO(stored.get(path(sop=CINE) + "/frames/1,3/rendered?accept=image/gif").content)
    )
    assert some.n_frames == 2
    pytest.importorskip("av")
    answer = stored.get(path(sop=CINE) + "/rendered", headers={"Accept": "video/mp4"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    assert answer.content[4:8] == b"ftyp"


def test_a_document_goes_out_as_what_it_is(stored):
    for accept in ("*/*", BROWSER, "application/pdf"):
        target = path(series=PDF_SERIES, sop=PDF) + "/rendered"
        answer = stored.get(target, headers={"Accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
        assert answer.content == PDF_BYTES[:-1]
    assert stored.get(target + "?accept=image/jpeg").status_code == 406
    assert stored.get(path(series=PDF_SERIES, sop=PDF) + "/thumbnail").status_code == 404


@pytest.mark.parametrize("target", [f"/studies/{STUDY}", f"/studies/{STUDY}/series/{SERIES}"])
def test_a_study_or_series_in_parts(stored, target):
    answer = stored.get(f"{target}/rendered")
    assert answer.status_code == 200
    places = [fields["Content-Location"].removeprefix(stored.root()) for fields, _ in split(answer)]
    wanted = [f"{path()}/frames/1/rendered"]
    wanted += [f"{path(sop=CINE)}/frames/{number}/rendered" for number in (1, 2, 3)]
    if "series" not in target:
        wanted.append(f"{path(series=PDF_SERIES, sop=PDF)}/rendered")
    assert places == wanted
    some = stored.get(f'{target}/rendered?accept=multipart/related;type="image/png"')
    assert some.status_code == (200 if "series" in target else 206)
    assert {fields["Content-Type"] for fields, _ in split(some)} == {"image/png"}
    assert stored.get(f"{target}/rendered?accept=image/png").status_code == 406


def test_thumbnails_at_every_level(stored):
    study, series = f"/studies/{STUDY}", f"/studies/{STUDY}/series/{SERIES}"
    for target in (study, series, path(), path(sop=CINE), path(sop=CINE) + "/frames/1"):
        answer = stored.get(f"{target}/thumbnail")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        scaled = show(stored.get(f"{target}/thumbnail?viewport=64,64&accept=image/png"))
        assert max(scaled.shape[:2]) == 64


def test_answers_are_validated_and_cached(stored):
    first = stored.get(path() + "/rendered")
    again = stored.get(path() + "/rendered", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    fixed = stored.get(path() + "/rendered", revision=stored.head())
    assert "immutable" in fixed.headers["cache-control"]
    assert fixed.content == first.content
    head = stored.client.head(stored.root() + path() + "/rendered")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(first.content))


def test_two_versions_look_different(stored, server):
    collection = make_collection(stored.client, server)
    before = collection.store_well(make_instance(WindowCenter=100, WindowWidth=200, fill=1))
    collection.store_well(make_instance(WindowCenter=1000, WindowWidth=2000, fill=1))
    target = "/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1/rendered?accept=image/png"
    assert show(collection.get(target, revision=before))[0, 0] == 255
    assert show(collection.get(target))[0, 0] == 33


def test_a_broken_codestream_costs_one_request(stored, server):
    collection = make_collection(stored.client, server)
    broken = make_instance(
        "1.2.4",
        "1.2.4.1",
        "1.2.4.1.1",
        transfer_syntax="1.2.840.10008.1.2.4.80",
        PixelData=encapsulate([b"\xff\xd8 garbage"]),
    )
    answer = collection.store(broken)
    assert answer.status_code == 200, answer.text
    target = "/studies/1.2.4/series/1.2.4.1/instances/1.2.4.1.1/rendered"
    assert collection.get(target).status_code == 406
    assert stored.get(path() + "/rendered?quality=77").status_code == 200

"""Zip archives, and the resources bulkdata and pixeldata, of studies, series and instances."""

import io
import zipfile

import pytest

from lamella.conformance.multipart import split_parts
from lamella.conformance.rich import PDF
from lamella.conformance.samples import EXPLICIT_LITTLE, RLE, SampleSet, read_file
from tests.harness.server import serve
from tests.harness.web import send, store

OCTETS = 'multipart/related; type="application/octet-stream"'


@pytest.fixture(scope="module")
def samples():
    return SampleSet()


@pytest.fixture(scope="module")
def root(tmp_path_factory, samples):
    with serve(tmp_path_factory.mktemp("whole"), dimse="off") as server:
        reply = store(server.root(), [sample.file for sample in samples.by_name.values()])
        assert reply.status == 200, reply.body
        yield server.root()


def fetch_parts(root, path, accept):
    reply = send(root + path, headers={"Accept": accept})
    assert reply.status == 200, reply.body
    return split_parts(reply.headers["content-type"], reply.body)


def fetch_archive(root, path):
    reply = send(root + path, headers={"Accept": "application/zip"})
    assert (reply.status, reply.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}, reply


def test_archive_has_the_files_of_a_study(root, samples):
    names = ("ct1", "ct2", "ct3", "report")
    found, _ = fetch_archive(root, samples["ct1"].study_path)
    assert {name.rpartition("/")[2] for name in found} == {
        f"{samples[name].sop_uid}.dcm" for name in names
    }
    assert set(found.values()) == {samples[name].file for name in names}


def test_archive_has_no_implicit_and_no_big_endian_files(root, samples):
    found, _ = fetch_archive(root, samples["frames"].study_path)
    coded, _ = fetch_archive(root, samples["rle"].study_path)
    files = [*found.values(), *coded.values()]
    syntaxes = {str(read_file(file).file_meta.TransferSyntaxUID) for file in files}
    assert syntaxes <= {EXPLICIT_LITTLE, RLE, samples["jpeg"].transfer_syntax}
    assert RLE in syntaxes


def test_archive_is_the_same_each_time_and_is_not_sent_again(root, samples):
    first, reply = fetch_archive(root, samples["ct1"].path)
    again, second = fetch_archive(root, samples["ct1"].path)
    assert reply.body == second.body
    assert first == again
    etag = reply.headers["etag"]
    headers = {"Accept": "application/zip", "If-None-Match": etag}
    assert send(root + samples["ct1"].path, headers=headers).status == 304
    whole = send(root + samples["ct1"].path, headers={"Accept": "application/dicom"})
    assert whole.headers["etag"] != etag


def test_other_media_types_come_before_an_archive_that_is_wanted_less(root, samples):
    accept = 'application/zip;q=0.5, multipart/related; type="application/dicom"'
    reply = send(root + samples["ct1"].path, headers={"Accept": accept})
    assert reply.headers["content-type"].startswith("multipart/related")


@pytest.mark.parametrize("place", ["study_path", "series_path"])
def test_pixel_data_of_many_instances(root, samples, place):
    parts = fetch_parts(root, f"{getattr(samples['ct1'], place)}/pixeldata", OCTETS)
    assert {part.body for part in parts} == {samples[n].frames[0] for n in ("ct1", "ct2", "ct3")}
    assert {part.media_type for part in parts} == {"application/octet-stream"}
    assert all(len(part.body) == int(part.headers["content-length"]) for part in parts)


def test_compressed_pixel_data_are_a_part_for_each_frame(root, samples):
    rle = samples["rle"]
    native = fetch_parts(root, f"{rle.path}/pixeldata", OCTETS)
    assert [part.body for part in native] == list(rle.frames)
    stored = fetch_parts(root, f"{rle.path}/pixeldata", f"{OCTETS}; transfer-syntax=*")
    assert [part.body for part in stored] == list(rle.stored_frames)
    assert {part.transfer_syntax for part in stored} == {RLE}


def test_pixel_data_that_were_big_endian_are_swapped(root, samples):
    (part,) = fetch_parts(root, f"{samples['big'].path}/pixeldata", OCTETS)
    assert part.body == samples["big"].frames[0]


def test_bulk_data_have_documents_too(root, samples):
    (part,) = fetch_parts(root, f"{samples['document'].path}/bulkdata", "*/*")
    assert part.body[: len(PDF)] == PDF
    found = send(part.headers["content-location"], headers={"Accept": "*/*"})
    assert found.body == part.body


def test_what_has_no_pixel_data_is_404(root, samples):
    assert send(f"{root}{samples['report'].path}/pixeldata").status == 404
    assert send(f"{root}/studies/1.2.3/pixeldata").status == 404


@pytest.mark.parametrize("accept", ["image/png", "application/octet-stream"])
def test_other_media_types_are_406(root, samples, accept):
    url = f"{root}{samples['ct1'].series_path}/pixeldata"
    assert send(url, headers={"Accept": accept}).status == 406


def test_head_tells_the_media_type(root, samples):
    for path, accept in (("", "application/zip"), ("/pixeldata", "*/*")):
        reply = send(f"{root}{samples['ct1'].path}{path}", "HEAD", headers={"Accept": accept})
        assert reply.status == 200
        assert reply.body == b""

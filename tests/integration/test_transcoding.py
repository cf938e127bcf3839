"""Instances and frames in other transfer syntaxes, through the front door.

Pixels have to be those that the shared collection's manifest records where two decoders agree on
them, and every lossless target has to decode back to them.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array

from lamella.imaging.decoders import PixelDescription, decode_frame
from lamella.imaging.encoders import TARGETS
from tests.harness.collection import make_collection, open_client
from tests.harness.samples import SHARED, make_instance
from tests.harness.server import RunningServer, serve
from tests.integration.corpus import Sample, find_samples, import_apart, quiet_pydicom

EXPLICIT = "1.2.840.10008.1.2.1"
DCT = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
LOSSLESS = tuple(uid for uid, target in TARGETS.items() if not target.lossy_method)
LOSSY = tuple(uid for uid in TARGETS if uid not in LOSSLESS)
MEDIA_TYPES = {
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.201": "image/jphc",
}
# Every kind of pixel there is, in every kind of file.
BUNDLED = (
    "CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_jp2klossless.dcm",
    "SC_rgb_rle_16bit_2frame.dcm", "SC_rgb_small_odd.dcm",
    "SC_ybr_full_422_uncompressed.dcm", "examples_palette.dcm", "examples_ybr_color.dcm",
    "JPGExtended.dcm", "image_dfl.dcm", "rtdose.dcm", "SC_rgb_small_odd_big_endian.dcm",
)  # fmt: skip
# The manifest has samples as they are coded. This one's header says RGB, its JFIF marker YCbCr,
# and its samples (all colour differences near 128) agree with the marker: it goes out as RGB.
CONVERTED = ("layer1.dcm",)


def read_manifest() -> dict[str, dict[str, str]]:
    """Return the rows of images on which two decoders agree, by path."""
    manifest = SHARED / "MANIFEST.csv"
    if not manifest.exists():
        return {}
    with manifest.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if len(row["pixel_md5_pydicom_raw"]) == 32]
    return {
        row["path"]: row
        for row in rows
        if row["pixel_md5_pydicom_raw"] == row["pixel_md5_gdcm_raw"]
    }


MANIFEST = read_manifest()


@dataclass
class Stored:
    """The files, each in a dataset of its own of a running server."""

    samples: list[Sample]
    server: RunningServer
    client: httpx.Client

    def find(self, name: str) -> Sample:
        return next(sample for sample in self.samples if sample.path.name == name)

    def get(self, sample: Sample, accept: str, resource: str = "") -> httpx.Response:
        url, _ = sample.urls(self.server.http)
        return self.client.get(url + resource, headers={"Accept": accept})

    def read(self, sample: Sample, transfer_syntax_uid: str) -> Dataset | None:
        """Return an instance in a transfer syntax; None if it has no such form."""
        answer = self.get(sample, f"application/dicom; transfer-syntax={transfer_syntax_uid}")
        if answer.status_code == 406:
            return None
        assert answer.status_code == 200, (sample.name, answer.text)
        length = answer.headers.get("content-length")
        assert length is None or int(length) == len(answer.content)
        with quiet_pydicom():
            ds = pydicom.dcmread(io.BytesIO(answer.content))
        assert ds.file_meta.TransferSyntaxUID == transfer_syntax_uid
        return ds


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    folder = tmp_path_factory.mktemp("transcoding")
    samples = [
        sample
        for sample in find_samples()
        if sample.path.name in BUNDLED
        or (sample.name in MANIFEST and SHARED in sample.path.parents)
    ]
    asyncio.run(import_apart(folder / "data", samples, folder / "exported"))
    with serve(folder / "data") as server, open_client() as client:
        yield Stored(samples, server, client)


def decode(ds: Dataset) -> tuple[bytes, str]:
    """Return the pixels of an instance in a compressed transfer syntax, and their colour space."""
    with quiet_pydicom():
        document = ds.group_dataset(0x28).to_json_dict()
    pixel = PixelDescription.from_dicom_json(document, str(ds.file_meta.TransferSyntaxUID))
    frames = list(generate_frames(ds.PixelData, number_of_frames=pixel.frames))
    decoded = [decode_frame(frame, pixel) for frame in frames]
    return b"".join(one.data for one in decoded), decoded[0].photometric_interpretation


def read_native(ds: Dataset) -> tuple[bytes, str]:
    """Return native pixels by pixel, with every sample of its own."""
    with quiet_pydicom():
        array = pixel_array(ds, raw=True)
    photometric = ds.PhotometricInterpretation
    return array.tobytes(), "YBR_FULL" if photometric == "YBR_FULL_422" else photometric


@pytest.mark.skipif(not MANIFEST, reason="the shared collection is not here")
def test_native_pixels_are_those_of_the_manifest(stored: Stored):
    different, compared = [], 0
    for sample in stored.samples:
        row = MANIFEST.get(sample.name)
        if row is None or not sample.is_stored or SHARED not in sample.path.parents:
            continue
        ds = stored.read(sample, EXPLICIT)
        if ds is None:
            different.append((sample.name, "no such form"))
            continue
        pixels, photometric = read_native(ds)
        compared += 1
        if hashlib.md5(pixels).hexdigest() != row["pixel_md5_pydicom_raw"]:
            if sample.path.name in CONVERTED:
                continue
            different.append((sample.name, row["photometric"] + " " + photometric))
    assert different == []
    assert compared > 300


@pytest.mark.parametrize("name", BUNDLED)
def test_lossless_targets_decode_back_to_the_same_pixels(stored: Stored, name: str):
    sample = stored.find(name)
    native = stored.read(sample, EXPLICIT)
    assert native is not None
    pixels, photometric = read_native(native)
    made = 0
    for uid in LOSSLESS:
        ds = stored.read(sample, uid)
        if ds is None or uid == sample.ds.file_meta.TransferSyntaxUID:
            continue
        made += 1
        assert decode(ds) == (pixels, photometric), uid
        assert ds.get("LossyImageCompression") == native.get("LossyImageCompression")
        check_header(ds, native, uid)
    assert made >= (1 if native.BitsAllocated == 32 else 6)


def check_header(ds: Dataset, native: Dataset, uid: str) -> None:
    """Everything but what encoding changes is the same."""
    changed = {0x00280004, 0x00280006, 0x00282110, 0x00282112, 0x00282114, 0x7FE00010}
    with quiet_pydicom():
        ours = {e.tag: e.to_json_dict(None, 0) for e in ds if e.tag not in changed}
        theirs = {e.tag: e.to_json_dict(None, 0) for e in native if e.tag not in changed}
    assert ours == theirs
    if ds.SamplesPerPixel > 1:
        assert ds.PlanarConfiguration == TARGETS[uid].planar_configuration
    assert ds["PixelData"].is_undefined_length


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "SC_ybr_full_422_uncompressed.dcm", "JPGExtended.dcm"]
)
def test_lossy_targets_say_so(stored: Stored, name: str):
    sample = stored.find(name)
    native = stored.read(sample, EXPLICIT)
    assert native is not None
    made = 0
    for uid in LOSSY:
        ds = stored.read(sample, uid)
        if ds is None or uid == sample.ds.file_meta.TransferSyntaxUID:
            continue
        made += 1
        assert ds.LossyImageCompression == "01"
        methods = ds.get("LossyImageCompressionMethod")
        methods = [methods] if isinstance(methods, str) else list(methods)
        assert methods[-1] == TARGETS[uid].lossy_method
        ratios = np.atleast_1d(ds.LossyImageCompressionRatio)
        assert float(ratios[-1]) > 1
        check_header(ds, native, uid)
        decode(ds)
    assert made >= 2


@pytest.mark.parametrize("uid", MEDIA_TYPES)
def test_frames_in_another_transfer_syntax(stored: Stored, uid: str):
    sample = stored.find("SC_rgb_small_odd.dcm")
    whole = stored.read(sample, uid)
    assert whole is not None
    expected = next(generate_frames(whole.PixelData, number_of_frames=1))
    kind = MEDIA_TYPES[uid]
    answer = stored.get(sample, f"{kind}; transfer-syntax={uid}", "/frames/1")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"{kind}; transfer-syntax={uid}"
    assert answer.content.rstrip(b"\0") == expected.rstrip(b"\0")
    accept = f'multipart/related; type="{kind}"; transfer-syntax={uid}'
    parts = stored.get(sample, accept, "/frames/1,1")
    assert parts.headers["content-type"].startswith(f'multipart/related; type="{kind}"')
    assert parts.content.count(expected.rstrip(b"\0")) == 2


def test_an_image_type_alone_means_its_lossless_default(stored: Stored):
    sample = stored.find("CT_small.dcm")
    for uid, kind in MEDIA_TYPES.items():
        if uid.endswith("4.50"):
            continue
        answer = stored.get(sample, kind, "/frames/1")
        assert answer.headers["content-type"] == f"{kind}; transfer-syntax={uid}"


def test_what_a_client_takes_as_gladly_is_not_encoded(stored: Stored):
    sample = stored.find("MR_small_jp2klossless.dcm")
    accept = (
        'multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.80, '
        'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.90'
    )
    answer = stored.get(sample, accept, "/frames/1")
    assert answer.headers["content-type"].startswith('multipart/related; type="image/jp2"')
    accept = "image/jls, image/jp2;q=0.5"
    answer = stored.get(sample, accept, "/frames/1")
    assert answer.headers["content-type"].startswith("image/jls")


@pytest.mark.parametrize(
    ("name", "uid"),
    [
        ("CT_small.dcm", "1.2.840.10008.1.2.4.50"),
        ("CT_small.dcm", "1.2.840.10008.1.2.4.110"),
        ("rtdose.dcm", "1.2.840.10008.1.2.4.80"),
        ("examples_palette.dcm", "1.2.840.10008.1.2.4.50"),
        ("CT_small.dcm", "1.2.840.10008.1.2"),
    ],
)
def test_what_cannot_be_made_is_not_acceptable(stored: Stored, name: str, uid: str):
    sample = stored.find(name)
    assert stored.read(sample, uid) is None
    assert stored.get(sample, f"application/dicom; transfer-syntax={uid}").status_code == 406


def test_many_ask_at_once_and_all_get_the_same(stored: Stored):
    async def ask() -> list[bytes]:
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            url, _ = stored.find("CT_small.dcm").urls(stored.server.http)
            accept = {"Accept": "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.91"}
            answers = await asyncio.gather(*(client.get(url, headers=accept) for _ in range(24)))
        assert {answer.status_code for answer in answers} == {200}
        return [answer.content for answer in answers]

    assert len(set(asyncio.run(ask()))) == 1


def test_an_instance_that_breaks_midway_breaks_the_answer_off(stored: Stored):
    """The status has been sent when a later frame turns out to be broken."""
    frames = np.arange(3 * 64, dtype="u1").reshape(3, 8, 8)
    pixel = PixelDescription(8, 8, 1, 8, 8, 0, "MONOCHROME2", 0, EXPLICIT)
    codestreams = [TARGETS[LOSSLESS[3]].encode(one, pixel, "MONOCHROME2").data for one in frames]
    codestreams[2] = codestreams[2][:20]
    stored_pixel = replace(pixel, transfer_syntax_uid=LOSSLESS[3])
    assert decode_frame(codestreams[0], stored_pixel).data == frames[0].tobytes()
    collection = make_collection(stored.client, stored.server)
    broken = make_instance(
        rows=8, columns=8, BitsAllocated=8, BitsStored=8, HighBit=7, NumberOfFrames=3,
        transfer_syntax=LOSSLESS[3], PixelData=pydicom.encaps.encapsulate(codestreams),
    )  # fmt: skip
    collection.store_well(broken)
    target = "/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1"
    accept = {"Accept": "application/dicom; transfer-syntax=1.2.840.10008.1.2.5"}
    with pytest.raises(httpx.RemoteProtocolError):
        collection.get(target, headers=accept)
    accept = {"Accept": "image/dicom-rle"}
    assert collection.get(f"{target}/frames/2", headers=accept).status_code == 200
    assert collection.get(f"{target}/frames/3", headers=accept).status_code == 406

"""Decoded frames against pydicom, against GDCM's recorded digests, and against their originals."""

from __future__ import annotations

import csv
import hashlib
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import imagecodecs
import jpeg_ls
import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.encaps import generate_frames
from pydicom.filereader import read_file_meta_info

from lamella.errors import BrokenInstance, NotAcceptable
from lamella.imaging.decoders import PixelDescription, can_decode, decode_frame

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "dicom"
JPEG_LOSSLESS, JPEG_12 = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.51"
JPEG_LS, J2K, HTJ2K = (f"1.2.840.10008.1.2.4.{n}" for n in ("80", "90", "201"))
JPEG_XL, RLE = "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.5"
DEFLATED, UNCOMPRESSED = "1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.1.98"
DCT = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")


# What comes with pydicom; its own look-up would try to download the rest.
BUNDLED = Path(pydicom.data.__file__).parent / "test_files"


def bundled(*names: str) -> list[Path]:
    return [path for name in names for path in sorted(BUNDLED.glob(name))]


COLOUR_AND_GREY = bundled(
    "SC_rgb_*.dcm", "SC_jpeg_*.dcm", "JPEG2000.dcm", "693_J2KI.dcm", "GDCMJ2K_TextGBR.dcm",
    "J2K_pixelrep_mismatch.dcm", "MR_small_*.dcm", "examples_*.dcm", "rtdose_rle*.dcm",
    "JPEGLSNearLossless_*.dcm",
)  # fmt: skip


def filter_encapsulated(paths: list[Path]) -> list[Path]:
    metas = [(path, read_file_meta_info(path)) for path in paths]
    return [path for path, meta in metas if meta.TransferSyntaxUID.is_encapsulated]


def read(path: str | Path) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path)


def describe(ds: pydicom.Dataset) -> PixelDescription:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attributes = ds.group_dataset(0x28).to_json_dict()
    return PixelDescription.from_dicom_json(attributes, str(ds.file_meta.TransferSyntaxUID))


def decode_all(ds: pydicom.Dataset) -> tuple[bytes, str, PixelDescription]:
    pixel = describe(ds)
    frames = list(generate_frames(ds.PixelData, number_of_frames=pixel.frames))
    decoded = [decode_frame(frame, pixel) for frame in frames]
    photometric = {frame.photometric_interpretation for frame in decoded}
    assert len(photometric) == 1
    return b"".join(frame.data for frame in decoded), photometric.pop(), pixel


@pytest.mark.parametrize("path", filter_encapsulated(COLOUR_AND_GREY), ids=lambda path: path.name)
def test_bundled_files_agree_with_pydicom(path):
    ds = read(path)
    data, photometric, pixel = decode_all(ds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds.decompress(generate_instance_uid=False)
    except RuntimeError:  # pydicom has no decoder for it, so there is nothing to compare with
        assert len(data) == pixel.value_bytes
        return
    assert photometric == ds.PhotometricInterpretation
    dtype = f"<u{pixel.bits_allocated // 8}"
    mine = np.frombuffer(data, dtype).astype("i8")
    theirs = np.frombuffer(ds.PixelData[: len(data)], dtype).astype("i8")
    # libjpeg and pydicom's floats round differently now and then.
    tolerance = 1 if pixel.transfer_syntax_uid in DCT and pixel.samples == 3 else 0
    assert np.abs(mine - theirs).max() <= tolerance


def shared_rows() -> list[dict[str, str]]:
    manifest = SHARED / "MANIFEST.csv"
    if not manifest.exists():
        return []
    with manifest.open(newline="") as lines:
        return [
            row
            for row in csv.DictReader(lines)
            if can_decode(row["transfer_syntax_uid"])
            and row["frames"] in ("", "1")
            and row["samples"] == "1"
            and len(row["pixel_md5_gdcm_raw"]) == 32
        ]


@pytest.mark.parametrize("row", shared_rows(), ids=lambda row: Path(row["path"]).name)
def test_shared_files_agree_with_gdcm(row):
    data, _, _ = decode_all(read(SHARED / row["path"]))
    assert hashlib.md5(data).hexdigest() == row["pixel_md5_gdcm_raw"]


@pytest.mark.skipif(not SHARED.exists(), reason="no shared data")
@pytest.mark.parametrize("name", ["liver", "liver_nonbyte_aligned"])
def test_one_bit_frames_agree_among_codecs(name):
    folder = next(SHARED.rglob(f"{name}_rle.dcm")).parent
    decoded = {
        decode_all(read(folder / f"{name}_{codec}.dcm"))[0] for codec in ("rle", "deflate", "j2k")
    }
    assert len(decoded) == 1


def pixel_of(array: np.ndarray, uid: str, bits_stored: int = 0, **more: object) -> PixelDescription:
    bits = array.dtype.itemsize * 8
    samples = array.shape[2] if array.ndim == 3 else 1
    plain = PixelDescription(
        rows=array.shape[0],
        columns=array.shape[1],
        samples=samples,
        bits_allocated=bits,
        bits_stored=bits_stored or bits,
        pixel_representation=int(array.dtype.kind == "i"),
        photometric_interpretation="RGB" if samples == 3 else "MONOCHROME2",
        planar_configuration=0,
        transfer_syntax_uid=uid,
    )
    return replace(plain, **more)


def encode_lossless(array: np.ndarray, bits: int = 16) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(array, lossless=True, bitspersample=bits))


RNG = np.random.default_rng(7)
GREY_8 = RNG.integers(0, 256, (13, 17), "u1")
GREY_16 = RNG.integers(0, 65536, (13, 17), "u2")
GREY_12 = RNG.integers(0, 4096, (16, 24), "u2")
SIGNED_16 = RNG.integers(-32768, 32768, (13, 17), "i2")
SIGNED_12 = RNG.integers(-2048, 2048, (13, 17), "i2")
COLOUR = RNG.integers(0, 256, (13, 17, 3), "u1")


@pytest.mark.parametrize(
    ("uid", "array", "codestream", "bits_stored"),
    [
        (JPEG_LS, GREY_8, imagecodecs.jpegls_encode(GREY_8), 8),
        (JPEG_LS, GREY_16, imagecodecs.jpegls_encode(GREY_16), 16),
        (JPEG_LS, SIGNED_16, imagecodecs.jpegls_encode(SIGNED_16.view("u2")), 16),
        (JPEG_LS, COLOUR, imagecodecs.jpegls_encode(COLOUR), 8),
        (J2K, GREY_16, imagecodecs.jpeg2k_encode(GREY_16, codecformat="j2k", reversible=True), 16),
        (J2K, SIGNED_16, imagecodecs.jpeg2k_encode(SIGNED_16, reversible=True), 16),
        (J2K, COLOUR, imagecodecs.jpeg2k_encode(COLOUR, codecformat="j2k", reversible=True), 8),
        (HTJ2K, GREY_16, imagecodecs.htj2k_encode(GREY_16), 16),
        (HTJ2K, SIGNED_16, imagecodecs.htj2k_encode(SIGNED_16), 16),
        (JPEG_LOSSLESS, GREY_8, imagecodecs.jpeg8_encode(GREY_8, lossless=True), 8),
        (JPEG_LOSSLESS, GREY_16, encode_lossless(GREY_16), 16),
        (JPEG_LOSSLESS, SIGNED_16, encode_lossless(SIGNED_16.view("u2")), 16),
        (JPEG_XL, GREY_16, imagecodecs.jpegxl_encode(GREY_16, lossless=True), 16),
        (JPEG_XL, COLOUR, imagecodecs.jpegxl_encode(COLOUR, lossless=True), 8),
        (DEFLATED, GREY_16, zlib.compress(GREY_16.tobytes(), wbits=-15), 16),
        (UNCOMPRESSED, GREY_16, GREY_16.tobytes(), 16),
    ],
)  # fmt: skip
def test_lossless_codestreams_give_their_original(uid, array, codestream, bits_stored):
    frame = decode_frame(bytes(codestream), pixel_of(array, uid, bits_stored))
    assert frame.data == array.tobytes()
    assert frame.photometric_interpretation == ("RGB" if array.ndim == 3 else "MONOCHROME2")


@pytest.mark.parametrize("uid", [JPEG_LS, JPEG_LOSSLESS])
def test_signed_values_extend_over_their_container(uid):
    bits = (SIGNED_12 & 0xFFF).view("u2")
    if uid == JPEG_LS:
        stream = bytes(jpeg_ls.encode_buffer(bits.tobytes(), 13, 17, 1, 12))
    else:
        stream = encode_lossless(bits, 12)
    assert decode_frame(stream, pixel_of(SIGNED_12, uid, 12)).data == SIGNED_12.tobytes()


def test_samples_narrower_than_their_container_are_widened():
    stream = bytes(imagecodecs.jpeg2k_encode(GREY_8, codecformat="j2k", reversible=True))
    frame = decode_frame(stream, pixel_of(GREY_8, J2K, bits_allocated=16, bits_stored=8))
    assert frame.data == GREY_8.astype("<u2").tobytes()


def test_twelve_bit_jpeg_is_decoded():
    stream = bytes(imagecodecs.jpeg8_encode(GREY_12, level=100, bitspersample=12))
    frame = decode_frame(stream, pixel_of(GREY_12, JPEG_12, 12))
    found = np.frombuffer(frame.data, "<u2").reshape(GREY_12.shape).astype(int)
    assert np.abs(found - GREY_12).max() < 40


@pytest.mark.parametrize("uid", [UNCOMPRESSED, DEFLATED])
def test_planes_become_pixels(uid):
    planes = COLOUR.transpose(2, 0, 1).tobytes()
    stream = planes if uid == UNCOMPRESSED else zlib.compress(planes, wbits=-15)
    pixel = pixel_of(COLOUR, uid, planar_configuration=1)
    assert decode_frame(stream, pixel).data == COLOUR.tobytes()


def test_lossless_ybr_is_kept():
    stream = bytes(imagecodecs.jpegls_encode(COLOUR))
    pixel = pixel_of(COLOUR, JPEG_LS, photometric_interpretation="YBR_FULL_422")
    frame = decode_frame(stream, pixel)
    assert (frame.data, frame.photometric_interpretation) == (COLOUR.tobytes(), "YBR_FULL")


@pytest.mark.parametrize(
    ("uid", "encode"),
    [
        (JPEG_LS, imagecodecs.jpegls_encode),
        (J2K, imagecodecs.jpeg2k_encode),
        (JPEG_XL, imagecodecs.jpegxl_encode),
        (JPEG_LOSSLESS, encode_lossless),
    ],
)
def test_codestreams_that_contradict_the_attributes_are_refused(uid, encode):
    stream = bytes(encode(GREY_16))
    pixel = pixel_of(GREY_16, uid)
    assert decode_frame(stream, pixel).data
    for wrong in ({"rows": 14}, {"columns": 16}, {"samples": 3}, {"bits_allocated": 8}):
        if wrong == {"bits_allocated": 8}:
            wrong["bits_stored"] = 8
        with pytest.raises(BrokenInstance):
            decode_frame(stream, replace(pixel, **wrong))
    for broken in (b"", b"\xff", stream[:40], bytes(100), stream[: len(stream) // 2]):
        with pytest.raises(BrokenInstance):
            decode_frame(broken, pixel)


def test_broken_rle_and_deflate_are_refused():
    for uid, stream in ((RLE, bytes(64)), (RLE, b"\x02\x00"), (DEFLATED, b"\xff" * 9)):
        with pytest.raises(BrokenInstance):
            decode_frame(stream, pixel_of(GREY_16, uid))
    bomb = zlib.compress(bytes(1 << 24), wbits=-15)
    with pytest.raises(BrokenInstance):
        decode_frame(bomb, pixel_of(GREY_16, DEFLATED))


def test_video_cannot_be_decoded():
    uid = "1.2.840.10008.1.2.4.102"
    assert not can_decode(uid)
    with pytest.raises(NotAcceptable):
        decode_frame(b"", pixel_of(GREY_8, uid))


@pytest.mark.parametrize(
    "change",
    [
        {"00280010": None},
        {"00280011": {"vr": "US", "Value": [0]}},
        {"00280100": {"vr": "US", "Value": [12]}},
        {"00280101": {"vr": "US", "Value": [17]}},
        {"00280002": {"vr": "US", "Value": [4]}},
        {"00280008": {"vr": "IS", "Value": ["many"]}},
        {"00280010": {"vr": "US", "Value": [60000]}, "00280011": {"vr": "US", "Value": [60000]}},
    ],
)
def test_descriptions_that_make_no_sense_are_refused(change):
    attributes = {
        "00280002": {"vr": "US", "Value": [1]},
        "00280004": {"vr": "CS", "Value": ["MONOCHROME2"]},
        "00280010": {"vr": "US", "Value": [4]},
        "00280011": {"vr": "US", "Value": [5]},
        "00280100": {"vr": "US", "Value": [16]},
        "00280101": {"vr": "US", "Value": [12]},
        "00280103": {"vr": "US", "Value": [0]},
    }
    assert PixelDescription.from_dicom_json(attributes, J2K).frame_bytes == 40
    attributes |= {tag: value for tag, value in change.items() if value}
    for tag, value in change.items():
        if value is None:
            del attributes[tag]
    with pytest.raises(BrokenInstance):
        PixelDescription.from_dicom_json(attributes, J2K)

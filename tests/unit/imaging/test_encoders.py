"""Every target transfer syntax: back to equal pixels, also by other people's decoders."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from lamella.errors import NotAcceptable
from lamella.imaging.decoders import PixelDescription, decode_frame
from lamella.imaging.encoders import (
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_RPCL,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS,
    JPEG_LS_NEAR,
    RLE,
    TARGETS,
    can_encode,
    encode_frame,
)

RNG = np.random.default_rng(8)
EXPLICIT = "1.2.840.10008.1.2.1"
LOSSLESS = [uid for uid, target in TARGETS.items() if not target.lossy_method]
LOSSY = [uid for uid, target in TARGETS.items() if target.lossy_method]
# (bits allocated, bits stored, signed, samples)
FORMATS = [
    (8, 8, 0, 1), (8, 8, 1, 1), (8, 7, 0, 1), (16, 12, 0, 1), (16, 12, 1, 1), (16, 16, 0, 1),
    (16, 16, 1, 1), (16, 10, 1, 1), (8, 8, 0, 3), (16, 16, 0, 3), (16, 12, 0, 3),
    (32, 32, 0, 1), (32, 32, 1, 1), (32, 20, 0, 1), (32, 32, 0, 3),
]  # fmt: skip
SIZES = [(1, 1), (3, 5), (31, 33), (64, 80)]


def make(
    size: tuple[int, int], form: tuple[int, int, int, int], *, smooth: bool = False
) -> tuple[np.ndarray, PixelDescription]:
    allocated, stored, signed, samples = form
    low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    shape = size if samples == 1 else (*size, samples)
    if smooth:
        ramp = np.add.outer(np.linspace(0, 0.5, size[0]), np.linspace(0, 0.5, size[1]))
        values = low + (high - low) * (ramp if samples == 1 else np.stack([ramp] * samples, -1))
    else:
        values = RNG.integers(low, high, shape, endpoint=True)
    array = values.astype(f"<{'i' if signed else 'u'}{allocated // 8}")
    photometric = "RGB" if samples == 3 else "MONOCHROME2"
    pixel = PixelDescription(*size, samples, allocated, stored, signed, photometric, 0, EXPLICIT)
    return array, pixel


def after(pixel: PixelDescription, uid: str, photometric: str) -> PixelDescription:
    return replace(pixel, transfer_syntax_uid=uid, photometric_interpretation=photometric)


def decode(data: bytes, pixel: PixelDescription, like: np.ndarray) -> np.ndarray:
    return np.frombuffer(decode_frame(data, pixel).data, like.dtype).reshape(like.shape)


def list_lossless() -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    for uid in LOSSLESS:
        for form in FORMATS:
            if can_encode(uid, make((1, 1), form)[1]):
                yield uid, form


@pytest.mark.parametrize(("uid", "form"), list(list_lossless()))
@pytest.mark.parametrize("size", SIZES)
def test_lossless_targets_decode_to_equal_pixels(uid, form, size):
    for smooth in (False, True):
        array, pixel = make(size, form, smooth=smooth)
        frame = encode_frame(array.tobytes(), pixel, uid)
        back = decode(frame.data, after(pixel, uid, frame.photometric_interpretation), array)
        np.testing.assert_array_equal(back, array)


def read_with_pydicom(data: bytes, pixel: PixelDescription, photometric: str, uid: str):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid
    ds.Rows, ds.Columns, ds.SamplesPerPixel = pixel.rows, pixel.columns, pixel.samples
    ds.BitsAllocated, ds.BitsStored = pixel.bits_allocated, pixel.bits_stored
    ds.HighBit, ds.PixelRepresentation = pixel.bits_stored - 1, pixel.pixel_representation
    ds.PhotometricInterpretation = photometric
    if pixel.samples == 3:
        ds.PlanarConfiguration = TARGETS[uid].planar_configuration
    ds.PixelData = encapsulate([data])
    ds["PixelData"].is_undefined_length = True
    return ds.pixel_array


@pytest.mark.parametrize(
    ("uid", "form"),
    [pair for pair in list_lossless() if pair[0] not in (JPEG_LOSSLESS, JPEG_LOSSLESS_SV1)],
)
def test_pydicoms_decoders_agree(uid, form):
    array, pixel = make((31, 33), form)
    frame = encode_frame(array.tobytes(), pixel, uid)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs = read_with_pydicom(frame.data, pixel, frame.photometric_interpretation, uid)
    np.testing.assert_array_equal(theirs, array)


@pytest.mark.parametrize("form", [form for form in FORMATS if form[0] < 32])
def test_another_decoder_of_lossless_jpeg_agrees(form):
    array, pixel = make((31, 33), form)
    frame = encode_frame(array.tobytes(), pixel, JPEG_LOSSLESS_SV1)
    theirs = imagecodecs.jpegsof3_decode(frame.data)
    mask = (1 << pixel.bits_stored) - 1
    np.testing.assert_array_equal(theirs, array.astype(np.int64) & mask)


@pytest.mark.parametrize("uid", LOSSLESS)
@pytest.mark.parametrize("signed", [0, 1])
def test_bits_beyond_those_stored_are_kept(uid, signed):
    array = RNG.integers(0, 65536, (16, 16)).astype("<u2")
    pixel = PixelDescription(16, 16, 1, 16, 12, signed, "MONOCHROME2", 0, EXPLICIT)
    frame = encode_frame(array.tobytes(), pixel, uid)
    back = decode(frame.data, after(pixel, uid, "MONOCHROME2"), array)
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("uid", LOSSLESS)
def test_what_is_compressed_otherwise_or_in_planes_is_encoded_all_the_same(uid):
    array, pixel = make((20, 24), (8, 8, 0, 3))
    planes = np.moveaxis(array, -1, 0).tobytes()
    frame = encode_frame(planes, replace(pixel, planar_configuration=1), uid)
    np.testing.assert_array_equal(
        decode(frame.data, after(pixel, uid, frame.photometric_interpretation), array), array
    )
    stored = after(pixel, JPEG_LS, "RGB")
    again = encode_frame(bytes(imagecodecs.jpegls_encode(array)), stored, uid)
    assert again == frame


@pytest.mark.parametrize("uid", LOSSLESS)
def test_ybr_and_palettes_are_not_converted(uid):
    array, pixel = make((20, 24), (8, 8, 0, 3))
    pixel = replace(pixel, photometric_interpretation="YBR_FULL")
    frame = encode_frame(array.tobytes(), pixel, uid)
    assert frame.photometric_interpretation == "YBR_FULL"
    np.testing.assert_array_equal(decode(frame.data, after(pixel, uid, "YBR_FULL"), array), array)
    indices, pixel = make((20, 24), (8, 8, 0, 1))
    pixel = replace(pixel, photometric_interpretation="PALETTE COLOR")
    frame = encode_frame(indices.tobytes(), pixel, uid)
    assert frame.photometric_interpretation == "PALETTE COLOR"


@pytest.mark.parametrize(
    ("uid", "photometric"),
    [
        (RLE, "RGB"),
        (JPEG_LOSSLESS_SV1, "RGB"),
        (JPEG_LS, "RGB"),
        (JPEG_LS_NEAR, "RGB"),
        (JPEG_2000_LOSSLESS, "YBR_RCT"),
        (JPEG_2000, "YBR_ICT"),
        (HTJ2K_LOSSLESS, "YBR_RCT"),
        (HTJ2K_RPCL, "YBR_RCT"),
        (HTJ2K, "YBR_RCT"),
        (JPEG_BASELINE, "YBR_FULL_422"),
        (JPEG_EXTENDED, "YBR_FULL_422"),
    ],
)
def test_photometric_interpretation_of_colour(uid, photometric):
    array, pixel = make((32, 32), (8, 8, 0, 3), smooth=True)
    assert encode_frame(array.tobytes(), pixel, uid).photometric_interpretation == photometric


@pytest.mark.parametrize("uid", LOSSY)
@pytest.mark.parametrize("form", [(8, 8, 0, 1), (16, 12, 0, 1), (8, 8, 0, 3), (16, 16, 1, 1)])
def test_lossy_targets_come_close(uid, form):
    array, pixel = make((64, 64), form, smooth=True)
    if not can_encode(uid, pixel):
        with pytest.raises(NotAcceptable):
            encode_frame(array.tobytes(), pixel, uid)
        return
    frame = encode_frame(array.tobytes(), pixel, uid)
    back = decode(frame.data, after(pixel, uid, frame.photometric_interpretation), array)
    error = np.abs(back.astype(float) - array) / (1 << pixel.bits_stored)
    assert error.mean() < 0.008
    assert error.max() < 0.06
    assert len(frame.data) < array.nbytes


@pytest.mark.parametrize(
    ("changes", "impossible"),
    [
        ({"bits_allocated": 1, "bits_stored": 1}, set(TARGETS)),
        ({"bits_allocated": 64, "bits_stored": 64}, set(TARGETS)),
        ({"bits_allocated": 32, "bits_stored": 32}, set(TARGETS) - {RLE}),
        ({"pixel_representation": 1}, {JPEG_BASELINE, JPEG_EXTENDED}),
        ({"bits_allocated": 16, "bits_stored": 12}, {JPEG_BASELINE}),
        ({"bits_allocated": 16, "bits_stored": 16}, {JPEG_BASELINE, JPEG_EXTENDED}),
        ({"photometric_interpretation": "PALETTE COLOR"}, set(LOSSY)),
        ({}, set()),
    ],
)
def test_what_cannot_be_encoded(changes, impossible):
    _, pixel = make((4, 4), (8, 8, 0, 1))
    pixel = replace(pixel, **changes)
    assert {uid for uid in TARGETS if not can_encode(uid, pixel)} == impossible


@pytest.mark.parametrize("uid", [HTJ2K_LOSSLESS, HTJ2K_RPCL, HTJ2K])
def test_htj2k_goes_by_resolution_with_tile_part_lengths(uid):
    array, pixel = make((512, 512), (16, 12, 0, 1))
    data = encode_frame(array.tobytes(), pixel, uid).data
    cod = data.index(b"\xff\x52")
    assert data[cod + 5] == 2  # progression order RPCL
    assert b"\xff\x55" in data[:200]  # TLM
    smallest = 512 >> data[cod + 9]
    assert smallest <= 64  # PS3.5 A.4.12

"""Boxes are black afterwards, everything else is as it was, in every transfer syntax."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from pydicom import FileDataset

from lamella.deid.pixels.boxes import Box
from lamella.deid.pixels.cleaning import black_boxes
from lamella.deid.pixels.frames import Array, Frames
from tests.unit.deid.pixels.pictured import NATIVE, NATIVES, draw_noise, make_image

PREFIX = "1.2.840.10008.1.2."
LOSSLESS = [PREFIX + uid for uid in ("5", "4.57", "4.70", "4.80", "4.90", "4.201", "4.202")]
LOSSY = {PREFIX + "4.81": PREFIX + "4.80", PREFIX + "4.91": PREFIX + "4.90"}
DCT = [PREFIX + "4.50", PREFIX + "4.51"]
BOXES = (Box(3, 5, 20, 12), Box(30, 30, 41, 33))


def read_all(attributes: FileDataset) -> tuple[list[Array], str]:
    """Return an instance's frames after it has been written and read again."""
    with io.BytesIO() as file:
        attributes.save_as(file, enforce_file_format=True)
        file.seek(0)
        again = pydicom.dcmread(file)
    frames = Frames(again)
    read = [frames.samples(stored) for stored in frames.stored()]
    return [samples for samples, _ in read], read[0][1]


def see_scrubbed(source: FileDataset, expected_uid: str) -> None:
    """Black boxes in the first frame and see that they are, and that nothing else changed."""
    before, _ = read_all(source)
    kept = bytes(source.PixelData)
    boxes = [BOXES] + [()] * (len(before) - 1)
    cleaned = black_boxes(source, boxes)
    assert bytes(source.PixelData) == kept
    assert cleaned.is_changed
    assert cleaned.attributes.file_meta.TransferSyntaxUID == expected_uid
    assert cleaned.attributes.BurnedInAnnotation == "NO"
    after, photometric = read_all(cleaned.attributes)
    inside = np.zeros(before[0].shape[:2], bool)
    for box in BOXES:
        inside[box.top : box.bottom, box.left : box.right] = True
        part = after[0][box.top : box.bottom, box.left : box.right]
        assert (part == part[0, 0]).all()
    dark = before[0].max() if photometric == "MONOCHROME1" else before[0].min()
    if before[0].ndim == 2:
        assert (after[0][inside] == dark).all()
    assert (after[0][~inside] == before[0][~inside]).all()
    for one, other in zip(before[1:], after[1:], strict=True):
        assert (one == other).all()


GREY_8 = draw_noise(64, 48)
GREY_16 = (GREY_8.astype("u2") * 17) + 5
SIGNED = GREY_8.astype("i2") * 9 - 1024
RGB = np.stack([GREY_8, GREY_8 // 2, 255 - GREY_8], axis=-1)


@pytest.mark.parametrize("uid", [*NATIVES, *LOSSLESS])
@pytest.mark.parametrize(
    "samples", [GREY_8, GREY_16, SIGNED, RGB], ids=["8", "16", "signed", "rgb"]
)
def test_outside_of_boxes_nothing_changes(uid: str, samples: Array) -> None:
    see_scrubbed(make_image([samples], uid), uid)


@pytest.mark.parametrize("uid", [*NATIVES, *LOSSLESS])
def test_frames_without_boxes_stay(uid: str) -> None:
    see_scrubbed(make_image([GREY_16, GREY_16 + 1, GREY_16 + 2], uid), uid)


@pytest.mark.parametrize(("uid", "kept"), LOSSY.items())
def test_what_was_lossy_loses_nothing_more(uid: str, kept: str) -> None:
    see_scrubbed(make_image([GREY_8, GREY_8], uid), kept)


@pytest.mark.parametrize("uid", DCT)
@pytest.mark.parametrize("samples", [GREY_8, RGB], ids=["grey", "colour"])
def test_dct_becomes_native(uid: str, samples: Array) -> None:
    see_scrubbed(make_image([samples], uid), NATIVE)


@pytest.mark.parametrize("uid", [*NATIVES])
def test_planes_are_found(uid: str) -> None:
    see_scrubbed(make_image([RGB, RGB], uid, planar=1), uid)


def test_monochrome1_is_black_at_its_highest_value() -> None:
    see_scrubbed(make_image([GREY_16], photometric="MONOCHROME1"), NATIVE)


def test_subsampled_colours_keep_their_form() -> None:
    luma = draw_noise(64, 48).reshape(64, -1, 2)
    pairs = np.concatenate([luma, np.full((64, 24, 2), 90, "u1")], axis=-1)
    source = make_image([RGB], photometric="YBR_FULL_422")
    source.PixelData = pairs.tobytes()
    cleaned = black_boxes(source, [[Box(4, 5, 20, 12)]])
    after = np.frombuffer(cleaned.attributes.PixelData, "u1").reshape(64, -1, 4)
    assert (after[5:12, 2:10] == (0, 0, 128, 128)).all()
    after = after.copy()
    after[5:12, 2:10] = pairs[5:12, 2:10]
    assert (after == pairs).all()


def test_one_list_of_boxes_stands_for_all_frames() -> None:
    cleaned = black_boxes(make_image([GREY_8, GREY_8]), [[Box(-5, -5, 4, 4), Box(60, 60, 70, 70)]])
    assert cleaned.boxes == ((Box(0, 0, 4, 4),), (Box(0, 0, 4, 4),))
    for frame in read_all(cleaned.attributes)[0]:
        assert (frame[:4, :4] == GREY_8.min()).all()

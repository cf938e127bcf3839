"""Burned-in text: lines are covered, clean images stay, nothing outside of boxes changes.

The short form has some kinds of pixel data and some clean images; the long one (`make soak`) all of
both: every file at hand on which nobody sees text has to come out with the pixels it had.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom import FileDataset, dcmread
from pydicom.data import get_testdata_file

from lamella.deid.identifiers import collect
from lamella.deid.pixels.boxes import Box
from lamella.deid.pixels.cleaning import clean_pixels, find_engine
from lamella.deid.pixels.engines import BurnedInTextFinder
from lamella.deid.pixels.frames import Array, Frames
from lamella.deid.profiles import BUILT_IN
from tests.integration.corpus import ROOTS, quiet_pydicom
from tests.unit.deid.pixels.pictured import NATIVE, burn, draw_noise, make_image

BASIC = BUILT_IN["basic"]
_PREFIX = "1.2.840.10008.1.2."
RLE, BASELINE, LOSSLESS = _PREFIX + "5", _PREFIX + "4.50", _PREFIX + "4.70"
JPEG_LS, JPEG_2000, HTJ2K = _PREFIX + "4.80", _PREFIX + "4.90", _PREFIX + "4.201"
SOME_KINDS = (RLE, BASELINE, JPEG_2000, JPEG_LS)
ALL_KINDS = (NATIVE, *SOME_KINDS, LOSSLESS, HTJ2K)
TEXTS = (
    "SMITH^JOHN",
    "Mary Hargreaves",
    "DOB 1961-03-12",
    "MRN 44718231",
    "St. Brigid Memorial",
    "Acc 20260114477",
)
SIZES = (14, 15, 16, 18, 22, 28)
"""Of fonts whose capitals are 10 pixels high at the least."""
SOME_CLEAN = (
    "CT_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
)
WITH_TEXT = (
    "test-images/no-pixel-spacing.dcm",
    "testImages/US-YBR_FULL_422-EVRLE.dcm",
    "US-RGB-8-epicard.dcm",
    "ConsoleTest/test1.dcm",
    "ConsoleTest/test2.dcm",
    "TranscodingSamples/",
    "ultrasounds/",
    "JPGLosslessP14SV1_1s_1f_8b.dcm",
    "OBXXXX1A",
    "gdcm-US-ALOKA-16",
    "GDCMJ2K_TextGBR.dcm",
    "US1_",
    "examples_jpeg2k.dcm",
    "examples_palette.dcm",
    "examples_rgb_color.dcm",
    "examples_ybr_color.dcm",
    "mlut_18.dcm",
    "vlut_04.dcm",
)
"""Parts of paths of files on which somebody who looks sees text."""


@pytest.fixture(scope="module")
def engine() -> BurnedInTextFinder:
    found = find_engine(BASIC)
    assert found is not None
    return found


@dataclass
class Written:
    """An instance of two frames, and where lines were written into each."""

    source: FileDataset
    lines: tuple[tuple[Box, ...], ...]


def write_lines(uid: str, seed: int) -> Written:
    """Return two frames of six lines each, in other sizes, greys and places."""
    frames, lines = [], []
    for number in range(2):
        picture = draw_noise(288, 352, seed + number)
        boxes = [
            burn(
                picture,
                text,
                6 + 17 * ((index * 5 + seed + number) % 6),
                4 + 47 * index,
                size=SIZES[(index + seed + number) % len(SIZES)],
                value=(255, 200, 230)[(index + number) % 3],
            )
            for index, text in enumerate(TEXTS)
        ]
        frames.append(picture)
        lines.append(tuple(boxes))
    return Written(make_image(frames, uid), tuple(lines))


def read_samples(attributes: FileDataset) -> list[Array]:
    frames = Frames(attributes)
    return [frames.samples(stored)[0] for stored in frames.stored()]


def hide(shape: tuple[int, ...], boxes: tuple[Box, ...]) -> Array:
    hidden = np.zeros(shape[:2], bool)
    for box in boxes:
        hidden[box.top : box.bottom, box.left : box.right] = True
    return hidden


def examine_lines(uid: str, seed: int, engine: BurnedInTextFinder) -> Counter[str]:
    """Count lines, and those that are covered; see that nothing else changed."""
    written = write_lines(uid, seed)
    cleaned = clean_pixels(written.source, BASIC, collect(written.source, BASIC), engine)
    assert cleaned.reasons == ()
    counts: Counter[str] = Counter()
    both = zip(read_samples(written.source), read_samples(cleaned.attributes), strict=True)
    for (before, after), lines, boxes in zip(both, written.lines, cleaned.boxes, strict=True):
        hidden = hide(before.shape, boxes)
        assert np.array_equal(before[~hidden], after[~hidden])
        assert len(np.unique(after[hidden])) == 1
        counts["lines"] += len(lines)
        counts["covered"] += sum(
            bool(hidden[line.top : line.bottom, line.left : line.right].all()) for line in lines
        )
    return counts


@pytest.mark.parametrize("uid", SOME_KINDS)
def test_lines_are_covered_and_nothing_else(engine: BurnedInTextFinder, uid: str) -> None:
    counts = examine_lines(uid, 1, engine)
    assert counts["covered"] == counts["lines"] == 12


@pytest.mark.soak
@pytest.mark.parametrize("uid", ALL_KINDS)
def test_98_of_100_lines_are_covered(engine: BurnedInTextFinder, uid: str) -> None:
    counts: Counter[str] = Counter()
    for seed in range(100, 109):
        counts += examine_lines(uid, seed, engine)
    assert counts["covered"] >= 0.98 * counts["lines"] > 100


def find_false_boxes(path: Path, engine: BurnedInTextFinder) -> bool:
    """Tell whether pixels of a clean image changed."""
    with quiet_pydicom():
        source = dcmread(path)
        cleaned = clean_pixels(source, BASIC, collect(source, BASIC), engine)
    return cleaned.is_changed or cleaned.attributes.PixelData != source.PixelData


@pytest.mark.parametrize("name", SOME_CLEAN)
def test_clean_images_stay(engine: BurnedInTextFinder, name: str) -> None:
    found = get_testdata_file(name)
    assert found is not None
    assert not find_false_boxes(Path(str(found)), engine)


def list_clean() -> Iterator[Path]:
    """Yield each file at hand whose pixels show no text, equal ones once."""
    seen = set()
    for root in ROOTS:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            try:
                attributes = dcmread(path)
                value = attributes.PixelData if attributes.file_meta.TransferSyntaxUID else b""
            except Exception:  # noqa: BLE001 (no DICOM file, or one without pixels)
                continue
            digest = hashlib.sha256(value or b"").digest()
            if value and digest not in seen and not any(part in str(path) for part in WITH_TEXT):
                seen.add(digest)
                yield path


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_no_clean_image_at_all_gets_a_box(engine: BurnedInTextFinder) -> None:
    with quiet_pydicom():
        paths = list(list_clean())
    assert len(paths) > 100
    assert [path.name for path in paths if find_false_boxes(path, engine)] == []

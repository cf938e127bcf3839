"""Burned-in lines are found and blacked, in pixels of every kind; clean images stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from pydicom import DataElement, Dataset

from lamella.deid.identifiers import Identifiers, collect
from lamella.deid.pixels.boxes import Box
from lamella.deid.pixels.cleaning import clean_pixels, find_engine
from lamella.deid.pixels.engines import BurnedInTextFinder, Line, Picture
from lamella.deid.pixels.frames import Array
from lamella.deid.pixels.words import must_go
from lamella.deid.profiles import BUILT_IN, PixelPolicy, Profile, TextPolicy
from lamella.deid.results import Verdict
from lamella.errors import InvalidRequest
from tests.unit.deid.pixels.pictured import NATIVE, NATIVES, burn, draw_noise, make_image

BASIC = BUILT_IN["basic"]
PREFIX = "1.2.840.10008.1.2."
KINDS = ("8", "16", "signed", "inverted", "rgb", "palette")


@pytest.fixture(scope="module")
def engine() -> BurnedInTextFinder:
    found = find_engine(BASIC)
    assert found is not None
    return found


def make_kind(kind: str, picture: Array) -> tuple[Array, dict[str, object]]:
    """Return samples of some kind that look like an 8-bit picture."""
    if kind == "16":
        return picture.astype("u2") * 12, {"bits_stored": 12}
    if kind == "signed":
        return picture.astype("i2") * 8 - 1000, {}
    if kind == "inverted":
        return 255 - picture, {"photometric": "MONOCHROME1"}
    if kind == "rgb":
        return np.stack([picture, picture, picture // 2], axis=-1), {}
    if kind == "palette":
        ramp = (np.arange(256, dtype="u2") * 257).tobytes()
        names = ("Red", "Green", "Blue")
        tables: dict[str, object] = {f"{name}PaletteColorLookupTableData": ramp for name in names}
        tables |= {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in names}
        return picture, {"photometric": "PALETTE COLOR", **tables}
    return picture, {}


def covers(boxes: Sequence[Box], letters: Box) -> bool:
    """Tell whether boxes together hide all of a line."""
    hidden = np.zeros((1024, 1024), bool)
    for box in boxes:
        hidden[box.top : box.bottom, box.left : box.right] = True
    return bool(hidden[letters.top : letters.bottom, letters.left : letters.right].all())


@pytest.mark.parametrize("kind", KINDS)
def test_lines_are_covered(engine: BurnedInTextFinder, kind: str) -> None:
    picture = draw_noise(256, 320)
    lines = [
        burn(picture, "SMITH JOHN 12/03/1961", 8, 8, size=12),
        burn(picture, "MRN447182", 200, 230, size=18, value=200),
        burn(picture, "St. Mary Hospital", 12, 120, size=24),
    ]
    samples, attributes = make_kind(kind, picture)
    source = make_image([samples], **attributes)  # type: ignore[arg-type]
    cleaned = clean_pixels(source, BASIC, collect(source, BASIC), engine)
    assert cleaned.reasons == ()
    assert [covers(cleaned.boxes[0], line) for line in lines] == [True] * 3
    assert sum(box.area for box in cleaned.boxes[0]) < 3 * sum(line.area for line in lines)


def test_words_of_big_endian_are_read(engine: BurnedInTextFinder) -> None:
    picture = draw_noise(128, 256)
    line = burn(picture, "SMITH JOHN", 20, 40, size=20)
    dim = (np.arange(256) * 64).astype(">u2").tobytes()
    names = ("Red", "Green", "Blue")
    tables: dict[str, object] = {f"{name}PaletteColorLookupTableData": dim for name in names}
    tables |= {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in names}
    source = make_image([picture], NATIVES[2], photometric="PALETTE COLOR", **tables)
    source["PixelData"] = DataElement(
        0x7FE00010, "OW", np.frombuffer(picture.tobytes(), "u2").byteswap().tobytes()
    )
    for name in names:
        source[f"{name}PaletteColorLookupTableData"].VR = "OW"
    cleaned = clean_pixels(source, BASIC, Identifiers(), engine)
    assert covers(cleaned.boxes[0], line)
    assert cleaned.attributes["PixelData"].VR == "OB"
    after = np.frombuffer(cleaned.attributes.PixelData, "u1").reshape(picture.shape)
    hidden = np.zeros(picture.shape, bool)
    for box in cleaned.boxes[0]:
        hidden[box.top : box.bottom, box.left : box.right] = True
    assert np.array_equal(after[~hidden], picture[~hidden])
    assert np.unique(after[hidden]).tolist() == [picture.min()]


@pytest.mark.parametrize("uid", [NATIVE, *(PREFIX + u for u in ("5", "4.50", "4.80", "4.90"))])
def test_each_frame_has_boxes_of_its_own(engine: BurnedInTextFinder, uid: str) -> None:
    first, second = draw_noise(160, 200), draw_noise(160, 200, 2)
    above, below = burn(first, "DOE^JANE", 10, 10), burn(second, "DOE^JANE", 60, 130)
    source = make_image([first, second, first], uid)
    cleaned = clean_pixels(source, BASIC, Identifiers(), engine)
    assert covers(cleaned.boxes[0], above)
    assert covers(cleaned.boxes[1], below)
    assert not covers(cleaned.boxes[1], above)
    assert cleaned.boxes[2] == cleaned.boxes[0]
    again = clean_pixels(cleaned.attributes, BASIC, Identifiers(), engine)
    assert not again.is_changed
    assert again.attributes.PixelData == cleaned.attributes.PixelData


def test_where_text_is_rare_only_what_may_identify_goes(engine: BurnedInTextFinder) -> None:
    picture = draw_noise(256, 320)
    stays = burn(picture, "LEFT LATERAL 120 kV", 10, 10, size=14)
    goes = burn(picture, "SMITH JOHN", 10, 200, size=14)
    source = make_image([picture], Modality="CR")
    cleaned = clean_pixels(source, BASIC, collect(source, BASIC), engine)
    assert covers(cleaned.boxes[0], goes)
    assert not any(box.touches(stays) for box in cleaned.boxes[0])
    strict = clean_pixels(source, BUILT_IN["strict"], Identifiers(), engine)
    assert covers(strict.boxes[0], stays)


@pytest.mark.parametrize(
    ("text", "score", "goes"),
    [
        ("L", 0.6, False),
        ("fs", 0.6, False),
        ("QX", 0.8, True),
        ("LEFTLATERAL120kV", 0.9, False),
        ("Gleason 7", 0.9, False),
        ("CHEST PA", 0.9, False),
        ("W400L40", 0.9, False),
        ("WW: 1500 WL: -600", 0.9, False),
        ("Siemens SOMATOM Definiti", 0.9, False),
        ("Axial T2FLAIR", 0.9, False),
        ("W400L40 JONES", 0.9, True),
        ("CHEST PA", 0.6, True),
        ("JOHNSON", 0.95, True),
        ("PA 1961-03-12", 0.95, True),
        ("4471823", 0.95, True),
        ("HEAD MRN447182", 0.95, True),
    ],
)
def test_only_what_is_known_to_tell_nothing_stays(text: str, score: float, goes: bool) -> None:
    line = Line(Box(0, 0, 9, 9), text, score)
    assert must_go(line, PixelPolicy(), "CR", Identifiers()) is goes


def test_clean_pixels_are_the_sources_own(engine: BurnedInTextFinder) -> None:
    source = make_image([draw_noise(256, 256)], BurnedInAnnotation="YES")
    cleaned = clean_pixels(source, BASIC, Identifiers(), engine)
    assert not cleaned.is_changed
    assert cleaned.attributes.PixelData is source.PixelData
    assert cleaned.attributes.BurnedInAnnotation == "NO"
    assert source.BurnedInAnnotation == "YES"


def test_small_letters_of_a_large_image_are_read(engine: BurnedInTextFinder) -> None:
    picture = draw_noise(1800, 2400)
    letters = burn(picture, "ACC 2026-114477 GRANGER", 1500, 1700, size=13)
    source = make_image([picture])
    cleaned = clean_pixels(source, BASIC, Identifiers(), engine)
    hidden = np.zeros((1800, 2400), bool)
    for box in cleaned.boxes[0]:
        hidden[box.top : box.bottom, box.left : box.right] = True
    assert hidden[letters.top : letters.bottom, letters.left : letters.right].all()


def test_known_devices_lose_their_banner(engine: BurnedInTextFinder) -> None:
    source = make_image(
        [draw_noise(600, 800)],
        Modality="US",
        Manufacturer="Philips Medical Systems",
        ManufacturerModelName="CX50",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1",
    )
    cleaned = clean_pixels(source, BASIC, Identifiers(), engine)
    assert cleaned.boxes[0] == (Box(0, 0, 800, 59),)


def test_a_strip_above_regions_goes_unless_it_is_image(engine: BurnedInTextFinder) -> None:
    region = Dataset()
    region.RegionLocationMinY0 = 40
    image, screen, written = draw_noise(200, 320), draw_noise(200, 320), draw_noise(200, 320)
    screen[:40] = 12
    screen[30:33, 20:60] = 200
    burn(written, "JANE", 20, 8)
    blacked = []
    for frame in (image, screen, written):
        source = make_image([frame], Modality="US", SequenceOfUltrasoundRegions=[region])
        blacked.append(clean_pixels(source, BASIC, Identifiers(), engine).boxes)
    assert blacked == [(), ((Box(0, 0, 320, 40),),), ((Box(0, 0, 320, 40),),)]


def test_a_strip_in_which_a_loop_moves_is_image(engine: BurnedInTextFinder) -> None:
    region = Dataset()
    region.RegionLocationMinY0 = 40
    moving, dark, written = draw_noise(200, 320), draw_noise(200, 320), draw_noise(200, 320)
    dark[:40] = 12
    dark[30:33, 20:60] = 200
    burn(written, "JANE", 20, 8)
    frames = [dark, moving, written]
    source = make_image(frames, Modality="US", SequenceOfUltrasoundRegions=[region])
    cleaned = clean_pixels(source, BASIC, Identifiers(), engine)
    assert cleaned.boxes == ((), (), (Box(0, 0, 320, 40),))


def test_frames_without_room_for_a_word_are_not_read() -> None:
    source = make_image([draw_noise(11, 64)])
    cleaned = clean_pixels(source, BASIC, Identifiers(), Stubborn())
    assert not cleaned.is_changed
    assert cleaned.reasons == ()


class Stubborn:
    """An engine that finds text wherever it looks."""

    name = "stubborn"

    def find(self, picture: Picture) -> list[Line]:
        return [Line(Box(0, 0, 9, 9), "SMITH", 0.9)]


def test_what_does_not_go_away_is_for_a_person() -> None:
    cleaned = clean_pixels(make_image([draw_noise(64, 64)]), BASIC, Identifiers(), Stubborn())
    assert [(reason.verdict, reason.code) for reason in cleaned.reasons] == [
        (Verdict.REVIEW, "residual-text")
    ]


@pytest.mark.parametrize("cut", [4, 100])
def test_broken_pixels_are_for_a_person(cut: int) -> None:
    source = make_image([draw_noise(64, 64)])
    source.PixelData = source.PixelData[:-cut]
    cleaned = clean_pixels(source, BASIC, Identifiers(), Stubborn())
    assert [reason.code for reason in cleaned.reasons] == ["broken-pixels"]
    assert cleaned.codes == ()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("4.102", "unreadable-pixels"), ("8.1", "broken-pixels"), ("4.112", "broken-pixels")],
)
def test_what_cannot_be_decoded_is_for_a_person(kind: str, reason: str) -> None:
    """Also in transfer syntaxes that pydicom has never heard of."""
    source = make_image([draw_noise(64, 64)])
    source.file_meta.TransferSyntaxUID = PREFIX + kind
    source.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x02\0\0\0ab"
    cleaned = clean_pixels(source, BASIC, Identifiers(), Stubborn())
    assert [one.code for one in cleaned.reasons] == [reason]


def test_a_stop_is_heeded_between_frames() -> None:
    source = make_image([draw_noise(64, 64), draw_noise(64, 64, 2)])
    with pytest.raises(InterruptedError):
        clean_pixels(source, BASIC, Identifiers(), Stubborn(), is_stopped=lambda: True)


def test_an_engine_that_is_not_there_is_refused() -> None:
    profile = Profile(name="x", pixels=PixelPolicy(finder="crystal ball"))
    with pytest.raises(InvalidRequest, match="crystal ball"):
        find_engine(profile)
    without = Profile(name="x", pixels=PixelPolicy(finder="crystal ball", text=TextPolicy.NONE))
    assert find_engine(without) is None

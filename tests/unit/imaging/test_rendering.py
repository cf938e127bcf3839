"""Frames as they are shown, against pydicom's own pipeline and values computed by hand."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.data
import pytest
from PIL import Image, ImageCms
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.pixels import (
    apply_color_lut,
    apply_modality_lut,
    apply_voi_lut,
    convert_color_space,
)

from lamella.errors import BrokenInstance, InvalidRequest, NotAcceptable
from lamella.imaging.decoders import PixelDescription
from lamella.imaging.rendering.attributes import read_frame_rate, select_attributes
from lamella.imaging.rendering.colour import convert_full
from lamella.imaging.rendering.movies import render_movie
from lamella.imaging.rendering.options import PICTURE_TYPES, RenderOptions
from lamella.imaging.rendering.renderer import render_frame, render_picture
from lamella.imaging.rendering.viewport import Viewport
from lamella.imaging.rendering.windows import Window

BUNDLED = Path(pydicom.data.__file__).parent / "test_files"
EXPLICIT = "1.2.840.10008.1.2.1"
RNG = np.random.default_rng(4)
PLAIN = RenderOptions()


def grey(array: np.ndarray, **attributes: Any) -> Dataset:
    ds = Dataset()
    ds.Rows, ds.Columns = array.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = array.dtype.itemsize * 8
    ds.PixelRepresentation = int(array.dtype.kind == "i")
    ds.HighBit = ds.BitsStored - 1
    ds.file_meta = FileMetaDataset()  # without it pydicom does not know in which order bytes are
    ds.file_meta.TransferSyntaxUID = EXPLICIT
    for name, value in attributes.items():
        setattr(ds, name, value)
    return ds


def colour(array: np.ndarray, photometric: str = "RGB", planar: int = 0) -> Dataset:
    ds = grey(array[..., 0], SamplesPerPixel=3, PhotometricInterpretation=photometric)
    ds.PlanarConfiguration = planar
    return ds


def to_json(ds: Dataset) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ds.to_json_dict()


def show(
    ds: Dataset, data: bytes, options: RenderOptions = PLAIN, uid: str = EXPLICIT, frame: int = 0
) -> np.ndarray:
    document = to_json(ds)
    pixel = PixelDescription.from_dicom_json(document, uid)
    attributes = select_attributes(document, frame, options.annotation)
    return np.asarray(render_frame(data, pixel, attributes, options))


def scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype("u1")


# --- grey


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_rescale_and_window_agree_with_pydicom(dtype):
    info = np.iinfo(dtype)
    array = RNG.integers(info.min, info.max, (20, 30), dtype, endpoint=True)
    ds = grey(array, RescaleSlope="1.5", RescaleIntercept="-30")
    ds.WindowCenter, ds.WindowWidth = float(info.max) / 2, float(info.max)
    units = apply_modality_lut(array, ds)
    theirs = apply_voi_lut(units, ds)
    bits = info.bits
    low, high = (info.min * 1.5 - 30, info.max * 1.5 - 30)
    assert bits == ds.BitsStored
    np.testing.assert_allclose(show(ds, array.tobytes()), scale(theirs, low, high), atol=1)


def test_a_clients_window_takes_the_place_of_the_instances_own():
    array = np.arange(0, 4000, 10, "u2").reshape(20, 20)
    ds = grey(array, WindowCenter=2000, WindowWidth=100)
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    options = RenderOptions(window=Window(0, 1000, "LINEAR_EXACT"))
    shown = show(ds, array.tobytes(), options)
    np.testing.assert_array_equal(shown, scale(array - 1024.0, -500, 500))


def test_without_a_window_what_occurs_is_spread_and_padding_does_not_count():
    array = np.array([[100, 200, 300], [63536, 150, 250]], "u2")
    ds = grey(array)
    ds.PixelPaddingValue = 63536
    expected = [[0, 128, 255], [255, 64, 191]]
    np.testing.assert_allclose(show(ds, array.tobytes()), expected, atol=1)
    ds.PixelPaddingRangeLimit = 60000
    np.testing.assert_allclose(show(ds, array.tobytes()), expected, atol=1)


def test_eight_bits_without_a_window_stay_as_dark_as_they_are():
    array = np.array([[0, 10, 20]], "u1")
    np.testing.assert_array_equal(show(grey(array), array.tobytes()), array)


def test_labels_of_a_segmentation_can_be_told_apart():
    array = np.array([[0, 1, 2]], "u1")
    ds = grey(array, SOPClassUID="1.2.840.10008.5.1.4.1.1.66.7")
    assert show(ds, array.tobytes()).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("signed", [False, True])
def test_bits_beyond_those_stored_do_not_show(signed):
    values = np.array([[-2048, -1, 0, 2047]] if signed else [[0, 1, 2048, 4095]])
    container = (values & 0x0FFF) | 0xA000
    ds = grey(container.astype("<u2"), BitsStored=12, HighBit=11, PixelRepresentation=int(signed))
    shown = show(ds, container.astype("<u2").tobytes())
    np.testing.assert_array_equal(shown, scale(values, values.min(), values.max()))


def test_a_high_bit_at_the_top_is_followed():
    values = np.array([[0, 1000, 4095]])
    container = (values << 4).astype("<u2")
    ds = grey(container, BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(show(ds, container.tobytes()), scale(values, 0, 4095))


@pytest.mark.parametrize(
    "attributes",
    [{"PhotometricInterpretation": "MONOCHROME1"}, {"PresentationLUTShape": "INVERSE"}],
)
def test_inverse_images_are_inverted(attributes):
    array = np.array([[0, 51, 255]], "u1")
    assert show(grey(array, **attributes), array.tobytes()).tolist() == [[255, 204, 0]]


def test_bits_are_black_and_white():
    array = RNG.integers(0, 2, (5, 7), "u1")
    ds = grey(array, BitsAllocated=1, BitsStored=1, HighBit=0)
    data = np.packbits(array, bitorder="little").tobytes()
    np.testing.assert_array_equal(show(ds, data), array * 255)


@pytest.mark.parametrize(
    ("dtype", "tag"), [("<f4", "FloatPixelData"), ("<f8", "DoubleFloatPixelData")]
)
def test_floats_are_spread_and_nan_is_black(dtype, tag):
    array = np.array([[-1.5, 0.0, 1.5, np.nan]], dtype)
    ds = grey(array, PixelRepresentation=0)
    del ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    setattr(ds, tag, array.tobytes())
    assert show(ds, array.tobytes()).tolist() == [[0, 128, 255, 0]]


def test_a_float_window_of_fractions_is_no_threshold():
    array = np.array([[0.0, 0.25, 1.0]], "<f4")
    ds = grey(array, WindowCenter=0.5, WindowWidth=1, FloatPixelData=array.tobytes())
    assert show(ds, array.tobytes()).tolist() == [[0, 64, 255]]


def lut(first: int, entries: np.ndarray, bits: int = 16) -> Dataset:
    item = Dataset()
    vr = "SS" if first < 0 else "US"
    item.add_new("LUTDescriptor", vr, [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


@pytest.mark.parametrize("signed", [False, True])
def test_a_modality_lut_agrees_with_pydicom(signed):
    array = RNG.integers(-300 if signed else 0, 300, (9, 9)).astype("i2" if signed else "u2")
    ds = grey(array)
    ds.ModalityLUTSequence = [lut(-100 if signed else 20, RNG.integers(0, 65536, 256))]
    units = apply_modality_lut(array, ds).astype(float)
    shown = show(ds, array.tobytes())
    np.testing.assert_allclose(shown, scale(units, units.min(), units.max()), atol=1)


def test_a_voi_lut_agrees_with_pydicom_and_comes_before_a_window():
    array = RNG.integers(0, 4096, (9, 9)).astype("u2")
    ds = grey(array, BitsStored=12, HighBit=11, WindowCenter=1, WindowWidth=2)
    ds.VOILUTSequence = [lut(100, np.linspace(0, 4095, 2000), 12)]
    theirs = apply_voi_lut(array, ds)
    np.testing.assert_allclose(show(ds, array.tobytes()), scale(theirs, 0, 4095), atol=1)


def test_a_lut_that_is_too_short_is_an_error():
    array = np.zeros((2, 2), "u2")
    ds = grey(array)
    ds.ModalityLUTSequence = [lut(0, np.arange(10))]
    ds.ModalityLUTSequence[0].LUTDescriptor = [300, 0, 16]
    with pytest.raises(BrokenInstance):
        show(ds, array.tobytes())


def test_functional_groups_of_the_frame_count():
    array = np.array([[0, 100, 200]], "u2")
    ds = grey(array, NumberOfFrames=2)
    shared, frames = Dataset(), [Dataset(), Dataset()]
    transformation, windows = Dataset(), [Dataset(), Dataset()]
    transformation.RescaleSlope, transformation.RescaleIntercept = 2, 10
    shared.PixelValueTransformationSequence = [transformation]
    for frame, window, width in zip(frames, windows, (400, 800), strict=True):
        window.WindowCenter, window.WindowWidth = width / 2 + 10, width
        window.VOILUTFunction = "LINEAR_EXACT"
        frame.FrameVOILUTSequence = [window]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = frames
    assert show(ds, array.tobytes(), frame=0).tolist() == [[0, 128, 255]]
    assert show(ds, array.tobytes(), frame=1).tolist() == [[0, 64, 128]]


# --- colour


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_rgb_in_either_planar_configuration(planar, dtype):
    array = RNG.integers(0, np.iinfo(dtype).max, (6, 5, 3), dtype, endpoint=True)
    data = (np.moveaxis(array, -1, 0) if planar else array).tobytes()
    shown = show(colour(array, planar=planar), data)
    np.testing.assert_array_equal(shown, array >> (8 * array.itemsize - 8))


def test_ybr_full_agrees_with_pydicom():
    array = RNG.integers(0, 256, (64, 64, 3), "u1")
    theirs = convert_color_space(array, "YBR_FULL", "RGB")
    np.testing.assert_allclose(convert_full(array).astype(int), theirs, atol=2)
    np.testing.assert_array_equal(
        show(colour(array, "YBR_FULL"), array.tobytes()), convert_full(array)
    )


def test_native_422_shares_colours_between_two_pixels():
    pairs = np.array([[[50, 90, 100, 180], [10, 20, 128, 128]]], "u1")
    ds = colour(np.zeros((1, 4, 3), "u1"), "YBR_FULL_422")
    full = [[[50, 100, 180], [90, 100, 180], [10, 128, 128], [20, 128, 128]]]
    np.testing.assert_array_equal(show(ds, pairs.tobytes()), convert_full(np.array(full, "u1")))


def test_partial_range_ends_are_black_and_white():
    array = np.array([[[16, 128, 128], [235, 128, 128]]], "u1")
    shown = show(colour(array, "YBR_PARTIAL_420"[:11]), array.tobytes())
    np.testing.assert_allclose(shown, [[[0] * 3, [255] * 3]], atol=1)


def palette(ds: Dataset, first: int, tables: list[np.ndarray], bits: int = 16) -> Dataset:
    ds.PhotometricInterpretation = "PALETTE COLOR"
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        descriptor = [len(table) % 65536, first % 65536, bits]
        ds.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", descriptor)
        ds.add_new(f"{name}PaletteColorLookupTableData", "OW", table.astype("<u2").tobytes())
    return ds


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_a_palette_agrees_with_pydicom(dtype):
    array = RNG.integers(0, 256, (8, 8)).astype(dtype)
    ds = palette(grey(array), 20, [RNG.integers(0, 65536, 200) for _ in range(3)])
    theirs = apply_color_lut(array, ds)
    np.testing.assert_array_equal(show(ds, array.tobytes()), theirs >> 8)


def test_a_palette_of_bytes_that_claims_16_bits_is_believed_to_be_of_bytes():
    array = np.array([[0, 1]], "u1")
    ds = palette(grey(array), 0, [np.array([7, 255])] * 3)
    assert show(ds, array.tobytes()).tolist() == [[[7] * 3, [255] * 3]]


def test_segmented_palettes_agree_with_pydicom():
    array = np.arange(256, dtype="u1").reshape(16, 16)
    ds = grey(array, PhotometricInterpretation="PALETTE COLOR")
    # discrete, linear, discrete, the first linear segment once more, linear
    words = [0, 2, 0, 500, 1, 99, 50_000, 0, 2, 9, 10, 2, 1, 4, 0, 1, 54, 65_535]
    count = 2 + 99 + 2 + 99 + 54
    for name in ("Red", "Green", "Blue"):
        ds.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [count, 0, 16])
        raw = np.array(words, "<u2").tobytes()
        ds.add_new(f"Segmented{name}PaletteColorLookupTableData", "OW", raw)
    theirs = apply_color_lut(array, ds)
    np.testing.assert_allclose(show(ds, array.tobytes()), theirs >> 8, atol=1)


@pytest.mark.parametrize(
    "name",
    [
        "examples_palette.dcm",
        "examples_ybr_color.dcm",
        "examples_rgb_color.dcm",
        "examples_jpeg2k.dcm",
    ],
)
def test_bundled_colour_files_agree_with_pydicom(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(BUNDLED / name)
        uid = ds.file_meta.TransferSyntaxUID
        pixels = ds.pixel_array
        if ds.PhotometricInterpretation == "PALETTE COLOR":
            pixels = apply_color_lut(pixels, ds) >> 8
    frames = int(ds.get("NumberOfFrames") or 1)
    theirs = pixels[0] if frames > 1 else pixels
    size = theirs.size if ds.SamplesPerPixel == 3 else theirs[..., 0].size
    data = ds.PixelData[:size]
    if uid.is_encapsulated:
        data = next(generate_frames(ds.PixelData, number_of_frames=frames))
    shown = show(ds, data, uid=str(uid))
    assert np.abs(shown.astype(int) - theirs).mean() < 1.5


def test_colour_spaces_that_nobody_renders_are_refused():
    array = np.zeros((2, 2, 3), "u1")
    with pytest.raises(NotAcceptable):
        show(colour(array, "HSV"), array.tobytes())


def test_a_short_frame_is_an_error():
    array = np.zeros((4, 4), "u2")
    with pytest.raises(BrokenInstance):
        show(grey(array), array.tobytes()[:-2])


# --- viewport, annotation, files

RAMP = np.arange(0, 240, dtype="u1").reshape(12, 20)


@pytest.mark.parametrize(
    ("viewport", "size"),
    [
        (Viewport(10, 10), (10, 6)),
        (Viewport(40, 100), (40, 24)),
        (Viewport(40, 24), (40, 24)),
        (Viewport(5, 5, 0, 0, 6, 12), (2, 5)),
        (Viewport(1, 1), (1, 1)),
    ],
)
def test_a_viewport_is_filled_in_one_direction_and_keeps_the_aspect(viewport, size):
    shown = show(grey(RAMP), RAMP.tobytes(), RenderOptions(viewport=viewport))
    assert shown.shape[::-1] == size


@pytest.mark.parametrize(
    ("viewport", "expected"),
    [
        (Viewport(20, 12), RAMP),
        (Viewport(20, 12, 0, 0, -20, 12), RAMP[:, ::-1]),
        (Viewport(20, 12, 0, 0, 20, -12), RAMP[::-1]),
        (Viewport(20, 12, 0, 0, -20, -12), RAMP[::-1, ::-1]),
        (Viewport(5, 4, 3, 2, 5, 4), RAMP[2:6, 3:8]),
        (Viewport(5, 4, 3, 2, -5, 4), RAMP[2:6, 3:8][:, ::-1]),
        (Viewport(17, 10, 3, 2), RAMP[2:, 3:]),
    ],
)
def test_regions_and_flips(viewport, expected):
    shown = show(grey(RAMP), RAMP.tobytes(), RenderOptions(viewport=viewport))
    np.testing.assert_array_equal(shown, expected)


def test_a_thumbnail_does_not_enlarge():
    options = RenderOptions(viewport=Viewport(256, 256), may_enlarge=False)
    np.testing.assert_array_equal(show(grey(RAMP), RAMP.tobytes(), options), RAMP)


@pytest.mark.parametrize(
    "viewport", [Viewport(5, 5, 20, 0), Viewport(5, 5, 10, 0, 11, 5), Viewport(5, 5, 0, 0, 5, 12.5)]
)
def test_a_region_outside_the_image_is_refused(viewport):
    with pytest.raises(InvalidRequest):
        show(grey(RAMP), RAMP.tobytes(), RenderOptions(viewport=viewport))


@pytest.mark.parametrize(
    "viewport",
    [Viewport(0, 5), Viewport(5, 20_000), Viewport(16_384, 16_384), Viewport(5, 5, -1, 0),
     Viewport(5, 5, 0, 0, 0, 5)],
)  # fmt: skip
def test_what_is_no_viewport_is_refused(viewport):
    with pytest.raises(InvalidRequest):
        viewport.check()


def test_annotation_is_burnt_in_where_it_is_asked_for():
    array = np.zeros((128, 128), "u1")
    ds = grey(array, PatientName="Rübe^Hans", PatientID="77", KVP="120", Modality="CT")
    plain = show(ds, array.tobytes())
    assert plain.max() == 0
    patient = show(ds, array.tobytes(), RenderOptions(annotation=("patient",)))
    technique = show(ds, array.tobytes(), RenderOptions(annotation=("technique",)))
    assert patient[:40].max() > 200
    assert patient[64:].max() == 0
    assert technique[64:].max() > 200
    assert technique[:40].max() == 0


def render(ds: Dataset, data: bytes, options: RenderOptions) -> bytes:
    document = to_json(ds)
    fields = {
        "pixel": vars(PixelDescription.from_dicom_json(document, EXPLICIT)),
        "attributes": select_attributes(document, 0, options.annotation),
        "options": options.to_json(),
    }
    return render_picture(fields, iter([data]))


@pytest.mark.parametrize("media_type", PICTURE_TYPES)
@pytest.mark.parametrize("samples", [1, 3])
def test_every_media_type_shows_the_same(media_type, samples):
    smooth = np.add.outer(np.arange(60), np.arange(80)).astype("u1")
    array = smooth if samples == 1 else np.stack([smooth, smooth // 2, 255 - smooth], -1)
    ds = grey(array) if samples == 1 else colour(array)
    data = render(ds, array.tobytes(), RenderOptions(media_type=media_type, quality=100))
    picture = Image.open(io.BytesIO(data))
    assert picture.get_format_mimetype() == media_type
    mode = "L" if samples == 1 else "RGB"
    shown = np.asarray(picture.convert(mode)).astype(int)
    assert np.abs(shown - array).mean() < 4


def test_quality_makes_lossy_files_smaller():
    noise = RNG.integers(0, 256, (64, 64), "u1")
    for media_type in ("image/jpeg", "image/webp", "image/jp2"):
        sizes = [
            len(render(grey(noise), noise.tobytes(), RenderOptions(media_type, quality=quality)))
            for quality in (5, 50, 100)
        ]
        assert sizes == sorted(set(sizes))


def make_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_icc_profiles_are_embedded_as_asked():
    array = RNG.integers(0, 256, (8, 8, 3), "u1")
    ds, own = colour(array), make_profile()
    ds.ICCProfile = own

    def embedded(mode: str, media_type: str = "image/png") -> bytes | None:
        options = RenderOptions(media_type=media_type, icc_profile=mode)
        data = render(ds, array.tobytes(), options)
        return Image.open(io.BytesIO(data)).info.get("icc_profile")

    assert embedded("no") is None
    assert embedded("yes") == own.ljust(len(embedded("yes") or b""), b"\0")
    assert embedded("srgb")
    assert embedded("srgb", "image/jpeg")
    ds.ICCProfile = b"no profile at all"
    with pytest.raises(BrokenInstance):
        embedded("srgb")


def test_options_survive_the_way_to_a_worker():
    options = RenderOptions(
        "image/png", Window(1, 2, "SIGMOID"), Viewport(3, 4, 5, 6, -7, 8), ("patient",), 50, "srgb"
    )
    assert RenderOptions.from_json(options.to_json()) == options
    assert RenderOptions.from_json(PLAIN.to_json()) == PLAIN


# --- movies


def animate(frames: list[np.ndarray], options: RenderOptions) -> bytes:
    ds = grey(frames[0])
    fields = {
        "pixel": vars(PixelDescription.from_dicom_json(to_json(ds), EXPLICIT)),
        "attributes": [select_attributes(to_json(ds), 0)],
        "looks": [0] * len(frames),
        "frames_per_second": 25,
        "options": options.to_json(),
    }
    return render_movie(fields, iter(frame.tobytes() for frame in frames))


FRAMES = [np.full((31, 33), value, "u1") for value in (0, 60, 120, 180, 240)]


def test_an_animated_gif_has_all_frames():
    movie = Image.open(io.BytesIO(animate(FRAMES, RenderOptions("image/gif"))))
    assert (movie.n_frames, movie.size, movie.info["duration"]) == (5, (33, 31), 40)
    levels = []
    for index in range(movie.n_frames):
        movie.seek(index)
        levels.append(movie.convert("L").getpixel((5, 5)))
    assert levels == [0, 60, 120, 180, 240]


def test_an_mp4_has_all_frames():
    av = pytest.importorskip("av")
    data = animate(FRAMES, RenderOptions("video/mp4"))
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(stream)]
        assert stream.codec_context.name == "h264"
        assert stream.average_rate == 25
    assert [frame.shape for frame in frames] == [(32, 34)] * 5
    np.testing.assert_allclose([frame.mean() for frame in frames], [0, 60, 120, 180, 240], atol=8)


def test_other_movies_are_refused():
    with pytest.raises(NotAcceptable):
        animate(FRAMES, replace(PLAIN, media_type="image/png"))


@pytest.mark.parametrize(
    ("attributes", "rate"),
    [
        ({}, 10),
        ({"CineRate": 30}, 30),
        ({"RecommendedDisplayFrameRate": 12, "CineRate": 30}, 12),
        ({"FrameTime": 40}, 25),
        ({"FrameTime": 0}, 10),
        ({"CineRate": 5000}, 60),
    ],
)
def test_frame_rates(attributes, rate):
    ds = Dataset()
    for name, value in attributes.items():
        setattr(ds, name, value)
    assert read_frame_rate(to_json(ds)) == rate

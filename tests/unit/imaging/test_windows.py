"""The VOI functions against values computed by hand and against pydicom."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_voi_lut

from lamella.errors import InvalidRequest
from lamella.imaging.rendering.windows import FUNCTIONS, Window, span_range

VALUES = np.arange(-2000, 3000, dtype="i2")


@pytest.mark.parametrize(
    ("window", "pairs"),
    [
        # PS3.3 C.11.2.1.2.1, examples 2 and 3: c=2048 w=4096 is x/4095; c=2048 w=1 a threshold
        (Window(2048, 4096), {0: 0, 4095: 1, 2047.5: 0.5}),
        (Window(2048, 1), {2047: 0, 2047.5: 0, 2048: 1}),
        (Window(0, 100), {-50: 0, -49.5: 0.5 / 99, 49: 1, 1000: 1, -0.5: 0.5}),
        (Window(0, 100, "LINEAR_EXACT"), {-50: 0, -49.5: 0.005, 49: 0.99, 50: 1, 0: 0.5}),
        (Window(0.5, 1, "LINEAR_EXACT"), {0: 0, 0.25: 0.25, 1: 1}),
        (Window(10, 4, "SIGMOID"), {10: 0.5, 11: 1 / (1 + np.exp(-1)), 9: 1 / (1 + np.e)}),
    ],
)
def test_values_by_hand(window, pairs):
    found = window.apply(np.array(list(pairs), float))
    np.testing.assert_allclose(found, list(pairs.values()), atol=1e-12)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("center", "width"), [(40, 400), (-600, 1500), (50.5, 20), (300, 4000)])
def test_pydicom_agrees(function, center, width):
    ds = Dataset()
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsStored, ds.PixelRepresentation = 16, 1
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = center, width, function
    theirs = (apply_voi_lut(VALUES, ds) + 32768) / 65535
    np.testing.assert_allclose(Window(center, width, function).apply(VALUES), theirs, atol=1e-9)


def test_a_span_reaches_from_black_to_white():
    assert span_range(-5, 15).apply(np.array([-5.0, 5.0, 15.0])).tolist() == [0, 0.5, 1]
    assert span_range(7, 7).apply(np.array([7.0])).tolist() == [0]


@pytest.mark.parametrize(
    "window",
    [
        Window(0, 0),
        Window(0, 0.5),
        Window(0, -1, "LINEAR_EXACT"),
        Window(0, 0, "SIGMOID"),
        Window(float("nan"), 10),
        Window(0, float("inf")),
        Window(0, 10, "CUBIC"),
    ],
)
def test_what_is_no_window_is_refused(window):
    with pytest.raises(InvalidRequest):
        window.check()


def test_narrow_windows_are_fine_where_they_mean_something():
    Window(0, 0.5, "LINEAR_EXACT").check()
    Window(0, 1, "LINEAR").check()

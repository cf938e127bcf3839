"""Query parameters of rendered resources: whatever is sent, options or a clear refusal."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from litestar.datastructures import MultiDict

from lamella.errors import InvalidRequest
from lamella.imaging.rendering.options import RenderOptions
from lamella.wado.render_parameters import read_options, read_thumbnail_options

NAMES = st.sampled_from(["window", "viewport", "quality", "annotation", "iccprofile", "accept"])
NUMBERS = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.floats().map(repr),
    st.sampled_from(["", " ", "1e999", "-0", "+5", "٣", "0x10", "1_000", "1e3", "NaN"]),
)
LISTS = st.lists(NUMBERS, max_size=8).map(",".join)
WINDOWS = st.tuples(NUMBERS, NUMBERS, st.sampled_from(["linear", "SIGMOID", "linear-exact", "x"]))
VALUES = st.one_of(st.text(max_size=30), LISTS, WINDOWS.map(",".join), NUMBERS)
QUERIES = st.lists(st.tuples(NAMES, VALUES), max_size=5)


@settings(max_examples=1500, deadline=None)
@given(QUERIES)
def test_options_or_a_refusal(pairs):
    try:
        options, warnings = read_options(MultiDict(pairs))
    except InvalidRequest:
        return
    assert RenderOptions.from_json(json.loads(json.dumps(options.to_json()))) == options
    assert 1 <= options.quality <= 100
    if options.window is not None:
        options.window.check()
    if options.viewport is not None:
        options.viewport.check()
    assert all(warning.isascii() and "\n" not in warning for warning in warnings)


@settings(max_examples=500, deadline=None)
@given(QUERIES)
def test_thumbnails_likewise(pairs):
    try:
        options = read_thumbnail_options(MultiDict(pairs))
    except InvalidRequest:
        return
    assert options.viewport is not None
    options.viewport.check()

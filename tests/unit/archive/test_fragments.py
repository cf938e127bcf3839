"""A filled fragment is the result as it would be written whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamella.archive.catalog_rows import Row
from lamella.archive.fragments import COUNTS, find_writer
from lamella.archive.levels import Level
from lamella.archive.query import Key, Query, Single, parse_attribute
from lamella.archive.results import shape_result

ROOT = "http://host:8042/dicomweb/d/main"
PATH = "/studies/1.2.3/series/1.2.3.4"
TRICKY = [
    'a"b\\c',
    "%b %s %%",
    "{}",
    "Müller^Ü",
    "山田^太郎",
    '00081190":{"vr":"UR","Value":["',
    "\u0007",
]
STUDY = Query(Level.STUDY, default_levels=frozenset({Level.STUDY}))
SERIES = Query(Level.SERIES, default_levels=frozenset({Level.STUDY, Level.SERIES}))
FORMS = [
    STUDY,
    SERIES,
    replace(STUDY, include=frozenset({("00081030",), ("00081032", "00080100")})),
    replace(SERIES, include_all=True),
    replace(STUDY, default_levels=frozenset()),
    replace(STUDY, with_defaults=False, include=frozenset({("00081190",), ("00201206",)})),
    replace(SERIES, default_levels=frozenset({Level.SERIES})),
]


def key(keyword: str, value: str) -> Key:
    attribute = parse_attribute(keyword)
    assert attribute is not None
    return Key(attribute.path, attribute.vr, Single(value))


def make_attributes(text: str) -> dict[str, Any]:
    return {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00081030": {"vr": "LO", "Value": [text]},
        "00081032": {
            "vr": "SQ",
            "Value": [{"00080100": {"vr": "SH", "Value": [text]}, "00080104": {"vr": "LO"}}],
        },
        "0008103E": {"vr": "LO", "Value": [text, None]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": text}]},
        "00100020": {"vr": "LO"},
        "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
        "0020000E": {"vr": "UI", "Value": ["1.2.3.4"]},
        "00200011": {"vr": "IS", "Value": [7]},
    }


def make_row(attributes: dict[str, Any]) -> Row:
    """Return a row of a series, whose study has what comes before its own attributes."""
    own = {tag: element for tag, element in attributes.items() if tag > "0020000D"}
    above = {tag: element for tag, element in attributes.items() if tag not in own}
    above |= {tag: {"vr": "LO", "Value": ["the study's"]} for tag in own}
    study = Row(1, "1.2.3", None, msgspec.json.encode(above))
    return Row(1, "1.2.3", "1.2.3.4", msgspec.json.encode(own)).within(study)


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None)
@given(
    text=st.sampled_from(TRICKY) | st.text(),
    numbers=st.tuples(*[st.integers(0, 10**9)] * 3),
    root=st.sampled_from([ROOT, 'https://proxy/a"b\\', "http://[::1]:1/x"]),
)
def test_filling_gives_what_writing_whole_gives(
    form: Query, text: str, numbers: tuple[int, int, int], root: str
) -> None:
    text = text.encode("utf-8", "replace").decode()
    attributes, counts = make_attributes(text), dict(zip(COUNTS, numbers, strict=True))
    fragment = find_writer(form).write(make_row(attributes), COUNTS, PATH)
    filled = fragment.fill(msgspec.json.encode(root)[1:-1], counts)
    whole = shape_result(attributes, form, counts, root + PATH)
    assert filled == msgspec.json.encode(whole)


def test_a_count_that_the_tree_does_not_know_is_none() -> None:
    fragment = find_writer(STUDY).write(make_row(make_attributes("x")), COUNTS[:2], PATH)
    result = msgspec.json.decode(fragment.fill(ROOT.encode(), {COUNTS[0]: 3}))
    assert [result[tag]["Value"] for tag in COUNTS[:2]] == [[3], [0]]
    assert result["00081190"]["Value"] == [ROOT + PATH]


def test_the_form_does_not_depend_on_values_or_pages_but_on_what_is_returned() -> None:
    asked = [
        replace(STUDY, keys=(key("PatientID", "A"),)),
        replace(STUDY, keys=(key("PatientID", "B"),), limit=5, offset=2, fuzzy=True),
        replace(STUDY, keys=(key("PatientID", "A"),), include=frozenset({("00081030",)})),
        replace(STUDY, keys=(key("StudyDescription", "A"),)),
        replace(SERIES, keys=(key("PatientID", "A"),)),
    ]
    writers = [find_writer(query) for query in asked]
    assert writers[0] is writers[1]
    assert len(set(map(id, writers))) == 4

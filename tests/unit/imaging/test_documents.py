"""Reports as text and HTML, waveforms as drawings."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pydicom
import pydicom.data
import pytest

from lamella.errors import BrokenInstance, NotAcceptable
from lamella.imaging.rendering.reports import walk, write_html, write_text
from lamella.imaging.rendering.waveforms import read_channels, render_waveform

BUNDLED = Path(pydicom.data.__file__).parent / "test_files"
SVG = "{http://www.w3.org/2000/svg}"


def read(name: str) -> tuple[pydicom.Dataset, dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(BUNDLED / name)
        return ds, ds.to_json_dict()


def test_a_report_is_walked_as_it_nests():
    ds, document = read("test-SR.dcm")

    def count(item: Any) -> int:
        children = item.get("ContentSequence", [])
        return len(children) + sum(map(count, children))

    lines = list(walk(document))
    assert len(lines) == count(ds)
    found = [(line.depth, line.name, line.value) for line in lines]
    assert (2, "Diameter", "") not in found
    assert (1, "Diameter", "3.0 cm") in found
    assert (1, "SCoord Code", "CIRCLE 0, 0, 255, 255") in found
    assert (2, "", "see item 1.3.2") in found
    assert (0, "", "1.2.3.4.5.0, frames 5, 2") in found


def test_text_has_title_people_and_content():
    text = write_text(read("test-SR.dcm")[1]).decode()
    assert text.startswith("Diagnosis\n")
    assert "Patient: Test S R\n" in text
    assert "Diameter: 3.0 cm" in text


def test_html_is_escaped_and_well_nested():
    _, document = read("test-SR.dcm")
    document["0040A730"]["Value"][0]["0040A043"]["Value"][0]["00080104"] = {
        "vr": "LO",
        "Value": ["<script>alert(1)</script>"],
    }
    page = write_html(document).decode()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&amp;%$§&quot;!()&lt;&gt;{}/;" in page
    assert page.count("<ul>") == page.count("</ul>") > 3


def test_a_report_without_anything_is_still_a_page():
    assert b"<h1>Report</h1>" in write_html({})
    assert write_text({}) == b"Report\n\n\n"


def draw(document: dict[str, Any], data: list[bytes]) -> ElementTree.Element:
    fields = {"groups": document["54000100"]["Value"]}
    return ElementTree.fromstring(render_waveform(fields, iter(data)))


def read_ecg() -> tuple[dict[str, Any], list[bytes], pydicom.Dataset]:
    ds, document = read("waveform_ecg.dcm")
    return document, [item.WaveformData for item in ds.WaveformSequence], ds


def test_an_ecg_has_a_row_a_lead_in_its_units():
    document, data, ds = read_ecg()
    for index, (group, raw) in enumerate(zip(document["54000100"]["Value"], data, strict=True)):
        channels = read_channels(group, raw)
        theirs = ds.waveform_array(index)
        np.testing.assert_allclose(np.stack([c.values for c in channels], -1), theirs)
        assert {channel.unit for channel in channels} == {"uV"}
    drawing = draw(document, data)
    texts = [element.text or "" for element in drawing.iter(f"{SVG}text")]
    for lead in (
        "I (Einthoven)",
        "II",
        "III",
        "aVR",
        "aVL",
        "aVF",
        *(f"V{n}" for n in range(1, 7)),
    ):
        assert texts.count(lead) == 2
    assert "RHYTHM 10 s, 1000 Hz" in texts
    assert len(list(drawing.iter(f"{SVG}polyline"))) == 24
    assert "1000 uV" in texts


def test_lines_stay_in_their_rows_and_have_few_points():
    document, data, _ = read_ecg()
    drawing = draw(document, data)
    height = float(drawing.get("height", "0"))
    for line in drawing.iter(f"{SVG}polyline"):
        points = [tuple(map(float, p.split(","))) for p in line.get("points", "").split()]
        assert len(points) < 5000
        assert all(0 <= x <= 1200 and 0 <= y <= height for x, y in points)
        assert max(y for _, y in points) - min(y for _, y in points) <= 90


def make_group(**changes: Any) -> dict[str, Any]:
    channel = {"003A0203": {"vr": "SH", "Value": ["a<b"]}}
    group = {
        "003A0005": {"vr": "US", "Value": [1]},
        "003A001A": {"vr": "DS", "Value": [10]},
        "003A0200": {"vr": "SQ", "Value": [channel]},
        "54001006": {"vr": "CS", "Value": ["SS"]},
        "5400100A": {"vr": "OW", "Value": [-32768]},
    }
    return group | changes


def test_gaps_break_the_line_and_names_are_escaped():
    samples = np.array([0, 1, 2, -32768, 3, 4, 5], "<i2").tobytes()
    drawing = draw({"54000100": {"Value": [make_group()]}}, [samples])
    assert len(list(drawing.iter(f"{SVG}polyline"))) == 2
    assert "a<b" in [element.text for element in drawing.iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"54001006": {"vr": "CS", "Value": ["MB"]}}, NotAcceptable),
        ({"003A001A": {"vr": "DS", "Value": [0]}}, BrokenInstance),
        ({"003A0200": {"vr": "SQ"}}, BrokenInstance),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes, error):
    with pytest.raises(error):
        render_waveform({"groups": [make_group(**changes)]}, iter([bytes(20)]))


def test_a_waveform_without_samples_is_drawn_empty():
    drawing = draw({"54000100": {"Value": [make_group()]}}, [b""])
    assert not list(drawing.iter(f"{SVG}polyline"))
    assert re.match(r".*0 s", next(drawing.iter(f"{SVG}text")).text or "")

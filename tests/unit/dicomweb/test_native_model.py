"""DICOM JSON as XML, read back with the standard library."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.dicomweb.native_model import NAMESPACE, write_native_model

NS = {"n": NAMESPACE}


def parse(attributes: dict[str, Any]) -> ElementTree.Element:
    return ElementTree.fromstring(write_native_model(attributes))


def test_values_names_items_and_bulk() -> None:
    root = parse(
        {
            "00080020": {"vr": "DA", "Value": ["20260101"]},
            "00100010": {
                "vr": "PN",
                "Value": [{"Alphabetic": "Doe^Jane^^Dr", "Ideographic": "山田^太郎"}],
            },
            "00081140": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}]},
            "00090010": {"vr": "LO", "Value": ["ACME <1>"]},
            "00091001": {"vr": "LO", "Value": ["a", None, "b & c"]},
            "00200010": {"vr": "SH"},
            "7FE00010": {"vr": "OW", "BulkDataURI": "http://h/a?b=1&c=2"},
        }
    )
    by_tag = {one.get("tag"): one for one in root}
    assert by_tag["00080020"].get("keyword") == "StudyDate"
    assert by_tag["00080020"].findtext("n:Value", None, NS) == "20260101"
    name = by_tag["00100010"].find("n:PersonName", NS)
    assert name is not None
    assert name.findtext("n:Alphabetic/n:FamilyName", None, NS) == "Doe"
    assert name.findtext("n:Alphabetic/n:NamePrefix", None, NS) == "Dr"
    assert name.findtext("n:Ideographic/n:GivenName", None, NS) == "太郎"
    item = by_tag["00081140"].find("n:Item/n:DicomAttribute/n:Value", NS)
    assert item is not None
    assert item.text == "1.2"
    assert by_tag["00091001"].get("privateCreator") == "ACME <1>"
    assert [v.get("number") for v in by_tag["00091001"]] == ["1", "3"]
    assert list(by_tag["00200010"]) == []
    bulk = by_tag["7FE00010"].find("n:BulkData", NS)
    assert bulk is not None
    assert bulk.get("uri") == "http://h/a?b=1&c=2"


@given(st.text())
def test_any_text_makes_well_formed_xml(text: str) -> None:
    root = parse({"00081030": {"vr": "LO", "Value": [text]}})
    value = root.find("n:DicomAttribute/n:Value", NS)
    assert value is not None
    if text.isprintable():
        assert (value.text or "") == text


@pytest.mark.parametrize("value", [12, -1.5, "NaN"])
def test_numbers_keep_their_text(value: object) -> None:
    root = parse({"00280010": {"vr": "DS", "Value": [value]}})
    assert root.findtext("n:DicomAttribute/n:Value", None, NS) == str(value)

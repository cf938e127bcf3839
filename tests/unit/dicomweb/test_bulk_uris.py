"""Bulk data URIs: each hole gets the URL of its instance, and nothing else is a hole."""

from __future__ import annotations

import json

import msgspec

from lamella.dicomweb.bulk_uris import fill_holes

URL = "http://host/instances/1"


def test_all_holes_are_filled() -> None:
    document = {
        "7FE00010": {"vr": "OW", "BulkDataURI": "bulkdata/7FE00010"},
        "00082112": {"Value": [{"00420011": {"vr": "OB", "BulkDataURI": "bulkdata/2/0/3"}}]},
    }
    filled = json.loads(fill_holes(msgspec.json.encode(document), URL))
    assert filled["7FE00010"]["BulkDataURI"] == f"{URL}/bulkdata/7FE00010"
    item = filled["00082112"]["Value"][0]
    assert item["00420011"]["BulkDataURI"] == f"{URL}/bulkdata/2/0/3"


def test_values_that_look_like_holes_stay() -> None:
    text = '"BulkDataURI":"bulkdata/7FE00010"'
    document = {"00104000": {"vr": "LT", "Value": [text, "bulkdata/", '"BulkDataURI":']}}
    encoded = msgspec.json.encode(document)
    assert fill_holes(encoded, URL) == encoded
    assert fill_holes(b"{}", URL) == b"{}"

"""Metadata of stores, made of anything: data sets, or errors that say so; never anything else."""

from __future__ import annotations

import io
import json
from typing import Any

import pydicom
from hypothesis import given, settings
from hypothesis import strategies as st

from lamella.archive.facts import read_facts
from lamella.archive.source import MemorySource
from lamella.archive.values import BULK_VRS, TEXT_VRS, WORD_BYTES
from lamella.dicomweb.media_types import DICOM_JSON, DICOM_XML, MediaType
from lamella.dicomweb.native_model import write_native_model
from lamella.errors import InstanceRefused, LamellaError
from lamella.imaging.elements import Span
from lamella.stow.bulk_parts import BulkPart, BulkParts
from lamella.stow.composition import compose
from lamella.stow.metadata import read_metadata
from lamella.stow.shelf import Shelf

VRS = sorted(BULK_VRS | TEXT_VRS | set(WORD_BYTES) | {"SQ"})
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["00100010", "1.2.3", "20260102", "1e300", "bulk/1", "AQID"])
)
NAMES = st.dictionaries(
    st.sampled_from(["Alphabetic", "Ideographic", "Phonetic", "x"]), SCALARS, max_size=3
)
TAGS = st.sampled_from(
    ["00080005", "00080018", "0020000D", "7FE00010", "00280010", "00020010", "00091001", "FFFEE000"]
) | st.text("0123456789abcdefABCDEF", min_size=7, max_size=9)


def make_elements(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    element = st.fixed_dictionaries(
        {},
        optional={
            "vr": st.sampled_from(VRS) | SCALARS,
            "Value": st.lists(SCALARS | NAMES | items, max_size=3) | SCALARS,
            "InlineBinary": SCALARS,
            "BulkDataURI": st.sampled_from(["bulk/1", "none"]) | SCALARS,
        },
    )
    return st.dictionaries(TAGS, element | SCALARS, max_size=6)


DATA_SETS = st.recursive(make_elements(st.nothing()), make_elements, max_leaves=4)
GOOD_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="\\\\^="),
    min_size=1,
    max_size=20,
).filter(lambda text: text == text.strip())


class Nowhere(Shelf):
    """A shelf in memory."""

    def source(self) -> MemorySource:  # type: ignore[override]
        return MemorySource(bytes(range(256)))


def compose_all(document: bytes, kind: str, tmp_path: Any = None) -> list[bytes]:
    shelf = Nowhere(tmp_path)
    bulk = BulkParts(("http://localhost/studies",))
    octets = MediaType("application", "octet-stream")
    bulk.add("bulk/1", BulkPart(Span(3, 50), octets))
    files = []
    for found in read_metadata(document, kind):
        if isinstance(found, LamellaError):
            continue
        try:
            composed = compose(found, octets, bulk, shelf)
            files.append(b"".join(composed.chunks))
        except InstanceRefused:
            continue
    return files


@settings(deadline=None)
@given(st.lists(DATA_SETS, max_size=3))
def test_any_json_is_a_file_or_refused(data_sets: list[Any]) -> None:
    for data in compose_all(json.dumps(data_sets).encode(), DICOM_JSON):
        try:
            read_facts(MemorySource(data))
        except InstanceRefused:
            continue


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_refused(document: bytes) -> None:
    assert compose_all(document, DICOM_XML) == []
    compose_all(document, DICOM_JSON)


@settings(deadline=None)
@given(GOOD_TEXT, GOOD_TEXT, st.integers(0, 65535))
def test_text_and_numbers_arrive_by_either_way(name: str, text: str, number: int) -> None:
    data_set = {
        "00080018": {"vr": "UI", "Value": ["1.2.3"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]},
        "00104000": {"vr": "LT", "Value": [text]},
        "00280010": {"vr": "US", "Value": [number]},
    }
    for document, kind in (
        (json.dumps([data_set]).encode(), DICOM_JSON),
        (write_native_model(data_set), DICOM_XML),
    ):
        (data,) = compose_all(document, kind)
        ds = pydicom.dcmread(io.BytesIO(data))
        assert str(ds.PatientName) == name
        assert ds.PatientComments == text
        assert ds.Rows == number

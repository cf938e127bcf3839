"""DICOM JSON written as data sets, against the parser and against pydicom."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pydicom
import pytest
from pydicom.data import DATA_ROOT

from lamella.archive.facts import InstanceFacts, read_facts
from lamella.archive.header import Header, read_header
from lamella.archive.part10 import build_file_meta
from lamella.archive.source import MemorySource
from lamella.errors import InvalidInstance
from lamella.imaging.data_sets import write_data_set
from lamella.imaging.elements import Span
from lamella.imaging.explicit import read_pieces
from tests.harness.samples import SHARED

EXPLICIT = "1.2.840.10008.1.2.1"
DataSet = dict[str, dict[str, Any]]


def list_native_files() -> list[Path]:
    """Return files whose values all lie in them as they go into Explicit VR Little Endian."""
    roots = [Path(str(DATA_ROOT)) / "test_files", *([SHARED] if SHARED.is_dir() else [])]
    found = []
    for path in (path for root in roots for path in sorted(root.rglob("*.dcm"))):
        try:
            header = read_header(MemorySource(path.read_bytes()))
            read_facts(MemorySource(path.read_bytes()))
        except InvalidInstance:
            continue
        bulk = header.bulk_values.values()
        if not header.deflated and not any(v.encapsulated or v.word_bytes > 1 for v in bulk):
            found.append(path)
    return found


def write(data_set: DataSet, source: MemorySource, header: Header | None = None) -> bytes:
    def find(uri: str) -> Sequence[Span]:
        assert header is not None
        value = header.bulk_values[uri.removeprefix("bulkdata/")]
        return [Span(value.offset_bytes, value.length_bytes)]

    is_ascii = msgspec.json.encode(data_set).isascii()
    meta = build_file_meta("1.2.3", "1.2.4", EXPLICIT)
    written = write_data_set(data_set, find, {}, is_ascii=is_ascii)
    return b"".join(read_pieces(source, [meta, *written]))


def decode(facts: InstanceFacts) -> DataSet:
    found: DataSet = msgspec.json.decode(facts.dicom_json)
    return found


def test_metadata_of_every_file_read_back_the_same() -> None:
    files = list_native_files()
    assert len(files) > 20
    for path in files:
        source = MemorySource(path.read_bytes())
        facts = read_facts(source)
        written = write(decode(facts), source, read_header(source))
        again = read_facts(MemorySource(written))
        assert decode(again) == decode(facts), path.name
        assert again.bulk_digest == facts.bulk_digest, path.name


def test_pydicom_reads_what_is_written() -> None:
    data_set: DataSet = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Wang^XiaoDong", "Phonetic": "홍^길동"}]},
        "00081140": {
            "vr": "SQ",
            "Value": [{"00080005": {"vr": "CS"}, "00100020": {"vr": "LO", "Value": ["Ü"]}}, {}],
        },
        "00280106": {"vr": "SS", "Value": [-1]},
    }
    ds = pydicom.dcmread(io.BytesIO(write(data_set, MemorySource(b""))))
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert str(ds.PatientName) == "Wang^XiaoDong==홍^길동"
    assert ds.ReferencedImageSequence[0].PatientID == "Ü"
    assert len(ds.ReferencedImageSequence) == 2
    assert ds.SmallestImagePixelValue == -1


def test_the_character_set_stays_where_text_is_ascii() -> None:
    data_set: DataSet = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]},
        "00100020": {"vr": "LO", "Value": ["A"]},
    }
    ds = pydicom.dcmread(io.BytesIO(write(data_set, MemorySource(b""))))
    assert ds.SpecificCharacterSet == "ISO_IR 100"


@pytest.mark.parametrize("depth", [10, 64, 65, 300])
def test_depth_is_bounded(depth: int) -> None:
    data_set: DataSet = {}
    for _ in range(depth):
        data_set = {"00081140": {"vr": "SQ", "Value": [data_set]}}
    if depth > 64:
        with pytest.raises(InvalidInstance):
            write(data_set, MemorySource(b""))
    else:
        assert write(data_set, MemorySource(b""))

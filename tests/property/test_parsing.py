"""Whatever the bytes are, parsing gives facts or one kind of refusal."""

import io
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import DATA_ROOT

from lamella.archive.bulk_values import find_value
from lamella.archive.charsets import find_decoder
from lamella.archive.cut import cut
from lamella.archive.facts import InstanceFacts, read_facts
from lamella.archive.source import MemorySource
from lamella.errors import InvalidInstance, ResourceNotFound

HEAD = b"\0" * 128 + b"DICM"
NAMES = ("CT_small.dcm", "rtplan.dcm", "JPEG2000.dcm", "reportsi.dcm", "image_dfl.dcm")
SEEDS = [(Path(str(DATA_ROOT)) / "test_files" / name).read_bytes() for name in NAMES]
IDS = {0x0020000D: "1.2", 0x0020000E: "1.3", 0x00080018: "1.4", 0x00080016: "1.5"}


def read(data: bytes) -> InstanceFacts | None:
    source = MemorySource(data)
    segments = cut(source)
    assert b"".join(data[offset : offset + length] for offset, length in segments) == data
    try:
        facts = read_facts(source)
    except InvalidInstance:
        return None
    assert sum(segment.length for segment in facts.segments) == len(data)
    return facts


@given(st.binary(max_size=400))
def test_random_bytes_after_the_prefix(data):
    read(HEAD + data)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 40000),
)
def test_damaged_files(seed, changes, size):
    data = bytearray(seed)
    for offset, value in changes:
        data[132 + offset % (len(data) - 132)] = value
    read(bytes(data[: max(size, 200)] if size % 2 else data))


@settings(deadline=None)
@given(st.sampled_from(SEEDS), st.text("0123456789ABCDEFabcdef/", max_size=30))
def test_any_path_is_found_or_not(seed, path):
    with pytest.raises(ResourceNotFound):
        find_value(MemorySource(seed), path + "/x")


def write(ds: pydicom.Dataset, implicit: bool) -> bytes:
    file = io.BytesIO()
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1"
    ds.file_meta, ds.preamble = meta, b"\0" * 128
    pydicom.dcmwrite(file, ds, implicit_vr=implicit, little_endian=True, force_encoding=True)
    return file.getvalue()


words = st.text("ABCDEFGHIJ 0123456789", max_size=16).map(str.strip)
leaves = st.one_of(
    st.tuples(st.just(0x0008103E), st.just("LO"), words),
    st.tuples(st.just(0x00280106), st.just("US"), st.integers(0, 65535)),
    st.tuples(st.just(0x00180050), st.just("DS"), st.integers(-999, 999).map(str)),
    st.tuples(st.just(0x00189087), st.just("FD"), st.floats(allow_nan=False)),
    st.tuples(st.just(0x00720068), st.just("LT"), words),
    st.tuples(st.just(0x00420011), st.just("OB"), st.binary(max_size=60)),
)


def make(elements: list) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    for tag, vr, value in elements:
        made = [make(item) for item in value] if vr == "SQ" else value
        ds.add_new(tag, vr, made)
    return ds


trees = st.recursive(
    st.lists(leaves, max_size=4),
    lambda items: st.lists(
        leaves | st.tuples(st.just(0x00081032), st.just("SQ"), st.lists(items, max_size=3)),
        max_size=4,
    ),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trees)
def test_implicit_and_explicit_are_the_same_content(elements):
    ds = make(elements)
    for tag, uid in IDS.items():
        ds.add_new(tag, "UI", uid)
    explicit, implicit = read(write(ds, implicit=False)), read(write(ds, implicit=True))
    assert explicit is not None
    assert implicit is not None
    assert explicit.fast
    assert implicit.fast
    assert explicit.content_digest == implicit.content_digest
    assert explicit.dicom_json == implicit.dicom_json


@given(st.binary(max_size=40), st.text("ISO_IR 2022\\1469837GBK-", max_size=30))
def test_text_always_decodes(value, charset):
    decoded = find_decoder(charset.encode())(value)
    decoded.encode("utf-8")

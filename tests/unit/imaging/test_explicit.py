"""Native originals as Explicit VR Little Endian, read back with pydicom."""

from __future__ import annotations

import io
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from lamella.archive.source import FileSource, MemorySource
from lamella.errors import BrokenInstance
from lamella.imaging.explicit import CHUNK_BYTES, read_file_meta, rewrite_explicit

BUNDLED = Path(pydicom.data.__file__).parent / "test_files"
SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "dicom"
REWRITTEN = (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


def read(data: bytes) -> pydicom.FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(data))


def native_files() -> Iterator[Path]:
    for folder in (BUNDLED, SHARED):
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or path.stat().st_size > 4 << 20:
                continue
            head = path.read_bytes()[:1024]
            if head[128:132] != b"DICM":
                continue
            try:
                uid = read_file_meta(MemorySource(path.read_bytes())).transfer_syntax_uid
            except BrokenInstance:
                continue
            if uid in REWRITTEN:
                yield path


def swap(value: bytes, word: int) -> bytes:
    return b"".join(value[at : at + word][::-1] for at in range(0, len(value), word))


def differences(before: Dataset, after: Dataset, *, is_big: bool, where: str = "") -> list[str]:
    """Return what differs in meaning; group lengths may be gone, OB and OW are equal."""
    found = []
    kept = [tag for tag in list(before.keys()) if tag.element and tag != 0x00080001]
    left = [tag for tag in list(after.keys()) if tag.element]
    if kept != left:
        found.append(f"{where} tags {set(kept) ^ set(left)}")
    for tag in kept:
        one, other = before[tag], after[tag]
        if one.VR == "SQ":
            assert len(one.value) == len(other.value)
            for index, pair in enumerate(zip(one.value, other.value, strict=True)):
                found += differences(*pair, is_big=is_big, where=f"{where}/{tag}[{index}]")
            continue
        value = one.value
        if is_big and one.VR in WORDS and value:
            word = WORDS[one.VR]
            if tag == 0x7FE00010 and one.VR == "OW":
                word = max(word, before.BitsAllocated // 8)  # as pydicom reads pixels
            value = swap(value, word)
        if repr(value) != repr(other.value) or {one.VR, other.VR} not in (
            {one.VR},
            {"OB", "OW"},
        ):
            found.append(f"{where}/{tag} {one.VR} {other.VR}")
    return found


@pytest.mark.parametrize("path", list(native_files()), ids=lambda path: path.name)
def test_real_files_keep_their_meaning(path):
    raw = path.read_bytes()
    with path.open("rb") as file:
        result = rewrite_explicit(FileSource(file.fileno(), 0, len(raw)))
        chunks = list(result.chunks)
    assert max(map(len, chunks)) <= CHUNK_BYTES
    data = b"".join(chunks)
    assert result.length_bytes in (None, len(data))
    before, after = read(raw), read(data)
    is_big = before.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = differences(before, after, is_big=is_big)
    if "BigEndianExplicitTransferSyntax" in path.name:
        # fo-dicom wrote UN values little endian, as PS3.5 6.2.2 has it; pydicom swaps them.
        found = [line for line in found if "/(00" not in line or "/(0028" in line]
    assert found == []


def sample() -> Dataset:
    """A data set with what implicit encoding leaves open."""
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ds.SOPInstanceUID = "1.2.3.4"
    ds.PatientName = "A^B"
    ds.PixelRepresentation = 1
    ds.SmallestImagePixelValue = -5
    ds.Rows, ds.Columns, ds.BitsAllocated = 2, 3, 16
    block = ds.private_block(0x0009, "GEMS_IDEN_01", create=True)
    block.add_new(0x27, "SL", -7)
    unknown = ds.private_block(0x0011, "NOBODY KNOWS", create=True)
    unknown.add_new(0x01, "UN", b"\x01\x02\x03\x04")
    inner = Dataset()
    inner.CodeValue = "1"
    inner.PixelRepresentation = 0
    inner.LargestImagePixelValue = 65000
    outer = Dataset()
    outer.ConceptNameCodeSequence = Sequence([inner, Dataset()])
    ds.ContentSequence = Sequence([outer])
    ds.AcquisitionContextSequence = Sequence([])
    ds.add_new(0x00282000, "OB", b"\x01\x02\x03\x04")
    ds.add_new(0x7FE00010, "OW", struct.pack("<6h", 1, -2, 3, -4, 5, -6))
    return ds


def write(ds: Dataset, uid: str, *, undefined: bool = False) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta = meta
    ds.ContentSequence.is_undefined_length = undefined
    ds["ContentSequence"].is_undefined_length = undefined
    for item in ds.ContentSequence:
        item.is_undefined_length_sequence_item = undefined
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


def rewrite(raw: bytes) -> bytes:
    result = rewrite_explicit(MemorySource(raw))
    data = b"".join(result.chunks)
    assert result.length_bytes in (None, len(data))
    return data


@pytest.mark.parametrize("undefined", [False, True])
def test_an_implicit_data_set_gets_its_vrs(undefined):
    after = read(rewrite(write(sample(), ImplicitVRLittleEndian, undefined=undefined)))
    assert differences(read(write(sample(), ExplicitVRLittleEndian)), after, is_big=False) == []
    assert after["SmallestImagePixelValue"].VR == "SS"
    item = after.ContentSequence[0].ConceptNameCodeSequence[0]
    assert (item["LargestImagePixelValue"].VR, item.LargestImagePixelValue) == ("US", 65000)
    assert after[0x00091027].VR == "SL"
    assert after[0x00111001].value == b"\x01\x02\x03\x04"


@pytest.mark.parametrize("undefined", [False, True])
def test_big_endian_values_are_swapped(undefined):
    ds = sample()
    ds.PixelData = swap(ds.PixelData, 2)
    after = read(rewrite(write(ds, ExplicitVRBigEndian, undefined=undefined)))
    assert differences(read(write(sample(), ExplicitVRLittleEndian)), after, is_big=False) == []


def test_an_explicit_data_set_that_calls_itself_implicit_is_recognised():
    raw = write(sample(), ExplicitVRLittleEndian)
    declared = b"UI\x14\x00" + ExplicitVRLittleEndian.encode() + b"\x00"
    lie = b"UI\x12\x00" + ImplicitVRLittleEndian.encode() + b"\x00"
    assert differences(read(raw), read(rewrite(raw.replace(declared, lie))), is_big=False) == []


def test_explicit_little_endian_stays_as_it_is():
    raw = write(sample(), ExplicitVRLittleEndian)
    assert rewrite(raw) == raw


def test_a_report_in_an_encapsulated_syntax_gets_new_file_meta():
    raw = write(sample(), ExplicitVRLittleEndian)
    uid = b"1.2.840.10008.1.2.4.90"
    old = struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + b"1.2.840.10008.1.2.1\x00"
    new = struct.pack("<HH2sH", 2, 0x10, b"UI", len(uid)) + uid
    assert rewrite(raw.replace(old, new)) == raw


def test_what_is_too_long_for_its_vr_becomes_un():
    ds = sample()
    with pytest.warns(UserWarning, match="exceeds the maximum length"):
        ds.ImageComments = "x" * 70000
    expected = struct.pack("<HH2sHL", 0x0020, 0x4000, b"UN", 0, 70000) + b"x" * 70000
    assert expected in rewrite(write(ds, ImplicitVRLittleEndian))


def test_a_deflated_data_set_is_inflated():
    raw = write(sample(), DeflatedExplicitVRLittleEndian)
    assert rewrite(raw) == write(sample(), ExplicitVRLittleEndian)
    start = read_file_meta(MemorySource(raw)).end_bytes
    for broken in (raw[: start + 20], raw[:start] + b"\xff" * 50):
        with pytest.raises(BrokenInstance):
            list(rewrite_explicit(MemorySource(broken)).chunks)


def test_inflating_goes_in_small_steps():
    start = read_file_meta(MemorySource(write(sample(), DeflatedExplicitVRLittleEndian))).end_bytes
    raw = write(sample(), DeflatedExplicitVRLittleEndian)[:start]
    raw += zlib.compress(bytes(64 << 20), wbits=-15)
    sizes = [len(chunk) for chunk in rewrite_explicit(MemorySource(raw)).chunks]
    assert sum(sizes) > 64 << 20
    assert max(sizes) <= CHUNK_BYTES


def test_group_lengths_are_dropped():
    raw = bytearray(write(sample(), ImplicitVRLittleEndian))
    start = read_file_meta(MemorySource(raw)).end_bytes
    raw[start:start] = struct.pack("<HHLL", 8, 0, 4, 999) + struct.pack("<HHLL", 8, 1, 4, 999)
    assert rewrite(bytes(raw)) == rewrite(write(sample(), ImplicitVRLittleEndian))


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\x00" * 400,
        b"\x00" * 128 + b"DICM",
        b"\x00" * 128 + b"DICM" + b"\x02\x00\x10\x00UI\xff\xff1.2",
        write(sample(), ImplicitVRLittleEndian) + struct.pack("<HHL", 0xFFFE, 0xE00D, 0) * 2,
        write(sample(), ImplicitVRLittleEndian) + struct.pack("<HHL", 0x7FE1, 0x1010, 0xFFFFFFFF)
        + struct.pack("<HHL", 0x0010, 0x0010, 0),
        write(sample(), ExplicitVRBigEndian) + b"\x7f\xe1\x00\x10??\x00\x00",
        write(sample(), ExplicitVRBigEndian) + b"\x7f\xe1\x00\x10OB\x00\x00" + b"\xff" * 4,
    ],
)  # fmt: skip
def test_damage_shows_before_the_first_chunk(broken):
    with pytest.raises(BrokenInstance):
        rewrite_explicit(MemorySource(broken))


def test_deep_nesting_is_refused():
    raw = write(sample(), ImplicitVRLittleEndian)
    deeper = struct.pack("<HHL", 0x0040, 0xA730, 0xFFFFFFFF)
    deeper += struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    with pytest.raises(BrokenInstance, match="nested"):
        rewrite_explicit(MemorySource(raw + deeper * 5000))


def test_a_truncated_last_value_keeps_what_is_there():
    raw = write(sample(), ImplicitVRLittleEndian)
    after = read(rewrite(raw[:-4]))
    assert after.PixelData == sample().PixelData[:-4]


class LongSource:
    """A file whose last value is many GB of zeros that nobody stored."""

    def __init__(self, head: bytes, value_bytes: int) -> None:
        self._head = head
        self.size = len(head) + value_bytes

    def read_at(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        data = self._head[offset : offset + length]
        return data + bytes(length - len(data))


@pytest.mark.parametrize("uid", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_pixels_of_many_gigabytes_are_never_held(uid):
    ds = sample()
    ds.PixelData = b""
    value_bytes = 3 << 30
    order = ">" if uid == ExplicitVRBigEndian else "<"
    head = write(ds, uid)[:-4] + struct.pack(order + "L", value_bytes)
    tracemalloc.start()
    try:
        result = rewrite_explicit(LongSource(head, value_bytes))
        sizes = [len(next(result.chunks)) for _ in range(20)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert value_bytes < (result.length_bytes or 0) < value_bytes + 4096
    assert max(sizes) <= CHUNK_BYTES
    assert peak < 8 * CHUNK_BYTES


@pytest.mark.parametrize("uid", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_damaged_files_are_errors_or_files_of_the_length_foretold(uid):
    raw = write(sample(), uid, undefined=True)
    start = read_file_meta(MemorySource(raw)).end_bytes
    random = Random(13)
    outcomes = set()
    for _ in range(600):
        damaged = bytearray(raw[: random.randrange(start, len(raw) + 1)])
        for _ in range(random.randrange(4)):
            damaged[random.randrange(128, len(damaged))] = random.randrange(256)
        try:
            result = rewrite_explicit(MemorySource(bytes(damaged)))
            data = b"".join(result.chunks)
        except BrokenInstance:
            outcomes.add("error")
            continue
        outcomes.add("file")
        assert result.length_bytes in (None, len(data))
    assert outcomes == {"error", "file"}

"""Frame tables: against pydicom for every file at hand, and by hand for what files rarely have."""

import base64
import logging
import struct
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.data import DATA_ROOT
from pydicom.encaps import generate_frames

from lamella.archive.frames import (
    DoubtfulFrames,
    FrameTable,
    build_frame_table,
    find_pixel_data,
    is_encapsulated,
    read_items,
)
from lamella.archive.header import has_preamble, read_header
from lamella.archive.recorder import BulkValue
from lamella.archive.source import MemorySource

SHARED = Path(__file__).parents[4] / "shared" / "data" / "dicom"
J2K, MPEG = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.100"
SOC, EOC = b"\xff\x4f\xff\x51", b"\xff\xd9"


def find_files() -> list[Path]:
    roots = [Path(str(DATA_ROOT)), *([SHARED] if SHARED.is_dir() else [])]
    files = [path for root in roots for path in sorted(root.rglob("*")) if path.is_file()]
    return [path for path in files if has_preamble(MemorySource(path.read_bytes()[:132]))]


def read_frames(source: MemorySource, table: FrameTable) -> list[bytes]:
    return [
        b"".join(source.read_at(*part) for part in table.ranges(index))
        for index in range(table.n_frames)
    ]


def check_native(path: Path, data: bytes, table: FrameTable) -> None:
    ds = pydicom.dcmread(path)
    keywords = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    value = next(ds[keyword].value for keyword in keywords if keyword in ds)
    bits = "".join(f"{byte:08b}"[::-1] for byte in value) if table.bit_packed else ""
    for index, frame in enumerate(read_frames(MemorySource(data), table)):
        if table.bit_packed:
            start = table.bit_offset(index)
            ours = "".join(f"{byte:08b}"[::-1] for byte in frame)[start : start + table.frame_bits]
            assert ours == bits[index * table.frame_bits : (index + 1) * table.frame_bits]
        else:
            size = table.frame_bits // 8
            start = index * size
            stop = start + size + -size % table.word_bytes  # whole words
            assert frame == value[start:stop], path.name


def check_encapsulated(path: Path, data: bytes, table: FrameTable) -> None:
    ds = pydicom.dcmread(path)
    extended = None
    if "ExtendedOffsetTable" in ds:
        extended = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths)
    frames = generate_frames(
        ds.PixelData, number_of_frames=table.n_frames, extended_offsets=extended
    )
    assert list(frames) == read_frames(MemorySource(data), table), path.name


def test_every_file_gives_the_frames_that_pydicom_gives():
    logging.disable(logging.CRITICAL)
    checked, doubtful = 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in find_files():
            data = path.read_bytes()
            header = read_header(MemorySource(data))
            if header.deflated:
                continue
            try:
                table = build_frame_table(
                    header.source,
                    header.attributes,
                    header.bulk_values,
                    header.transfer_syntax_uid,
                )
            except DoubtfulFrames as doubt:
                doubtful.append(f"{path.name} ({doubt})")
                continue
            if table is not None:
                assert FrameTable.from_bytes(table.to_bytes()) == table
                check = check_encapsulated if table.encapsulated else check_native
                check(path, data, table)
                checked += 1
    logging.disable(logging.NOTSET)
    print(f"\n{checked} tables; none for {doubtful}")
    assert len(doubtful) <= checked // 20


def encapsulate(fragments: list[bytes], table: bytes = b"") -> tuple[MemorySource, BulkValue]:
    items = b"".join(
        struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in [table, *fragments]
    )
    data = b"head" + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return MemorySource(data), BulkValue(4, len(data) - 4, "OB", True, 1)


def build(fragments, n_frames, table=b"", extra=None, uid=J2K):
    source, value = encapsulate(fragments, table)
    attributes = {"00280008": {"vr": "IS", "Value": [n_frames]}, **(extra or {})}
    frames = build_frame_table(source, attributes, {"7FE00010": value}, uid)
    assert frames is not None
    return read_frames(source, frames)


def test_empty_table_with_a_fragment_each():
    assert build([b"aa", b"bb"], 2) == [b"aa", b"bb"]


def test_single_frame_of_many_fragments():
    assert build([b"aa", b"bb", b"cc"], 1) == [b"aabbcc"]


def test_basic_offset_table_groups_fragments():
    assert build([b"aa", b"bb", b"cc"], 2, struct.pack("<2I", 0, 20)) == [b"aabb", b"cc"]


def test_a_wrong_basic_offset_table_is_not_believed():
    assert build([b"aa", b"bb"], 2, struct.pack("<2I", 0, 12)) == [b"aa", b"bb"]
    with pytest.raises(DoubtfulFrames):
        build([b"aa", b"bb", b"cc"], 2, struct.pack("<2I", 0, 12))


def test_codestream_starts_tell_frames_apart():
    first = [SOC + b"1111", b"22"]
    assert build([*first, SOC + b"33"], 2) == [b"".join(first), SOC + b"33"]


def test_codestream_ends_tell_frames_apart():
    assert build([b"11", b"2" + EOC + b"\0", b"33" + EOC], 2) == [
        b"112" + EOC + b"\0",
        b"33" + EOC,
    ]


def test_extended_offset_table_takes_the_padding_off():
    offsets, lengths = struct.pack("<2Q", 0, 12), struct.pack("<2Q", 3, 4)
    extra = {
        "7FE00001": {"vr": "OV", "InlineBinary": _base64(offsets)},
        "7FE00002": {"vr": "OV", "InlineBinary": _base64(lengths)},
    }
    assert build([b"aaa\0", b"bbbb"], 2, extra=extra) == [b"aaa", b"bbbb"]


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


class SparseSource:
    """Fragments that lie more than 4 GiB apart, without the bytes."""

    def __init__(self, length: int, count: int) -> None:
        offsets = [index * (length + 8) & 0xFFFFFFFF for index in range(count)]
        table = struct.pack(f"<{count}I", *offsets)
        self._pieces = {0: struct.pack("<HHI", 0xFFFE, 0xE000, len(table)) + table}
        position = len(self._pieces[0])
        self.starts = []
        for _ in range(count):
            self._pieces[position] = struct.pack("<HHI", 0xFFFE, 0xE000, length)
            self.starts.append(position + 8)
            position += 8 + length
        self._pieces[position] = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        self.size = position + 8

    def read_at(self, offset: int, length: int) -> bytes:
        for start, piece in self._pieces.items():
            if start <= offset < start + len(piece):
                return piece[offset - start :][:length]
        return b"\0" * min(length, 64)


def test_offsets_that_wrap_at_4_gib_are_unwrapped():
    source = SparseSource(length=3 * 2**30, count=4)
    value = BulkValue(0, source.size, "OB", True, 1)
    attributes = {"00280008": {"vr": "IS", "Value": [4]}}
    table = build_frame_table(source, attributes, {"7FE00010": value}, J2K)
    assert table is not None
    assert [table.ranges(index)[0] for index in range(4)] == [
        (start, 3 * 2**30) for start in source.starts
    ]


def native(rows, columns, bits, n_frames, length, photometric="MONOCHROME2", samples=1, word=1):
    attributes = {
        "00280002": {"vr": "US", "Value": [samples]},
        "00280004": {"vr": "CS", "Value": [photometric]},
        "00280008": {"vr": "IS", "Value": [n_frames]},
        "00280010": {"vr": "US", "Value": [rows]},
        "00280011": {"vr": "US", "Value": [columns]},
        "00280100": {"vr": "US", "Value": [bits]},
    }
    value = BulkValue(100, length, "OW", False, word)
    source = MemorySource(b"\0" * (100 + length))
    return build_frame_table(source, attributes, {"7FE00010": value}, "1.2.840.10008.1.2.1")


def test_native_frames_are_arithmetic():
    table = native(2, 3, 16, 2, 24)
    assert [table.ranges(index) for index in range(2)] == [((100, 12),), ((112, 12),)]
    assert not table.bit_packed
    for index in (-1, 2):
        with pytest.raises(IndexError):
            table.ranges(index)


def test_bits_that_share_a_byte_are_marked():
    table = native(3, 3, 1, 3, 4)
    assert table.bit_packed
    assert [(table.ranges(index), table.bit_offset(index)) for index in range(3)] == [
        (((100, 2),), 0),
        (((101, 2),), 1),
        (((102, 2),), 2),
    ]
    assert not native(4, 4, 1, 3, 6).bit_packed


def test_shared_chrominance_has_two_samples_a_pixel():
    assert native(2, 4, 8, 1, 16, "YBR_FULL_422", 3).ranges(0) == ((100, 16),)
    assert native(2, 4, 8, 1, 24, "YBR_FULL_422", 3).ranges(0) == ((100, 24),)


def test_big_endian_words():
    assert native(2, 3, 16, 2, 24, word=2).word_bytes == 2
    with pytest.raises(DoubtfulFrames, match="words span frames"):
        native(3, 3, 8, 2, 18, word=2)


def test_doubts():
    with pytest.raises(DoubtfulFrames, match="shorter"):
        native(2, 3, 16, 3, 24)
    with pytest.raises(DoubtfulFrames, match="video"):
        build([b"aa"], 9, uid=MPEG)
    with pytest.raises(DoubtfulFrames, match="no fragments"):
        build([], 1)
    source, value = encapsulate([b"aa"])
    with pytest.raises(DoubtfulFrames, match="items"):
        read_items(source, value._replace(length_bytes=value.length_bytes - 8))


def test_tables_of_another_format_are_refused():
    encoded = native(2, 3, 16, 2, 24).to_bytes()
    with pytest.raises(ValueError, match="unknown format"):
        FrameTable.from_bytes(encoded.replace(b"\x97\x01", b"\x97\x02", 1))


def test_no_pixel_data_no_table():
    assert build_frame_table(MemorySource(b""), {}, {}, J2K) is None
    assert find_pixel_data({}) is None


def test_encapsulated_transfer_syntaxes():
    for uid in (J2K, "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"):
        assert is_encapsulated(uid)
    for uid in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"):
        assert not is_encapsulated(uid)

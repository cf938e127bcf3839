"""Compressed instances as Explicit VR Little Endian, against pydicom's own decompression."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_fragmented_frames
from pydicom.filereader import read_file_meta_info
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from lamella.archive.source import MemorySource
from lamella.errors import BrokenInstance, NotAcceptable
from lamella.imaging.decoders import DecodedFrame, PixelDescription, can_decode, decode_frame
from lamella.imaging.explicit import CHUNK_BYTES, decompress_instance

BUNDLED = Path(pydicom.data.__file__).parent / "test_files"
JPEG_LS, DEFLATED_FRAMES = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.8.1"
DCT = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
# pydicom fails on it as well: the codestream is of another size than the attributes say.
CONTRADICTORY = "JPEG2000-embedded-sequence-delimiter.dcm"


async def decode(codestream: bytes, pixel: PixelDescription) -> DecodedFrame:
    """Decode here: these codestreams are known to do no harm."""
    return decode_frame(codestream, pixel)


def read(data: bytes) -> pydicom.FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(data))


def frame_ranges(raw: bytes, frames: int) -> list[list[tuple[int, int]]]:
    """Return each frame's fragments as ranges of the file, found by their bytes."""
    value = read(raw).PixelData
    start = raw.index(value[:64])
    found, position = [], start
    for fragments in generate_fragmented_frames(value, number_of_frames=frames):
        ranges = []
        for fragment in fragments:
            position = raw.index(fragment, position)
            ranges.append((position, len(fragment)))
            position += len(fragment)
        found.append(ranges)
    return found


def describe(raw: bytes) -> PixelDescription:
    ds = read(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attributes = ds.group_dataset(0x28).to_json_dict()
    return PixelDescription.from_dicom_json(attributes, str(ds.file_meta.TransferSyntaxUID))


async def decompress(raw: bytes) -> bytes:
    pixel = describe(raw)
    ranges = frame_ranges(raw, pixel.frames)
    result = await decompress_instance(MemorySource(raw), ranges, pixel, decode)
    chunks = [chunk async for chunk in result.chunks]
    assert max(map(len, chunks)) <= CHUNK_BYTES
    assert sum(map(len, chunks)) == result.length_bytes
    data = b"".join(chunks)
    assert read(data).PhotometricInterpretation == result.photometric_interpretation
    return data


def compressed_files() -> list[Path]:
    found = []
    for path in sorted(BUNDLED.glob("*.dcm")):
        if path.name == CONTRADICTORY or path.stat().st_size > 2 << 20:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                uid = read_file_meta_info(path).get("TransferSyntaxUID", "")
            except pydicom.errors.InvalidDicomError:
                continue
        if can_decode(uid) and "PixelData" in read(path.read_bytes()):
            found.append(path)
    return found


@pytest.mark.parametrize("path", compressed_files(), ids=lambda path: path.name)
async def test_bundled_files_agree_with_pydicom(path):
    raw = path.read_bytes()
    after, expected = read(await decompress(raw)), read(raw)
    pixel = describe(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected.decompress(generate_instance_uid=False)
        except RuntimeError:  # pydicom has no decoder for it: nothing to compare pixels with
            assert len(after.PixelData) == pixel.value_bytes + pixel.value_bytes % 2
            return
    assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    dtype = f"<u{pixel.bits_allocated // 8}"
    mine = np.frombuffer(after.PixelData[: pixel.value_bytes], dtype).astype("i8")
    theirs = np.frombuffer(expected.PixelData[: pixel.value_bytes], dtype).astype("i8")
    tolerance = 1 if pixel.transfer_syntax_uid in DCT and pixel.samples == 3 else 0
    assert np.abs(mine - theirs).max() <= tolerance
    assert len(after.PixelData) == len(expected.PixelData)
    assert after["PixelData"].VR == expected["PixelData"].VR
    del after.PixelData, expected.PixelData
    # pydicom adds Number of Frames nowhere and keeps group lengths, which are wrong by now.
    for tag in [tag for tag in list(expected.keys()) if tag.element == 0]:
        del expected[tag]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert after.to_json_dict() == expected.to_json_dict()


def instance(frames: list[np.ndarray], *, extended: bool = False) -> Dataset:
    """Return an instance with something in front of and behind its compressed frames."""
    first = frames[0]
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7.2", "1.2.3.4"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.NumberOfFrames = len(frames)
    ds.Rows, ds.Columns = first.shape
    is_binary = first.dtype == bool
    ds.BitsAllocated = 1 if is_binary else first.dtype.itemsize * 8
    ds.BitsStored, ds.HighBit = ds.BitsAllocated, ds.BitsAllocated - 1
    ds.PixelRepresentation = 0
    item = Dataset()
    item.CodeValue = "1"
    ds.ConceptNameCodeSequence = Sequence([item])
    if is_binary:
        packed = [np.packbits(one, bitorder="little").tobytes() for one in frames]
        streams = [zlib.compress(one, wbits=-15) for one in packed]
        streams = [one + b"\x00" * (len(one) % 2) for one in streams]
    else:
        streams = [bytes(imagecodecs.jpegls_encode(one)) for one in frames]
        streams = [one + b"\x00" * (len(one) % 2) for one in streams]
    if extended:
        value, offsets, lengths = encapsulate_extended(streams)
        ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = offsets, lengths
    else:
        value = encapsulate(streams)
    ds.PixelData = value
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.add_new(0xFFFCFFFC, "OB", b"\x00" * 6)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = JPEG_LS
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def write(ds: Dataset) -> bytes:
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, enforce_file_format=True)
    data = out.getvalue()
    if ds.BitsAllocated == 1:
        # pydicom does not know this transfer syntax, and refuses to write it.
        data = data.replace(JPEG_LS.encode(), DEFLATED_FRAMES.encode() + b"\x00", 1)
    return data


RNG = np.random.default_rng(3)


@pytest.mark.parametrize("extended", [False, True])
async def test_frames_follow_each_other_and_the_tail_stays(extended):
    frames = [RNG.integers(0, 65536, (5, 7), "u2") for _ in range(9)]
    after = read(await decompress(write(instance(frames, extended=extended))))
    assert after.PixelData == b"".join(frame.tobytes() for frame in frames)
    assert "ExtendedOffsetTable" not in after
    assert after[0xFFFCFFFC].value == b"\x00" * 6
    assert after.ConceptNameCodeSequence[0].CodeValue == "1"


async def test_an_odd_value_is_padded():
    frames = [RNG.integers(0, 256, (3, 3), "u1") for _ in range(3)]
    after = read(await decompress(write(instance(frames))))
    assert after.PixelData == b"".join(frame.tobytes() for frame in frames) + b"\x00"
    assert after["PixelData"].VR == "OB"


@pytest.mark.parametrize("shape", [(4, 6), (3, 5), (1, 1)])
async def test_one_bit_frames_follow_each_other_without_gaps(shape):
    frames = [RNG.integers(0, 2, shape).astype(bool) for _ in range(7)]
    after = read(await decompress(write(instance(frames))))
    packed = np.packbits(np.concatenate([frame.ravel() for frame in frames]), bitorder="little")
    assert after.PixelData == packed.tobytes() + b"\x00" * (packed.size % 2)


async def test_what_has_no_native_form_is_refused():
    frames = [RNG.integers(0, 256, (4, 4), "u1") for _ in range(2)]
    raw = write(instance(frames))
    pixel, ranges = describe(raw), frame_ranges(raw, 2)
    source = MemorySource(raw)
    with pytest.raises(NotAcceptable):
        await decompress_instance(source, ranges[:1], pixel, decode)
    icon = Dataset()
    icon.add_new(0x7FE00010, "OB", encapsulate([b"\x00\x00"]))
    icon["PixelData"].is_undefined_length = True
    ds = instance(frames)
    ds.IconImageSequence = Sequence([icon])
    raw = write(ds)
    with pytest.raises(NotAcceptable, match="header"):
        await decompress_instance(MemorySource(raw), frame_ranges(raw, 2), pixel, decode)


async def test_a_broken_first_frame_shows_before_the_first_chunk():
    raw = bytearray(write(instance([RNG.integers(0, 256, (4, 4), "u1")] * 2)))
    pixel, ranges = describe(bytes(raw)), frame_ranges(bytes(raw), 2)
    start = ranges[0][0][0]
    raw[start : start + 8] = bytes(8)
    with pytest.raises(BrokenInstance):
        await decompress_instance(MemorySource(bytes(raw)), ranges, pixel, decode)


async def test_a_broken_later_frame_ends_the_chunks():
    frames = [RNG.integers(0, 256, (4, 4), "u1") for _ in range(5)]
    raw = bytearray(write(instance(frames)))
    pixel, ranges = describe(bytes(raw)), frame_ranges(bytes(raw), 5)
    start = ranges[3][0][0]
    raw[start : start + 8] = bytes(8)
    result = await decompress_instance(MemorySource(bytes(raw)), ranges, pixel, decode)
    got: list[bytes] = []
    with pytest.raises(BrokenInstance):
        await collect(result.chunks, got)
    assert got[-1] == frames[2].tobytes()
    assert sum(map(len, got)) < result.length_bytes


async def collect(chunks: AsyncIterator[bytes], into: list[bytes]) -> None:
    async for chunk in chunks:
        into.append(chunk)  # noqa: PERF401  # what came before an error has to stay


async def test_a_missing_delimiter_is_forgiven():
    frames = [RNG.integers(0, 256, (4, 4), "u1") for _ in range(2)]
    ds = instance(frames)
    del ds[0xFFFCFFFC]
    raw = write(ds)
    assert raw.endswith(struct.pack("<HHL", 0xFFFE, 0xE0DD, 0))
    pixel, ranges = describe(raw), frame_ranges(raw, 2)
    result = await decompress_instance(MemorySource(raw[:-8]), ranges, pixel, decode)
    data = b"".join([chunk async for chunk in result.chunks])
    assert read(data).PixelData == b"".join(frame.tobytes() for frame in frames)

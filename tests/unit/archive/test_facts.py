"""Facts of whole files: identity, digests under re-encoding and edits, refusals."""

import hashlib
import io
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pydicom
import pytest
from pydicom.data import DATA_ROOT
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from lamella.archive import header
from lamella.archive.bulk_values import find_value
from lamella.archive.facts import InstanceFacts, has_preamble, read_facts
from lamella.archive.source import FileSource, MemorySource
from lamella.errors import InvalidInstance, ResourceNotFound

BUNDLED = Path(str(DATA_ROOT)) / "test_files"
IMPLICIT, EXPLICIT, BIG = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
)
DEFLATED = "1.2.840.10008.1.2.1.99"


def make_instance(rows: int = 64, private: bool = True) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = "1.2.3", "1.2.3.4", "1.2.3.4.5"
    ds.PatientID, ds.IssuerOfPatientID, ds.InstanceNumber = "P1", "Here", 7
    ds.PatientName = "Grün^Ada"
    ds.Rows, ds.Columns, ds.SamplesPerPixel = rows, 64, 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.WindowCenter, ds.PixelSpacing = "40.5", [0.5, 0.25]
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "113691", "x"
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.9"
    item.ReferencedImageSequence = Sequence([inner])
    ds.ProcedureCodeSequence = Sequence([item])
    if private:
        ds.add_new(0x00110010, "LO", "LAMELLA TEST")
        ds.add_new(0x00111001, "LO", "text")
        ds.add_new(0x00111002, "UL", [1, 70000])
        ds.add_new(0x00111003, "SQ", Sequence([inner, inner]))
        ds.add_new(0x00111004, "OB", b"\x01\x02\x20\x00")
    ds.PixelData = np.arange(rows * 64, dtype="<u2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def write(ds: Dataset, transfer_syntax: str = EXPLICIT, undefined: bool = False) -> bytes:
    """Encode a data set that was made with little-endian pixels."""
    if transfer_syntax == BIG:
        ds = pydicom.dcmread(io.BytesIO(write(ds)))
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    for element in ds.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined
    file_meta = FileMetaDataset()
    file_meta.TransferSyntaxUID = transfer_syntax
    file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta, ds.preamble = file_meta, b"\0" * 128
    file = io.BytesIO()
    pydicom.dcmwrite(
        file,
        ds,
        implicit_vr=transfer_syntax == IMPLICIT,
        little_endian=transfer_syntax != BIG,
        force_encoding=True,
    )
    return file.getvalue()


def facts_of(data: bytes, **options: str) -> InstanceFacts:
    return read_facts(MemorySource(data), **options)


def test_identity():
    facts = facts_of(write(make_instance()))
    assert (facts.study_uid, facts.series_uid, facts.sop_uid) == ("1.2.3", "1.2.3.4", "1.2.3.4.5")
    assert facts.sop_class_uid == "1.2.840.10008.5.1.4.1.1.7"
    assert facts.transfer_syntax_uid == EXPLICIT
    assert (facts.patient_id, facts.issuer_of_patient_id) == ("P1", "Here")
    assert facts.instance_number == 7
    assert facts.fast
    assert facts.fallback_reason is None


@pytest.mark.parametrize("rows", [64, 1024])
def test_segments_are_the_file_and_named_by_their_bytes(rows, tmp_path):
    data = write(make_instance(rows))
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    with path.open("rb") as file:
        facts = read_facts(FileSource(file.fileno(), 0, len(data)))
    assert facts == facts_of(data)
    assert len(facts.segments) == (2 if rows == 64 else 3)
    joined = b""
    for segment in facts.segments:
        part = data[segment.offset : segment.offset + segment.length]
        assert hashlib.sha256(part).digest() == segment.digest
        joined += part
    assert joined == data
    assert facts.size_bytes == len(data)


@pytest.mark.parametrize("rows", [64, 1024])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("transfer_syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_digests_do_not_see_the_encoding(rows, undefined, transfer_syntax):
    expected = facts_of(write(make_instance(rows)))
    facts = facts_of(write(make_instance(rows), transfer_syntax, undefined))
    assert facts.fast
    assert facts.content_digest == expected.content_digest
    assert facts.bulk_digest == expected.bulk_digest


def test_content_digest_sees_every_edit():
    digests = {facts_of(write(make_instance())).content_digest}
    for change in range(7):
        ds = make_instance()
        if change == 0:
            ds.InstanceNumber = 8
        elif change == 1:
            ds.Rows = 32
        elif change == 2:
            ds[0x00111002].value = [1, 70001]
        elif change == 3:
            ds.ProcedureCodeSequence[0].CodeValue = "1"
        elif change == 4:
            ds.ProcedureCodeSequence.append(Dataset())
        elif change == 5:
            ds.PixelData = ds.PixelData[:-1] + b"\x7f"
        else:
            ds[0x00111004].value = b"\x01\x02\x20\x20"
        digests.add(facts_of(write(ds)).content_digest)
    assert len(digests) == 8


@pytest.mark.parametrize("rows", [64, 1024])
def test_bulk_digest_sees_pixels_only(rows):
    ds = make_instance(rows)
    expected = facts_of(write(ds)).bulk_digest
    ds.PatientName = "Other"
    assert facts_of(write(ds)).bulk_digest == expected
    ds.PixelData = b"\x01" + ds.PixelData[1:]
    assert facts_of(write(ds)).bulk_digest != expected
    del ds.PixelData
    assert facts_of(write(ds)).bulk_digest != expected


def test_numbers_that_look_like_padding_are_kept_apart():
    digests = set()
    for value in (0, 0x20, 0x2020, None):
        ds = make_instance()
        ds.PixelPaddingValue = value
        digests.add(facts_of(write(ds)).content_digest)
    assert len(digests) == 4


@pytest.mark.skipif(shutil.which("dcmconv") is None, reason="DCMTK is not installed")
@pytest.mark.parametrize(
    "options",
    [["+te", "-e"], ["+ti"], ["+ti", "-e", "+g"], ["+tb"], ["+td"], ["-p", "+p", "64", "32"]],
)
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "waveform_ecg.dcm"])
def test_dcmtk_re_encodes_without_a_change_of_digest(name, options, tmp_path):
    source, target = BUNDLED / name, tmp_path / "out.dcm"
    options = options[1:] if options[0] == "-p" else options
    subprocess.run(["dcmconv", "-q", *options, source, target], check=True, capture_output=True)
    before, after = facts_of(source.read_bytes()), facts_of(target.read_bytes())
    assert before.content_digest == after.content_digest
    assert before.bulk_digest == after.bulk_digest


def test_json_is_utf8_and_says_so():
    document = msgspec.json.decode(facts_of(write(make_instance())).dicom_json)
    assert document["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert document["00100010"]["Value"] == [{"Alphabetic": "Grün^Ada"}]
    assert not [key for key in document if key.startswith("0002")]
    assert list(document) == sorted(document)


def test_fallback_charset_serves_files_that_declare_none():
    ds = make_instance()
    ds.SpecificCharacterSet = "ISO_IR 192"
    data = write(ds).replace(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192", b"")
    plain = msgspec.json.decode(facts_of(data).dicom_json)
    told = msgspec.json.decode(facts_of(data, fallback_charset="ISO_IR 192").dicom_json)
    assert plain["00100010"]["Value"] == [{"Alphabetic": "GrÃ¼n^Ada"}]
    assert told["00100010"]["Value"] == [{"Alphabetic": "Grün^Ada"}]
    assert next(iter(told)) == "00080005"


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_uids_have_to_be_there(keyword):
    ds = make_instance()
    data, tag = write(ds), ds[keyword].tag
    at = data.find(struct.pack("<HH", tag.group, tag.element) + b"UI")
    length = data[at + 6]
    with pytest.raises(InvalidInstance, match="is missing"):
        facts_of(data[: at + 8] + b"\0" * length + data[at + 8 + length :])
    with pytest.raises(InvalidInstance, match="is not a UID"):
        facts_of(data[: at + 8] + b"A" * length + data[at + 8 + length :])


def nest(depth: int, undefined: bool) -> bytes:
    inner = b""
    for _ in range(depth):
        length = 0xFFFFFFFF if undefined else len(inner)
        item_end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) if undefined else b""
        item = struct.pack("<HHI", 0xFFFE, 0xE000, length) + inner + item_end
        length = 0xFFFFFFFF if undefined else len(item)
        end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) if undefined else b""
        inner = b"\x40\x00\x75\x02SQ\0\0" + struct.pack("<I", length) + item + end
    ds = make_instance(private=False)
    del ds.PixelData
    del ds.ProcedureCodeSequence
    return write(ds) + inner


@pytest.mark.parametrize("undefined", [False, True])
def test_nesting_is_limited(undefined):
    assert facts_of(nest(50, undefined)).fast
    assert facts_of(nest(128, undefined)).fast
    for depth in (129, 1000, 20000):
        with pytest.raises(InvalidInstance, match="nested deeper than 128 levels"):
            facts_of(nest(depth, undefined))


@pytest.mark.parametrize("undefined", [False, True])
def test_nesting_is_limited_in_odd_files_too(undefined):
    odd = nest(50, undefined) + b"\0\0\0"
    assert not facts_of(odd).fast
    for depth in (129, 5000):
        with pytest.raises(InvalidInstance):
            facts_of(nest(depth, undefined) + b"\0\0\0")


def test_refusals_are_one_sentence():
    for data in (b"", b"DICM", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + bytes(range(256))):
        with pytest.raises(InvalidInstance) as refused:
            facts_of(data)
        assert str(refused.value).endswith(".")
        assert "\n" not in str(refused.value)


def test_preamble():
    assert has_preamble(MemorySource(b"\0" * 128 + b"DICM"))
    assert not has_preamble(MemorySource(b"DICM"))


def test_a_deflated_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(header, "MAX_INFLATED_BYTES", 40 * 2**20)
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = b"\0" * (16 * 1024 * 1024)
    bomb = b"".join(deflater.compress(zeros) for _ in range(3)) + deflater.flush()
    head = write(make_instance(), DEFLATED)
    with pytest.raises(InvalidInstance, match="512 MiB"):
        facts_of(head[: head.find(DEFLATED.encode()) + len(DEFLATED)] + bomb)


def test_large_values_do_not_come_into_memory(tmp_path):
    ds = make_instance(private=False)
    ds.add_new(0x00091010, "OB", b"")
    data = write(ds)
    at = data.find(b"\x09\x00\x10\x10OB")
    path = tmp_path / "big.dcm"
    size = 3 * 2**20
    path.write_bytes(data[: at + 8] + struct.pack("<I", size) + b"\5" * size + data[at + 12 :])

    class Watching(FileSource):
        largest = 0

        def read_at(self, offset: int, length: int) -> bytes:
            Watching.largest = max(Watching.largest, length)
            return super().read_at(offset, length)

    with path.open("rb") as file:
        facts = read_facts(Watching(file.fileno(), 0, path.stat().st_size))
    assert facts.fast
    assert Watching.largest <= 2**20
    assert b'"BulkDataURI":"bulkdata/00091010"' in facts.dicom_json


@pytest.mark.parametrize("transfer_syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_bulk_values_are_found_by_path(transfer_syntax):
    ds = make_instance()
    ds.ProcedureCodeSequence[0].add_new(0x00420011, "OB", b"pdf!" * 400)
    source = MemorySource(write(ds, transfer_syntax))
    found = find_value(source, "00081032/0/00420011")
    assert found.source.read_at(found.offset_bytes, found.length_bytes) == b"pdf!" * 400
    pixels = find_value(source, "7FE00010")
    assert pixels.length_bytes == len(ds.PixelData)
    assert pixels.word_bytes == (2 if transfer_syntax == BIG else 1)
    assert pixels.fragments is None
    if transfer_syntax != IMPLICIT:
        inline = find_value(source, "00111004")
        assert inline.source.read_at(0, 9) == b"\x01\x02\x20\x00"
    for path in ("00420011", "00081032/1/00420011", "00081032/x/00420011", "00081032", "", "a/b"):
        with pytest.raises(ResourceNotFound):
            find_value(source, path)

"""What is written is read again, and whatever was left or put into it is found."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset, FileDataset, dcmread, dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from lamella.deid.leaves import TEXTS, Leaf, LeafReader, Odd
from lamella.deid.lenient import UNREADABLE, lenient
from lamella.deid.profiles import BUILT_IN
from lamella.deid.results import Cleaned
from lamella.deid.verification import verify
from tests.unit.deid.subjects_at_hand import UID, clean_and_write, make_instance, read_back

SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
WEIRD_UID = "1.2.826.0.1-weird.4711"
Plant = Callable[[FileDataset], None]


def _make(syntax: str) -> FileDataset:
    instance = make_instance(syntax=syntax)
    instance.SpecificCharacterSet = "ISO_IR 192"
    instance.ReferringPhysicianName = "Ængström^Åsa"
    image = Dataset()
    image.ReferencedSOPInstanceUID = UID
    instance.ReferencedImageSequence = [image]
    with lenient():
        instance.FrameOfReferenceUID = WEIRD_UID
    instance.add_new(0x7FE00010, "OB", bytes(4096))
    return instance


def _store(instance: FileDataset, syntax: str) -> bytes:
    stream = io.BytesIO()
    instance.file_meta.TransferSyntaxUID = syntax
    with lenient():
        dcmwrite(stream, instance, enforce_file_format=True)
    return stream.getvalue()


def _nest(keyword: str, value: str) -> Plant:
    def plant(instance: FileDataset) -> None:
        inner, outer = Dataset(), Dataset()
        setattr(inner, keyword, value)
        inner.is_undefined_length_sequence_item = True
        outer.RequestAttributesSequence = [inner]
        instance.RequestAttributesSequence = [outer]
        instance["RequestAttributesSequence"].is_undefined_length = True

    return plant


def _put(tag: int, vr: str, value: object) -> Plant:
    return lambda instance: instance.add_new(tag, vr, value)


PLANTS: dict[str, tuple[Plant, str]] = {
    "a name": (_put(0x00104000, "LT", "Seen with ZEBEDEE."), "identifier-left"),
    "a name of other letters": (_put(0x00081030, "LO", "for ængström"), "identifier-left"),
    "an id in an item": (_nest("ScheduledProcedureStepID", "MRN/0815 4711"), "identifier-left"),
    "an old UID in an item": (_nest("StudyInstanceUID", UID), "foreign-uid"),
    "a UID of nobody": (_put(0x00200052, "UI", "1.2.3.4"), "foreign-uid"),
    "a private name": (_put(0x00291010, "UN", b"Zebedee "), "identifier-in-bytes"),
    "a name in bytes": (_put(0x00420011, "OB", b"..zebedee...."), "identifier-in-bytes"),
    "a name in UTF-16": (_put(0x00420011, "OB", b"\0z\0e\0b\0e\0d\0e\0e"), "identifier-in-bytes"),
    "other letters in UTF-16": (
        _put(0x00420011, "OB", "ængstrom".encode("utf-16-le")),
        "identifier-in-bytes",
    ),
    "a UID in bytes": (_put(0x00420011, "OB", f"_{UID} ".encode()), "identifier-in-bytes"),
    "an odd UID in bytes": (_put(0x00420011, "OB", WEIRD_UID.encode()), "identifier-in-bytes"),
}  # fmt: skip


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
def test_nothing_is_found_where_nothing_is_left(syntax: str) -> None:
    cleaned, written = _clean(syntax)
    assert verify(written, cleaned) == ()
    assert verify(_store(read_back(written), syntax), cleaned) == ()


def _clean(syntax: str) -> tuple[Cleaned, bytes]:
    return clean_and_write(read_back(_store(_make(syntax), syntax)), BUILT_IN["basic"])


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
def test_whatever_is_put_into_it_is_found(syntax: str, plant: str) -> None:
    put, code = PLANTS[plant]
    cleaned, written = _clean(syntax)
    spoilt = read_back(written)
    put(spoilt)
    assert code in {reason.code for reason in verify(_store(spoilt, syntax), cleaned)}


def test_long_pixels_may_hold_a_word_by_chance() -> None:
    cleaned, written = _clean(ExplicitVRLittleEndian)
    spoilt = read_back(written)
    spoilt.PixelData = b"zebedee " * 512
    assert verify(_store(spoilt, ExplicitVRLittleEndian), cleaned) == ()


def test_a_preamble_and_a_damaged_file_are_found() -> None:
    cleaned, written = _clean(ExplicitVRLittleEndian)
    assert [reason.code for reason in verify(b"II*\0" + written[4:], cleaned)] == ["preamble"]
    deflated, packed = _clean(DeflatedExplicitVRLittleEndian)
    assert [reason.code for reason in verify(packed[:-40], deflated)] == ["unreadable"]


def _read_with_pydicom(attributes: Dataset, path: str = "") -> Iterator[tuple[str, str, str]]:
    for element in attributes:
        here = f"{path}{int(element.tag):08X}"
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _read_with_pydicom(item, f"{here}.")
        elif element.VR in TEXTS or element.VR == "UI":
            values = element.value if element.VM > 1 else [element.value]
            yield here, element.VR, "\\".join(str(value or "").strip(" \0") for value in values)


def _tell(leaf: Leaf) -> tuple[str, str, str]:
    return leaf.path, leaf.vr, "\\".join(value.strip(" \0") for value in leaf.read())


def test_leaves_are_what_pydicom_reads() -> None:
    compared = 0
    for path in sorted(BUNDLED.rglob("*.dcm")):
        with lenient():
            try:
                attributes = dcmread(path)
                expected = list(_read_with_pydicom(attributes))
            except (*UNREADABLE, pydicom.errors.InvalidDicomError):
                continue
            syntax = attributes.file_meta.get("TransferSyntaxUID")
            if syntax is None or syntax == DeflatedExplicitVRLittleEndian:
                continue
            body = path.read_bytes()[_find_start(path) :]
            reader = LeafReader(
                body, explicit=not syntax.is_implicit_VR, big=syntax == ExplicitVRBigEndian
            )
            try:
                reader.read()
            except Odd:
                continue
        compared += 1
        assert sorted(map(_tell, reader.leaves)) == sorted(expected), path.name
    assert compared > 60


def _find_start(path: Path) -> int:
    with path.open("rb") as file:
        pydicom.filereader.read_preamble(file, force=False)
        pydicom.filereader._read_file_meta_info(file)
        return file.tell()

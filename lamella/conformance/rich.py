"""Samples with values worth looking at: every VR, names in other scripts, a PDF."""

from __future__ import annotations

import struct
from typing import Any

from pydicom import Dataset
from pydicom.sequence import Sequence

from lamella.conformance.samples import (
    PDF_CLASS,
    PRIVATE_CREATOR,
    SC_CLASS,
    Sample,
    SampleSet,
    finish,
)

PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
)

VALUES: dict[str, tuple[str, Any, list[Any] | bytes]] = {
    "AE": ("StationAETitle", "STATION_1", ["STATION_1"]),
    "AS": ("PatientAge", "045Y", ["045Y"]),
    "AT": ("FrameIncrementPointer", 0x0018A00F, ["0018A00F"]),
    "CS": ("ImageType", ["DERIVED", "SECONDARY", "OTHER"], ["DERIVED", "SECONDARY", "OTHER"]),
    "DA": ("AcquisitionDate", "20190704", ["20190704"]),
    "DS": ("SliceThickness", "2.5", [2.5]),
    "DT": ("AcquisitionDateTime", "20190704120000.250+0100", ["20190704120000.250+0100"]),
    "FD": ("AcquisitionDuration", 12.25, [12.25]),
    "FL": ("ExaminedBodyThickness", 0.5, [0.5]),
    "IS": ("AcquisitionNumber", "7", [7]),
    "LO": ("Manufacturer", "Maker of things", ["Maker of things"]),
    "LT": ("AdditionalPatientHistory", "line one\r\nline \\ two", ["line one\r\nline \\ two"]),
    "OB": ("CertifiedTimestamp", b"\x01\x02\xfe\xff", b"\x01\x02\xfe\xff"),
    "OD": ("DoublePointCoordinatesData", struct.pack("<2d", 1.5, -2), struct.pack("<2d", 1.5, -2)),
    "OF": ("PointCoordinatesData", struct.pack("<3f", 1, 2, -3), struct.pack("<3f", 1, 2, -3)),
    "OL": (
        "LongPrimitivePointIndexList",
        struct.pack("<2I", 1, 70000),
        struct.pack("<2I", 1, 70000),
    ),
    "OV": ("SelectorOVValue", struct.pack("<2Q", 1, 2**40), struct.pack("<2Q", 1, 2**40)),
    "OW": ("SelectorOWValue", struct.pack("<2H", 1, 2), struct.pack("<2H", 1, 2)),
    "PN": (
        "OperatorsName",
        ["First^Op", "Second^Op"],
        [{"Alphabetic": "First^Op"}, {"Alphabetic": "Second^Op"}],
    ),
    "SH": ("StationName", "ROOM 1", ["ROOM 1"]),
    "SL": ("ReferencePixelX0", -70000, [-70000]),
    "SS": ("TagAngleSecondAxis", -5, [-5]),
    "ST": ("InstitutionAddress", "Street 1\r\nTown", ["Street 1\r\nTown"]),
    "SV": ("SelectorSVValue", -5_000_000_000, [-5_000_000_000]),
    "TM": ("AcquisitionTime", "120001.500", ["120001.500"]),
    "UC": ("LongCodeValue", "C" * 70, ["C" * 70]),
    "UI": ("FrameOfReferenceUID", "1.2.826.0.1.3680043.9.7434.2", ["1.2.826.0.1.3680043.9.7434.2"]),
    "UL": ("SimpleFrameList", [1, 70000], [1, 70000]),
    "UN": ("UN", b"\x07\x08\x09\x0a", b"\x07\x08\x09\x0a"),
    "UR": ("CodingSchemeURL", "http://example.org/a?b=c", ["http://example.org/a?b=c"]),
    "US": ("AcquisitionMatrix", [0, 256, 256, 0], [0, 256, 256, 0]),
    "UT": ("TextValue", "long text " * 20 + "end", ["long text " * 20 + "end"]),
    "UV": ("SelectorUVValue", 5_000_000_000, [5_000_000_000]),
}
"""By VR: keyword, what the sample holds, and what JSON shows (bytes: as InlineBinary or a URI)."""


def make_rich(run: SampleSet) -> Sample:
    """Return an instance with every VR, nested sequences, empty values and private attributes."""
    ds = run.start("rich", SC_CLASS, "OT")
    for keyword, value, _ in VALUES.values():
        if keyword != "UN":
            setattr(ds, keyword, value)
    block = ds.private_block(0x0009, PRIVATE_CREATOR, create=True)
    block.add_new(0x01, "LO", f"{run.word} P")
    block.add_new(0x02, "UN", VALUES["UN"][1])
    ds.OtherPatientNames = "Alone^Al=山田^太郎"
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ProtocolName = ""
    ds.ReferencedImageSequence = Sequence([])
    ds.SourceImageSequence = Sequence([Dataset()])
    ds.SoftwareVersions = ["first", "", "third"]
    ds.BodyPartThickness = "1.5E+02"
    ds.AnatomicRegionSequence = Sequence([_nest()])
    ds.Rows = ds.Columns = 2
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation, ds.ConversionType = 7, 0, "SYN"
    ds.PixelData = bytes([0, 85, 170, 255])
    return finish("rich", "rich", ds, frames=(ds.PixelData,))


def make_names(run: SampleSet) -> list[Sample]:
    """Return one instance for each way to write names that are not in ASCII."""
    repertoires = {
        "latin": "ISO_IR 100",
        "cyrillic": "ISO_IR 144",
        "japanese": ["", "ISO 2022 IR 87"],
    }
    samples = []
    for study, repertoire in repertoires.items():
        ds = run.start(study, SC_CLASS, "OT")
        ds.SpecificCharacterSet = repertoire
        ds.Rows = ds.Columns = 2
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.PixelRepresentation, ds.ConversionType = 7, 0, "SYN"
        ds.PixelData = bytes(4)
        samples.append(finish(study, study, ds, frames=(bytes(4),)))
    return samples


def make_document(run: SampleSet) -> Sample:
    """Return an encapsulated PDF."""
    ds = run.start("document", PDF_CLASS, "DOC")
    ds.ConversionType, ds.BurnedInAnnotation = "WSD", "YES"
    ds.AccessionNumber = ""
    ds.DocumentTitle, ds.MIMETypeOfEncapsulatedDocument = "Letter", "application/pdf"
    ds.EncapsulatedDocument = PDF + b"\n" * (len(PDF) % 2)
    ds.EncapsulatedDocumentLength = len(PDF)
    return finish("document", "document", ds)


def _nest() -> Dataset:
    """Return an item that holds a sequence itself."""
    outer, inner = Dataset(), Dataset()
    outer.CodeValue, outer.CodingSchemeDesignator, outer.CodeMeaning = "T-D4000", "SRT", "Abdomen"
    inner.CodeValue, inner.CodingSchemeDesignator, inner.CodeMeaning = "G-A100", "SRT", "Right"
    outer.AnatomicRegionModifierSequence = Sequence([inner])
    return outer

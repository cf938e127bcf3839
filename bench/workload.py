"""The seeded workload: small studies for search, CT series with pixel data, an enhanced object.

A header is written once by pydicom with placeholders of fixed length, then filled per instance
by replacing bytes: making 500 slices costs milliseconds, so that the generator never competes
with the servers for the two cores.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ROOT = "1.2.826.0.1.3680043.10.1338"
SEED = 20261
CT_SIDE = 512
Pixels = npt.NDArray[np.int16]
_SOP = f"{ROOT}.10000000000000000001"
_SERIES = f"{ROOT}.20000000000000000002"
_STUDY = f"{ROOT}.30000000000000000003"
_PATIENT = "P9999991"
_NAME = "Zzzzzzzz^Yyyyyyy"
_ACCESSION = "A9999992"
_DATE = "19011213"
_DESCRIPTION = "Qqqqqqqqqqqqqqqq"
_NUMBER = "9871"
_LOCATION = "-987.5"
_SYLLABLES = ("ba", "ko", "ri", "me", "lu", "sa", "ti", "no", "ve", "da")


@dataclass(frozen=True)
class Sizes:
    """How much of everything; the smaller set is for trying the tool out."""

    studies: int = 2000
    slices: int = 500
    frames: int = 200
    store_instances: int = 160
    tiny_instances: int = 400
    dimse_instances: int = 120


FULL = Sizes()
QUICK = Sizes(100, 40, 12, 16, 40, 12)


@dataclass(frozen=True)
class Slice:
    """One generated instance.

    Attributes:
        data: The Part 10 file.
        pixel_bytes: How many bytes at its end are pixel data.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    data: bytes
    pixel_bytes: int

    @property
    def pixels(self) -> bytes:
        """The native pixel data."""
        return self.data[-self.pixel_bytes :]


@dataclass(frozen=True)
class TinyStudy:
    """A study of two series of five instances, as a search should find it."""

    index: int
    study_uid: str
    patient_id: str
    patient_name: str
    accession_number: str
    study_date: str
    description: str


def make_uid(kind: int, copy: int, series: int = 0, number: int = 0) -> str:
    """Return a UID of fixed length.

    Args:
        kind: 1 to 9; what it names.
        copy: Up to five digits.
        series: Up to six digits.
        number: Up to seven digits.
    """
    return f"{ROOT}.{kind}1{copy:05d}{series:06d}{number:07d}"


def list_tiny_studies(count: int, first: int = 0) -> list[TinyStudy]:
    """Return what the small studies are: same seed, same studies."""
    return [_describe_study(index) for index in range(first, first + count)]


def make_tiny_instances(study: TinyStudy, per_series: int = 5, series: int = 2) -> list[Slice]:
    """Return the instances of a small study: 8×8 pixels, unlike each other."""
    return [
        make_tiny(study, series_index, number)
        for series_index in range(series)
        for number in range(per_series)
    ]


def make_tiny(study: TinyStudy, series_index: int, number: int) -> Slice:
    """Return one instance of a small study."""
    series_uid = make_uid(4, 0, series_index, study.index)
    sop_uid = make_uid(5, series_index, number, study.index)
    values = {
        _STUDY: study.study_uid,
        _SERIES: series_uid,
        _SOP: sop_uid,
        _PATIENT: study.patient_id,
        _NAME: study.patient_name,
        _ACCESSION: study.accession_number,
        _DATE: study.study_date,
        _DESCRIPTION: study.description,
        _NUMBER: str(1001 + number),
        _LOCATION: f"{-100 - number % 800:.1f}",
    }
    rng = np.random.default_rng((SEED, study.index, series_index, number))
    pixels = rng.integers(0, 4096, 64, dtype=np.int16).tobytes()
    data = _fill(_tiny_header(), values) + pixels
    return Slice(study.study_uid, series_uid, sop_uid, data, len(pixels))


class CtSeries:
    """A CT series; every slice of every copy has pixel data of its own."""

    def __init__(self, copy: int, n_slices: int, side: int = CT_SIDE) -> None:
        self.copy = copy
        self.n_slices = n_slices
        self.side = side
        self.study_uid = make_uid(6, copy)
        self.series_uid = make_uid(7, copy)

    def __iter__(self) -> Iterator[Slice]:
        return (self.make(index) for index in range(self.n_slices))

    def sop_uid(self, index: int) -> str:
        """Return the SOP Instance UID of a slice, 0-based."""
        return make_uid(8, self.copy, 0, index)

    def make(self, index: int) -> Slice:
        """Return a slice, 0-based."""
        values = {
            _STUDY: self.study_uid,
            _SERIES: self.series_uid,
            _SOP: self.sop_uid(index),
            _PATIENT: f"C{self.copy:07d}",
            _NAME: f"Ct{self.copy:06d}^Phantom",
            _ACCESSION: f"C{self.copy:07d}",
            _DATE: "20250401",
            _NUMBER: str(1001 + index),
            _LOCATION: f"{-100 - index % 590 * 1.5:.1f}",
        }
        pixels = _make_pixels(self.copy, index, self.side)
        data = _fill(_ct_header(self.side), values) + pixels
        return Slice(self.study_uid, self.series_uid, self.sop_uid(index), data, len(pixels))

    @cached_property
    def size_bytes(self) -> int:
        """Size of one slice as a file."""
        return len(self.make(0).data)


def count_elements(ds: Dataset) -> int:
    """Return the number of data elements, those in sequences included."""
    return sum(1 for _ in ds.iterall())


def _describe_study(index: int) -> TinyStudy:
    rng = random.Random(SEED * 1_000_003 + index)
    family = "".join(rng.choices(_SYLLABLES, k=4)).capitalize()
    given = ("".join(rng.choices(_SYLLABLES, k=4)) + "x")[:7].capitalize()
    year, day = rng.randrange(2016, 2026), rng.randrange(1, 29)
    return TinyStudy(
        index,
        make_uid(3, 0, 0, index),
        f"P{index:07d}",
        f"{family}^{given}",
        f"A{index:07d}",
        f"{year}{rng.randrange(1, 13):02d}{day:02d}",
        rng.choice(("CHEST ROUTINE   ", "ABDOMEN CONTRAST", "HEAD NATIVE     ")),
    )


def _make_pixels(copy: int, index: int, side: int) -> bytes:
    """Return an anatomy-like int16 slice: smooth shapes, noise, all of its own."""
    base = _base_image(side)
    rng = np.random.default_rng((SEED, copy, index))
    image = np.roll(base, (index * 3) % side, axis=0)
    noise = _noise(side)
    offset = int(rng.integers(0, noise.size - image.size))
    image = image + noise[offset : offset + image.size].reshape(image.shape)
    return bytes(image.astype("<i2").tobytes())


@cache
def _base_image(side: int) -> Pixels:
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    body = np.where(x**2 + (y * 1.3) ** 2 < 0.7, 40.0, -1000.0)
    ribs = 400 * np.exp(-(((x**2 + y**2) ** 0.5 - 0.6) ** 2) * 300)
    image: Pixels = (body + ribs + 30 * np.sin(9 * x) * np.cos(7 * y)).astype(np.int16)
    return image


@cache
def _noise(side: int) -> Pixels:
    rng = np.random.default_rng(SEED)
    return rng.normal(0, 12, side * side * 4 + 65536).astype(np.int16)


def _fill(header: bytes, values: dict[str, str]) -> bytes:
    for placeholder, value in sorted(values.items(), key=lambda pair: len(pair[0])):
        # short placeholders first: they could occur in values
        if len(placeholder) != len(value):
            raise ValueError(f"{value!r} is not as long as its placeholder")
        header = header.replace(placeholder.encode(), value.encode())
    return header


@cache
def _tiny_header() -> bytes:
    ds = _common()
    ds.Modality = "CT"
    _describe_pixels(ds, 8)
    return _write_header(ds)


@cache
def _ct_header(side: int) -> bytes:
    """Return the header of a CT slice: about 170 elements, as scanners write them."""
    ds = _common()
    for keyword, value in _CT_ATTRIBUTES.items():
        setattr(ds, keyword, value)
    for keyword in ("ReferencedStudySequence", "ReferencedImageSequence"):
        item = Dataset()
        item.ReferencedSOPClassUID = CTImageStorage
        item.ReferencedSOPInstanceUID = make_uid(9, 1, len(keyword), 3)
        setattr(ds, keyword, Items([item]))
    ds.ProcedureCodeSequence = Items([_make_code("CTABD", "CT of abdomen")])
    ds.AnatomicRegionSequence = Items([_make_code("T-D4000", "Abdomen")])
    ds.RequestAttributesSequence = Items([_make_request()])
    _add_private(ds)
    _describe_pixels(ds, side)
    return _write_header(ds)


def _common() -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = _SOP
    ds.StudyInstanceUID = _STUDY
    ds.SeriesInstanceUID = _SERIES
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = _DATE
    ds.StudyTime = ds.SeriesTime = "101112"
    ds.AccessionNumber = _ACCESSION
    ds.Modality = "CT"
    ds.ReferringPhysicianName = "Referrer^Rita"
    ds.StudyDescription = _DESCRIPTION
    ds.SeriesDescription = "Axial 1.5"
    ds.PatientName = _NAME
    ds.PatientID = _PATIENT
    ds.PatientBirthDate = "19700101"
    ds.PatientSex = "O"
    ds.StudyID = "1"
    ds.SeriesNumber = 3
    ds.InstanceNumber = _NUMBER
    ds.SliceLocation = _LOCATION
    ds.FrameOfReferenceUID = make_uid(9, 0, 0, 1)
    return ds


def _describe_pixels(ds: Dataset, side: int) -> None:
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows = ds.Columns = side
    ds.PixelSpacing = ["0.703125", "0.703125"]
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelRepresentation = 1
    ds.PixelData = bytes(side * side * 2)


def _write_header(ds: Dataset) -> bytes:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()[: -len(ds.PixelData)]


def _make_code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = "99BENCH"
    item.CodeMeaning = meaning
    return item


def _make_request() -> Dataset:
    item = Dataset()
    item.ScheduledProcedureStepDescription = "CT abdomen"
    item.ScheduledProcedureStepID = "SPS1"
    item.RequestedProcedureID = "RP1"
    item.RequestedProcedureDescription = "CT abdomen with contrast"
    item.ScheduledProtocolCodeSequence = Items([_make_code("PROT7", "Abdomen routine")])
    return item


def _add_private(ds: Dataset) -> None:
    """Add two private blocks, as vendors do."""
    for group, creator, count in ((0x0009, "BENCH_IDEN_01", 12), (0x0043, "BENCH_PARM_01", 26)):
        block = ds.private_block(group, creator, create=True)
        for offset in range(count):
            vr, value = _PRIVATE_VALUES[offset % len(_PRIVATE_VALUES)]
            block.add_new(offset + 1, vr, value)


_PRIVATE_VALUES: tuple[tuple[str, object], ...] = (
    ("LO", "CT01_OC0"),
    ("SL", 1_234_567),
    ("FL", 1.5),
    ("DS", ["0.5", "-0.25", "7"]),
    ("SH", "HiSpeed"),
    ("IS", "12"),
    ("UL", 77),
    ("OB", b"\x00\x01" * 32),
)

_CT_ATTRIBUTES: dict[str, object] = {
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "InstanceCreationDate": "20250401",
    "InstanceCreationTime": "101500.123",
    "ContentDate": "20250401",
    "ContentTime": "101500.123",
    "AcquisitionTime": "101459.876",
    "Manufacturer": "LAMELLA BENCH",
    "InstitutionName": "Bench Hospital",
    "InstitutionAddress": "1 Measuring Lane",
    "InstitutionalDepartmentName": "Radiology",
    "StationName": "CTBENCH01",
    "ManufacturerModelName": "Model 512",
    "PerformingPhysicianName": "Performer^Paul",
    "OperatorsName": "Operator^Olga",
    "PhysiciansOfRecord": "Record^Rosa",
    "NameOfPhysiciansReadingStudy": "Reader^Rob",
    "AdmittingDiagnosesDescription": "None known",
    "TimezoneOffsetFromUTC": "+0100",
    "PatientAge": "055Y",
    "PatientSize": "1.75",
    "PatientWeight": "70.5",
    "PatientPosition": "HFS",
    "EthnicGroup": "unknown",
    "AdditionalPatientHistory": "A generated patient without a history of any kind.",
    "PregnancyStatus": 4,
    "MedicalAlerts": "none",
    "Allergies": "none",
    "BodyPartExamined": "ABDOMEN",
    "ScanOptions": "HELICAL MODE",
    "SliceThickness": "1.5",
    "KVP": "120",
    "SpacingBetweenSlices": "1.5",
    "DataCollectionDiameter": "500",
    "DeviceSerialNumber": "0000012345",
    "SoftwareVersions": ["07MW18.4", "bench"],
    "ProtocolName": "5.2 Abdomen routine",
    "ContrastBolusAgent": "ISOVUE300",
    "ContrastBolusRoute": "IV",
    "ContrastBolusVolume": "100",
    "ContrastBolusStartTime": "101400",
    "ContrastBolusTotalDose": "30",
    "ReconstructionDiameter": "360",
    "DistanceSourceToDetector": "949.075",
    "DistanceSourceToPatient": "541",
    "GantryDetectorTilt": "0",
    "TableHeight": "153.5",
    "RotationDirection": "CW",
    "ExposureTime": "800",
    "XRayTubeCurrent": "335",
    "Exposure": "268",
    "FilterType": "BODY FILTER",
    "GeneratorPower": "40200",
    "FocalSpots": "1.2",
    "DateOfLastCalibration": "20250331",
    "TimeOfLastCalibration": "060000",
    "ConvolutionKernel": "STANDARD",
    "RevolutionTime": 0.8,
    "SingleCollimationWidth": 0.625,
    "TotalCollimationWidth": 40.0,
    "TableSpeed": 68.75,
    "TableFeedPerRotation": 55.0,
    "SpiralPitchFactor": 1.375,
    "ExposureModulationType": "XYZ_EC",
    "CTDIvol": 12.75,
    "AcquisitionNumber": "1",
    "ImagePositionPatient": ["-180.0", "-167.5", _LOCATION],
    "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
    "PositionReferenceIndicator": "XY",
    "ImagesInAcquisition": "500",
    "ImageComments": "Generated by the bench; not a patient.",
    "SmallestImagePixelValue": -1024,
    "LargestImagePixelValue": 3071,
    "PixelPaddingValue": -2000,
    "WindowCenter": ["40", "-600"],
    "WindowWidth": ["400", "1500"],
    "WindowCenterWidthExplanation": ["ABDOMEN", "LUNG"],
    "RescaleIntercept": "-1024",
    "RescaleSlope": "1",
    "RescaleType": "HU",
    "RequestingPhysician": "Asker^Ann",
    "RequestingService": "Internal medicine",
    "RequestedProcedureDescription": "CT abdomen with contrast",
    "RequestedContrastAgent": "ISOVUE300",
    "CurrentPatientLocation": "WARD 7",
    "PerformedProcedureStepStartDate": "20250401",
    "PerformedProcedureStepStartTime": "101112",
    "PerformedProcedureStepID": "PPS1",
    "PerformedProcedureStepDescription": "CT abdomen",
    "PatientState": "stable",
    "StudyComments": "none",
    "LossyImageCompression": "00",
    "BurnedInAnnotation": "NO",
    "QualityControlImage": "NO",
}

assert all(dictionary_VR(keyword) for keyword in _CT_ATTRIBUTES)

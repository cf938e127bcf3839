"""Headers: what every instance has, with identifiers at every depth, and what modalities add."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from pydicom.uid import generate_uid

from bench.phi.planting import Planter
from bench.phi.sentences import make_clean

_TECHNICAL: dict[str, tuple[tuple[str, str], ...]] = {
    "CT": (("KVP", "120"), ("SliceThickness", "1.25"), ("ConvolutionKernel", "B30f")),
    "MR": (("RepetitionTime", "550"), ("EchoTime", "12.5"), ("MagneticFieldStrength", "3")),
    "US": (("TransducerType", "SECTOR_PHASED"),),
    "CR": (("KVP", "81"), ("ViewPosition", "PA")),
    "DX": (("KVP", "77"), ("ViewPosition", "LL")),
    "MG": (("ImageLaterality", "L"), ("ViewPosition", "MLO"), ("CompressionForce", "80")),
    "PT": (("SliceThickness", "3.27"), ("Units", "BQML"), ("DecayCorrection", "START")),
    "NM": (("CountsAccumulated", "123456"),),
}


def plant_header(planter: Planter, modality: str) -> None:
    """Plant what is in every header."""
    _plant_people(planter)
    _plant_dates(planter)
    _plant_texts(planter)
    _plant_sequences(planter)
    _plant_private(planter, modality)
    for keyword, value in _TECHNICAL.get(modality, ()):
        planter.plant(keyword, value)
    extra = _EXTRAS.get(modality)
    if extra is not None:
        extra(planter)


def make_uid(planter: Planter) -> str:
    """Return another UID that looks like a vendor's."""
    return str(generate_uid("1.2.840.113619.2.", [str(planter.random.random())]))


def _plant_people(planter: Planter) -> None:
    subject = planter.subject
    ds = planter.ds
    ds.PatientID = subject.patient_id
    planter.answers.add("patid_consistent", "<(0010,0020)>", subject.patient_id, "patient ID")
    planter.answers.add("text_removed", "<(0010,0020)>", subject.patient_id, "patient ID")
    planter.plant("PatientName", subject.name.dicom, "patient")
    planter.plant("PatientBirthDate", f"{subject.birth:%Y%m%d}", "patient")
    planter.plant("PatientSex", subject.sex, "patient")
    _plant_age(planter)
    for keyword, value in (
        ("OtherPatientNames", subject.mother.dicom),
        ("PatientMotherBirthName", subject.mother.dicom),
        ("PatientAddress", f"{subject.street}, {subject.town}"),
        ("PatientTelephoneNumbers", subject.phone),
        ("RETIRED_OtherPatientIDs", subject.other_id),
        ("AccessionNumber", subject.accession),
        ("ReferringPhysicianName", subject.referring.dicom),
        ("PerformingPhysicianName", subject.performing.dicom),
        ("OperatorsName", subject.operator.dicom),
        ("InstitutionName", subject.institution),
        ("InstitutionAddress", f"{subject.street}, {subject.town}"),
        ("IssuerOfPatientID", f"Issuer {subject.other_id}"),
    ):
        tag = 0x00101000 if keyword.startswith("RETIRED_") else keyword
        planter.plant(tag, value, "people and places")


def _plant_age(planter: Planter) -> None:
    age = planter.subject.age
    if age < 90:
        planter.plant("PatientAge", f"{age:03}Y", "patient")
        return
    planter.ds.PatientAge = f"{age:03}Y"
    planter.answers.add("text_removed", "<(0010,1010)>", f"{age:03}Y", "ages over 89")


def _plant_dates(planter: Planter) -> None:
    day = planter.subject.study_day
    for keyword, days in (
        ("StudyDate", 0),
        ("SeriesDate", 0),
        ("AcquisitionDate", 0),
        ("ContentDate", 1),
        ("PerformedProcedureStepStartDate", 0),
    ):
        planter.plant(keyword, f"{day + timedelta(days=days):%Y%m%d}", "dates")
    planter.plant("StudyTime", "101500", "times")
    planter.plant("AcquisitionDateTime", f"{day:%Y%m%d}101530", "dates")


def _plant_texts(planter: Planter) -> None:
    for keyword in (
        "StudyDescription",
        "SeriesDescription",
        "ProtocolName",
        "ImageComments",
        "PatientComments",
        "AdditionalPatientHistory",
        "RequestedProcedureDescription",
    ):
        planter.plant(keyword, planter.describe(), "descriptions")
    # devices: kept by an option, else removed
    planter.plant("StationName", f"STN{planter.random.randrange(10**6, 10**7)}", "devices")
    planter.plant("DeviceSerialNumber", f"SN{planter.random.randrange(10**7, 10**8)}", "devices")
    planter.plant("ManufacturerModelName", "Definition AS")
    planter.plant("Manufacturer", "SIEMENS")


def _plant_sequences(planter: Planter) -> None:
    def request(item: Planter) -> None:
        item.plant("ScheduledProcedureStepID", item.subject.accession, "nested")
        item.plant("ScheduledProcedureStepDescription", item.describe(), "nested")
        item.plant("RequestedProcedureID", f"RP{item.subject.accession}", "nested")

    def image(item: Planter) -> None:
        item.ds.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        item.plant("ReferencedSOPInstanceUID", make_uid(item), "UIDs")

    def other_id(item: Planter) -> None:
        item.plant("PatientID", item.subject.other_id, "nested")
        item.plant("IssuerOfPatientID", f"Issuer {item.subject.other_id}", "nested")

    def modified(item: Planter) -> None:
        item.plant("PatientName", item.subject.mother.dicom, "nested")
        item.plant("PatientID", item.subject.other_id, "nested")

    def original(item: Planter) -> None:
        item.plant("SourceOfPreviousValues", item.subject.institution, "nested")
        item.plant_items("ModifiedAttributesSequence", modified)

    planter.plant_items("RequestAttributesSequence", request)
    planter.plant_items("SourceImageSequence", image, image)
    planter.plant_items("OtherPatientIDsSequence", other_id)
    planter.plant_items("OriginalAttributesSequence", original)


def _plant_private(planter: Planter, modality: str) -> None:
    subject = planter.subject
    planter.plant_private(0x0029, "SYNTHETIC HEADER 1.0", 0x10, "LO", subject.name.dicom)
    planter.plant_private(0x0029, "SYNTHETIC HEADER 1.0", 0x11, "LO", subject.patient_id)
    planter.plant_private(0x0029, "SYNTHETIC HEADER 1.0", 0x12, "UN", "hidden-" + subject.email)
    if modality == "MR":
        planter.plant_private(0x0019, "SIEMENS MR HEADER", 0x0C, "IS", "1000", is_safe=True)
        planter.plant_private(0x2001, "Philips Imaging DD 001", 0x03, "FL", "800.0", is_safe=True)
    if modality == "PT":
        creator = "Philips PET Private Group"
        planter.plant_private(0x7053, creator, 0x00, "DS", "0.000551", is_safe=True)


def _plant_pet(planter: Planter) -> None:
    def tracer(item: Planter) -> None:
        item.plant("RadionuclideTotalDose", "370000000")
        item.plant(
            "RadiopharmaceuticalStartDateTime", f"{item.subject.study_day:%Y%m%d}0900", "dates"
        )

    planter.plant_items("RadiopharmaceuticalInformationSequence", tracer)


def _plant_structures(planter: Planter) -> None:
    def region(item: Planter) -> None:
        item.plant("ROINumber", "1")
        item.plant("ReferencedFrameOfReferenceUID", str(planter.ds.FrameOfReferenceUID), "UIDs")
        item.plant("ROIName", make_clean(item.random), "descriptions")

    def contours(item: Planter) -> None:
        item.plant("ROIDisplayColor", "255\\0\\0")
        item.plant("ReferencedROINumber", "1")

    def observation(item: Planter) -> None:
        item.plant("ObservationNumber", "1")
        item.plant("ROIInterpreter", item.subject.performing.dicom, "nested")

    planter.plant("StructureSetLabel", f"PLAN {planter.subject.name.family[:8]}", "descriptions")
    planter.plant("StructureSetDate", f"{planter.subject.study_day:%Y%m%d}", "dates")
    planter.plant_items("StructureSetROISequence", region)
    planter.plant_items("ROIContourSequence", contours)
    planter.plant_items("RTROIObservationsSequence", observation)


def _plant_segments(planter: Planter) -> None:
    def segment(item: Planter) -> None:
        item.plant("SegmentNumber", "1")
        item.plant("SegmentLabel", "Liver")
        item.plant("SegmentAlgorithmType", "MANUAL")

    planter.plant_items("SegmentSequence", segment)
    planter.plant("ContentCreatorName", planter.subject.performing.dicom, "people and places")


_EXTRAS: dict[str, Callable[[Planter], None]] = {
    "PT": _plant_pet,
    "RTSTRUCT": _plant_structures,
    "SEG": _plant_segments,
}

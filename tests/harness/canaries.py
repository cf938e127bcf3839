"""A CT with something of its patient in 42 places, and where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, CTImageStorage

from bench.phi.encodings import LOSSLESS, LOSSY, NATIVE, set_pixels

_JPEG, _LOSSLESS_JPEG = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
SYNTAXES = (*NATIVE, *LOSSLESS, *LOSSY)
"""Of what can be encoded here."""
NAMED_AS = {
    "1.2.840.10008.1.2.4.51": _JPEG,
    "1.2.840.10008.1.2.4.53": _JPEG,
    "1.2.840.10008.1.2.4.55": _JPEG,
    "1.2.840.10008.1.2.4.57": _LOSSLESS_JPEG,
    "1.2.840.10008.1.2.4.81": "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.91": "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.203": "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.8.1": "1.2.840.10008.1.2.5",
}
"""What else the shared files are in, and what stands in for its codestreams."""

UIDS = {
    "SOP": "1.2.840.113619.2.55.3.2831868886.1",
    "study": "1.2.840.113619.2.55.3.2831868886.2",
    "series": "1.2.840.113619.2.55.3.2831868886.3",
    "frame of reference": "1.2.840.113619.2.55.3.2831868886.4",
    "referenced image": "1.2.840.113619.2.55.3.2831868886.5",
    "tracking": "1.2.840.113619.2.55.3.2831868886.6",
    "private UID": "1.2.840.113619.2.55.3.2831868886.7",
}
HEADER = {
    "patient": ("PatientName", "QUILLFEATHER^ANASTASIA"),
    "patient id": ("PatientID", "MRN5550123"),
    "issuer": ("IssuerOfPatientID", "ISSUERQX01"),
    "birth date": ("PatientBirthDate", "19470612"),
    "birth name": ("PatientBirthName", "OLDMAIDEN^ANASTASIA"),
    "mother": ("PatientMotherBirthName", "GRANDMERE^HORTENSIA"),
    "address": ("PatientAddress", "4711 Nightingale Lane"),
    "telephone": ("PatientTelephoneNumbers", "(617) 555-0142"),
    "military rank": ("MilitaryRank", "BRIGADIERQX02"),
    "referring physician": ("ReferringPhysicianName", "HIPPOCRATES^OCTAVIUS"),
    "performing physician": ("PerformingPhysicianName", "GALENUS^MARCELLUS"),
    "operator": ("OperatorsName", "KNOBTURNER^WILHELMINA"),
    "accession number": ("AccessionNumber", "ACCQX888777"),
    "study id": ("StudyID", "STUDYQX0099"),
    "study date": ("StudyDate", "20190317"),
    "acquisition date": ("AcquisitionDate", "20190318"),
    "institution": ("InstitutionName", "Mercywell General Hospital"),
    "institution address": ("InstitutionAddress", "99 Harbourfront Esplanade"),
    "department": ("InstitutionalDepartmentName", "Wing QX Radiology Ward"),
    "station": ("StationName", "STATIONQX77"),
    "serial number": ("DeviceSerialNumber", "SERIALQX424242"),
    "study description": ("StudyDescription", "Anastasia Quillfeather abdomen"),
    "series description": ("SeriesDescription", "for MRN5550123 axial"),
    "protocol": ("ProtocolName", "Dr. Hippocrates protocol"),
    "comments": ("ImageComments", "seen 17 March 2019 by Galenus"),
    "history": ("AdditionalPatientHistory", "lives at 4711 Nightingale Lane"),
    "retired comments": ("StudyComments", "RETIREDQX Quillfeather"),
}
DEEP = {
    "request": "REQUESTQX3131",
    "other patient id": "OTHERQX6161",
    "original attributes": "FORMERNAME^LUCINDA",
    "report text": "Quillfeather reported in a content item",
    "report name": "REPORTER^BENEDICTA",
    "private text": "PRIVATEQX9090",
    "nested private": "NESTEDQX9191",
    "overlay comments": "OVERLAYQX4545",
}
META = {"AE title": "AETQXMERCY", "preamble": "PREAMBLEQX1212"}
DEVICE = frozenset({"station", "serial number"})
"""What retaining the device's identity keeps."""

SECRETS = (
    {name: value for name, (_, value) in HEADER.items()}
    | UIDS
    | DEEP
    | META
    # said in texts, and not otherwise in the header
    | {"day in a text": "17 March 2019", "name in a text": "Anastasia Quillfeather"}
)
NAMED = ("Quillfeather", "Anastasia", "Hippocrates", "Galenus", "Nightingale", "Mercywell")
PLACES = len(HEADER) + len(UIDS) + len(DEEP)
"""Of the data set; two more are in preamble and file meta."""


def make_canary_ct(
    syntax: str, number: int = 0, picture: np.ndarray[Any, Any] | None = None
) -> Dataset:
    """Return the CT.

    Args:
        syntax: One of `SYNTAXES` or `NAMED_AS`.
        number: Above 0: of a series of such, each with a SOP Instance UID of its own.
        picture: 8-bit pixels, shape (rows, columns), in place of a ramp.
    """
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.preamble = META["preamble"].encode("ascii").ljust(128, b"\0")
    ds.file_meta.SourceApplicationEntityTitle = META["AE title"]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UIDS["SOP"]
    ds.StudyInstanceUID, ds.SeriesInstanceUID = UIDS["study"], UIDS["series"]
    ds.FrameOfReferenceUID = UIDS["frame of reference"]
    ds.Modality, ds.KVP, ds.SpecificCharacterSet = "CT", "120", "ISO_IR 100"
    for keyword, value in HEADER.values():
        setattr(ds, keyword, value)
    _add_sequences(ds)
    _add_report(ds)
    _add_private(ds)
    ds.add_new(0x60004000, "LT", DEEP["overlay comments"])
    if number:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{UIDS['SOP']}.{number}"
    _add_pixels(ds, syntax, picture)
    return ds


def _add_pixels(ds: Dataset, syntax: str, picture: np.ndarray[Any, Any] | None) -> None:
    made_in = UID(NAMED_AS.get(syntax, syntax))
    pixels, bits = picture, 8
    if pixels is None:
        ramp = np.arange(64 * 64).reshape(64, 64)
        pixels = (ramp % 251).astype("u1") if made_in in LOSSY else (ramp % 4001).astype("<u2")
        bits = 8 if made_in in LOSSY else 12
    set_pixels(ds, pixels[None], "MONOCHROME2", bits, made_in)
    ds.file_meta.TransferSyntaxUID = UID(syntax)


def _add_sequences(ds: Dataset) -> None:
    request, image, other = Dataset(), Dataset(), Dataset()
    request.ScheduledProcedureStepID = DEEP["request"]
    image.ReferencedSOPClassUID = CTImageStorage
    image.ReferencedSOPInstanceUID = UIDS["referenced image"]
    other.PatientID = DEEP["other patient id"]
    former, original = Dataset(), Dataset()
    former.PatientName = DEEP["original attributes"]
    original.ModifiedAttributesSequence = Sequence([former])
    ds.RequestAttributesSequence = Sequence([request])
    ds.ReferencedImageSequence = Sequence([image])
    ds.OtherPatientIDsSequence = Sequence([other])
    ds.OriginalAttributesSequence = Sequence([original])


def _add_report(ds: Dataset) -> None:
    text, name, uid = (Dataset() for _ in range(3))
    text.ValueType, text.TextValue = "TEXT", DEEP["report text"]
    name.ValueType, name.PersonName = "PNAME", DEEP["report name"]
    uid.ValueType, uid.UID = "UIDREF", UIDS["tracking"]
    codes = (("121071", "Finding"), ("121008", "Person Observer"), ("112040", "Tracking UID"))
    for item, (value, meaning) in zip((text, name, uid), codes, strict=True):
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        item.ConceptNameCodeSequence = Sequence([code])
    ds.ContentSequence = Sequence([text, name, uid])


def _add_private(ds: Dataset) -> None:
    block = ds.private_block(0x0029, "MAKER OF CANARIES", create=True)
    block.add_new(0x10, "LO", DEEP["private text"])
    inner = Dataset()
    nested = inner.private_block(0x0029, "MAKER OF CANARIES", create=True)
    nested.add_new(0x11, "LO", DEEP["nested private"])
    nested.add_new(0x12, "UI", UIDS["private UID"])
    block.add_new(0x20, "SQ", Sequence([inner]))

"""Data sets to de-identify, and what comes out, for the tests of this room."""

from __future__ import annotations

import io
from binascii import crc32
from typing import Any

from pydicom import DataElement, Dataset, FileDataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from lamella.deid.headers import clean
from lamella.deid.keys import ProjectKey
from lamella.deid.profiles import Profile
from lamella.deid.results import Cleaned

KEY = ProjectKey("tests", bytes(range(32)))
CT = "1.2.840.10008.5.1.4.1.1.2"
UID = "1.2.826.0.1.3680043.8.498.4711"
_VALUES: dict[str, Any] = {
    "AE": "ZEBEDEE",
    "AS": "042Y",
    "AT": 0x00100010,
    "CS": "ZEBEDEE",
    "DA": "20190704",
    "DS": "4711.5",
    "DT": "20190704101112.5+0100",
    "FD": 4711.5,
    "FL": 4711.5,
    "IS": "4711",
    "PN": "Zebedee^Quentin",
    "SL": -4711,
    "SS": -4711,
    "TM": "101112",
    "UI": UID,
    "UL": 4711,
    "UR": "https://example.org/zebedee",
    "US": 4711,
}


def make_value(vr: str, tag: int = 0) -> Any:
    """Return a value that identifies, valid for its VR.

    A text names somebody whom the header does not tell, and says something that nobody minds.

    Args:
        vr: Of the attribute.
        tag: Makes texts differ, so that one attribute's is none that another one tells.
    """
    if vr == "SQ":
        item = Dataset()
        item.PatientComments = "Seen by Dr. Zebedee."
        item.ReferencedSOPInstanceUID = UID
        item.PersonName = "Zebedee^Quentin"
        item.CodeMeaning = "of the unit"
        return [item]
    if vr in ("OB", "OW", "UN", "OF", "OD", "OL", "OV"):
        return b"Zebedee^Quentin "
    return _VALUES.get(vr, f"Dr. Lu unit {_spell(tag)}")


def _spell(tag: int) -> str:
    """Return four letters for a tag: no number that looks like an id."""
    number = crc32(tag.to_bytes(4))
    return "".join(chr(ord("a") + number // 26**place % 26) for place in range(4))


def find_dictionary_vr(tag: int, name: str) -> str:
    """Return an attribute's VR; for those newer than pydicom, what their names say."""
    try:
        return str(dictionary_VR(tag)).split(" ")[-1]
    except KeyError:
        if name.endswith("Sequence"):
            return "SQ"
        return "DT" if name.endswith("DateTime") else "UR" if name.endswith("URI") else "LO"


def make_instance(sop_class_uid: str = CT, syntax: str = ExplicitVRLittleEndian) -> FileDataset:
    """Return an instance that has nothing but its identity."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    instance = FileDataset(io.BytesIO(), {}, file_meta=meta)
    instance.SOPClassUID = sop_class_uid
    instance.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    instance.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.2"
    instance.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.3"
    instance.PatientID = "MRN-0815-4711"
    instance.PatientName = "Zebedee^Quentin"
    return instance


def clean_one(
    tag: int, vr: str, options: tuple[str, ...] = (), sop_class_uid: str = CT, *, nested: int = 0
) -> DataElement | None:
    """Return what becomes of one attribute, or None if it is removed.

    Args:
        nested: The sequence that it is in; 0 for the top.
    """
    instance = make_instance(sop_class_uid)
    target: Dataset = instance
    if nested:
        target = Dataset()
        instance[nested] = DataElement(nested, "SQ", [target])
    target[tag] = DataElement(tag, vr, make_value(vr, tag))
    cleaned = clean(instance, Profile(name="test", options=options), KEY).attributes
    level = cleaned[nested].value[0] if nested else cleaned
    return level.get(tag)


def read_back(written: bytes) -> FileDataset:
    """Return a written file as pydicom reads it."""
    return dcmread(io.BytesIO(written))


def clean_and_write(instance: FileDataset, profile: Profile) -> tuple[Cleaned, bytes]:
    """Return an instance de-identified and as a file."""
    from lamella.deid.writing import write

    cleaned = clean(instance, profile, KEY)
    return cleaned, write(cleaned)

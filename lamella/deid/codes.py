"""De-identification methods as codes.

Source:
    PS3.16 CID 7050; PS3.15 §E.1 to E.3.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept of the DICOM Controlled Terminology (`DCM`)."""

    value: str
    meaning: str


BASIC = Code("113100", "Basic Application Confidentiality Profile")
CLEAN_PIXELS = Code("113101", "Clean Pixel Data Option")
CLEAN_FACES = Code("113102", "Clean Recognizable Visual Features Option")

OPTION_CODES = {
    "clean_graphics": Code("113103", "Clean Graphics Option"),
    "clean_structured_content": Code("113104", "Clean Structured Content Option"),
    "clean_descriptors": Code("113105", "Clean Descriptors Option"),
    "retain_longitudinal_full_dates": Code(
        "113106", "Retain Longitudinal Temporal Information Full Dates Option"
    ),
    "retain_longitudinal_modified_dates": Code(
        "113107", "Retain Longitudinal Temporal Information Modified Dates Option"
    ),
    "retain_patient_characteristics": Code("113108", "Retain Patient Characteristics Option"),
    "retain_device_identity": Code("113109", "Retain Device Identity Option"),
    "retain_uids": Code("113110", "Retain UIDs Option"),
    "retain_safe_private": Code("113111", "Retain Safe Private Option"),
    "retain_institution_identity": Code("113112", "Retain Institution Identity Option"),
}
"""The code of each option of Table E.1-1, by its name in the table's data."""

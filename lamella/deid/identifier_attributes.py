"""Attributes whose values go onto the deny-list, besides all person names, by keyword.

Source:
    PS3.3 §C.2 (patient), §C.3, §C.4 (visits, orders), §C.7 (study, equipment).
"""

from __future__ import annotations

from functools import lru_cache

from pydicom.datadict import tag_for_keyword

from lamella.deid.profiles import Profile
from lamella.deid.tables import read_table


def _find_tags(keywords: str) -> frozenset[int]:
    tags = (tag_for_keyword(keyword) for keyword in keywords.split())
    return frozenset(tag for tag in tags if tag is not None)


IDS = _find_tags(
    "PatientID OtherPatientIDs AccessionNumber AdmissionID ServiceEpisodeID StudyID "
    "MedicalRecordLocator RequestedProcedureID ScheduledProcedureStepID "
    "PerformedProcedureStepID PlacerOrderNumberImagingServiceRequest "
    "FillerOrderNumberImagingServiceRequest PatientTelephoneNumbers "
    "ReferringPhysicianTelephoneNumbers PersonTelephoneNumbers OrderCallbackPhoneNumber "
    "PatientTelecomInformation DeviceSerialNumber StationName PlateID DetectorID DeviceID "
    "GantryID CassetteID UniqueDeviceIdentifier SpecimenIdentifier "
    "ContainerIdentifier InsurancePlanIdentification"
)
PLACES = _find_tags(
    "InstitutionName InstitutionAddress InstitutionalDepartmentName PatientAddress "
    "PersonAddress ReferringPhysicianAddress RegionOfResidence PatientInstitutionResidence "
    "CurrentPatientLocation ScheduledProcedureStepLocation PerformedLocation "
    "IssuerOfPatientID PatientReligiousPreference ResponsibleOrganization "
    "RequestingService OrderEntererLocation ClinicalTrialSiteName"
)


@lru_cache(maxsize=16)
def find_retained(profile: Profile) -> frozenset[int]:
    """Return those of them that a profile keeps or cleans: their whole values are no secret."""
    options = frozenset(profile.options)
    rules = read_table(profile.edition).attributes
    return frozenset(
        tag for tag in IDS | PLACES if tag in rules and rules[tag].choose(options) in ("K", "C")
    )

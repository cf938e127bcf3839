"""Levels of attributes, and the tables of what a search returns."""

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from lamella.archive.levels import COMPUTED, DEFAULTS, Level, level_of


def tag(keyword):
    return f"{tag_for_keyword(keyword):08X}"


@pytest.mark.parametrize(
    ("keyword", "level"),
    [
        ("PatientName", Level.PATIENT),
        ("OtherPatientIDsSequence", Level.PATIENT),
        ("ClinicalTrialSubjectID", Level.PATIENT),
        ("StudyDate", Level.STUDY),
        ("ReferringPhysicianName", Level.STUDY),
        ("PatientAge", Level.STUDY),
        ("ClinicalTrialTimePointID", Level.STUDY),
        ("ModalitiesInStudy", Level.STUDY),
        ("NumberOfStudyRelatedInstances", Level.STUDY),
        ("Modality", Level.SERIES),
        ("SeriesDescription", Level.SERIES),
        ("RequestAttributesSequence", Level.SERIES),
        ("PerformedProcedureStepStartDate", Level.SERIES),
        ("FrameOfReferenceUID", Level.SERIES),
        ("InstitutionName", Level.SERIES),
        ("SOPInstanceUID", Level.INSTANCE),
        ("InstanceNumber", Level.INSTANCE),
        ("PatientPosition", Level.INSTANCE),
        ("PixelPaddingValue", Level.INSTANCE),
        ("Rows", Level.INSTANCE),
    ],
)
def test_attribute_has_the_level_of_its_entity(keyword, level):
    assert level_of(tag(keyword)) is level


def test_unknown_and_private_attributes_belong_to_the_instance():
    assert level_of("00091001") is Level.INSTANCE
    assert level_of("00090010") is Level.INSTANCE


def test_defaults_lie_on_their_own_level_or_on_every_level():
    for level, table in DEFAULTS.items():
        for path in table:
            allowed = (
                {level, Level.PATIENT}
                if level is not Level.STUDY
                else {*Level}
                - {
                    Level.SERIES,
                    Level.INSTANCE,
                }
            )
            assert level_of(path[0]) in allowed, path


def test_defaults_name_the_vr_of_the_dictionary():
    for table in DEFAULTS.values():
        for path, vr in table.items():
            assert vr in (None, dictionary_VR(int(path[-1], 16)))


def test_what_is_computed_is_never_promised_empty():
    promised = {path[0] for table in DEFAULTS.values() for path, vr in table.items() if vr}
    assert not promised & COMPUTED

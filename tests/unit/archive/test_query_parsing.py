"""Attribute identifiers, conditions, and C-FIND identifiers as queries."""

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from lamella.archive.identifier import query_from_identifier
from lamella.archive.levels import Level
from lamella.archive.query import (
    AllOf,
    AnyOf,
    Attribute,
    Empty,
    Key,
    Query,
    Range,
    Single,
    UidList,
    Universal,
    Wildcard,
    parse_attribute,
    parse_condition,
)
from lamella.errors import InvalidRequest


def condition(name, text, **flags):
    return parse_condition(parse_attribute(name), text, **flags)


@pytest.mark.parametrize(
    ("text", "path", "vr"),
    [
        ("PatientName", ("00100010",), "PN"),
        ("00100010", ("00100010",), "PN"),
        ("0020000d", ("0020000D",), "UI"),
        ("RequestAttributesSequence.ScheduledProcedureStepID", ("00400275", "00400009"), "SH"),
        ("00400275.00400009", ("00400275", "00400009"), "SH"),
        ("OtherPatientIDsSequence.00100020", ("00101002", "00100020"), "LO"),
        ("00091001", ("00091001",), "UN"),
        ("00090010", ("00090010",), "LO"),
        ("SmallestImagePixelValue", ("00280106",), "US"),
        ("60003000", ("60003000",), "OB"),
    ],
)
def test_attribute_is_named_by_keyword_or_tag(text, path, vr):
    assert parse_attribute(text) == Attribute(path, vr)


@pytest.mark.parametrize(
    "text",
    ["", "patientname", "NoSuchThing", "00101234", "0010001", "PatientName.PatientID", "a.b",
     "00020010", "00000002", "RequestAttributesSequence.", "limit"],
)  # fmt: skip
def test_what_names_no_attribute(text):
    assert parse_attribute(text) is None


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("PatientID", "", Universal()),
        ("PatientID", "*", Universal()),
        ("StudyDate", "*", Universal()),
        ("StudyInstanceUID", ",", Universal()),
        ("Modality", " \\ ,", Universal()),
        ("PatientID", "A1", Single("A1")),
        ("PatientID", "a,b", Single("a,b")),
        ("PatientID", "A\\B", AnyOf((Single("A"), Single("B")))),
        ("PatientID", "A?*", Wildcard("A?*")),
        ("StudyDate", "20260102", Single("20260102")),
        ("StudyDate", "2026.01.02", Single("20260102")),
        ("StudyDate", "20260101-20260201", Range("20260101", "20260201")),
        ("StudyDate", "-20260201", Range(None, "20260201")),
        ("StudyDate", "20260101-", Range("20260101", None)),
        ("StudyTime", "10", Single("10")),
        ("StudyTime", "1000-103000.5", Range("1000", "103000.5")),
        ("AcquisitionDateTime", "2010-0500", Single("2010-0500")),
        ("AcquisitionDateTime", "2010-2012", Range("2010", "2012")),
        ("AcquisitionDateTime", "2010-0500-2012+0100", Range("2010-0500", "2012+0100")),
        ("AcquisitionDateTime", "-2012-0500", Range(None, "2012-0500")),
        ("AcquisitionDateTime", "20120101 0100", Single("20120101+0100")),
        ("StudyInstanceUID", "1.2,1.3\\1.4", UidList(("1.2", "1.3", "1.4"))),
        ("ModalitiesInStudy", "CT,MR", AnyOf((Single("CT"), Single("MR")))),
        ("SeriesNumber", "2", Single("2")),
        ("StudyComments", "a\\b", Single("a\\b")),
        ("PatientID", '""', Single('""')),
    ],
)
def test_text_of_a_key_is_a_condition(name, text, expected):
    assert condition(name, text) == expected


def test_flags_change_what_a_text_means():
    assert condition("PatientID", '""', empty_values=True) == Empty()
    assert condition("RequestAttributesSequence", '""', empty_values=True) == Empty()
    both = AllOf((Single("CT"), Single("MR")))
    assert condition("ModalitiesInStudy", "CT,MR", multiple_values=True) == both
    assert condition("PatientName", "A*,B", multiple_values=True) == AllOf(
        (Wildcard("A*"), Single("B"))
    )
    assert condition("StudyInstanceUID", "1.2,1.3", multiple_values=True) == UidList(("1.2", "1.3"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("StudyDate", "2026"),
        ("StudyDate", "20260230"),
        ("StudyDate", "2026013１"),
        ("StudyDate", "20260101-2026"),
        ("StudyDate", "-"),
        ("StudyDate", "2026-01-02"),
        ("StudyDate", "2026*"),
        ("StudyDate", "20260101,20260102"),
        ("StudyTime", "25"),
        ("StudyTime", "1060"),
        ("StudyTime", "-"),
        ("AcquisitionDateTime", "201013"),
        ("AcquisitionDateTime", "2010+1500"),
        ("StudyInstanceUID", "abc"),
        ("StudyInstanceUID", "1.2."),
        ("StudyInstanceUID", "1.2*"),
        ("StudyInstanceUID", "1." + "2" * 64),
        ("SeriesNumber", "two"),
        ("PatientWeight", "heavy"),
        ("RequestAttributesSequence", "1"),
        ("PixelData", "00"),
        ("FrameIncrementPointer", "0018106Z"),
    ],
)
def test_wrong_value_is_refused_without_repeating_it(name, text):
    with pytest.raises(InvalidRequest) as raised:
        condition(name, text)
    assert name in raised.value.detail
    assert text.strip("-") == "" or text not in raised.value.detail


def test_scope_keys_add_the_targets_uids():
    named = Key(("0020000D",), "UI", UidList(("1.2",)))
    other = Key(("00100020",), "LO", Single("A"))
    query = Query(Level.SERIES, study_uid="1.2", keys=(other,))
    assert query.scope_keys() == (named, other)
    assert Query(Level.SERIES, study_uid="1.2", keys=(named,)).scope_keys() == (named,)


def test_narrowing_drops_keys_of_lower_levels_and_paging():
    query = Query(
        Level.INSTANCE,
        study_uid="1.2",
        series_uid="1.3",
        sop_uid="1.4",
        keys=(Key(("00080018",), "UI", UidList(("1.4",))), Key(("00080060",), "CS", Single("CT"))),
        limit=3,
        offset=2,
    )
    narrowed = query.narrow_to(Level.SERIES)
    assert [key.path for key in narrowed.keys] == [("00080060",)]
    assert (narrowed.series_uid, narrowed.sop_uid, narrowed.limit, narrowed.offset) == (
        "1.3", None, None, 0)  # fmt: skip


def identifier():
    ds = Dataset()
    ds.QueryRetrieveLevel = "SERIES"
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.StudyInstanceUID = "1.2.3"
    ds.Modality = ["CT", "MR"]
    ds.SeriesDescription = "Che*"
    ds.SeriesNumber = None
    ds.InstanceNumber = 4
    ds.NumberOfSeriesRelatedInstances = None
    item = Dataset()
    item.ScheduledProcedureStepID = "S1"
    item.RequestedProcedureID = ""
    ds.RequestAttributesSequence = Sequence([item])
    return ds


def test_identifier_becomes_a_query():
    query = query_from_identifier(identifier(), Level.SERIES)
    assert query.study_uid == "1.2.3"
    assert query.keys == (
        Key(("00080060",), "CS", AnyOf((Single("CT"), Single("MR")))),
        Key(("0008103E",), "LO", Wildcard("Che*")),
        Key(("0020000D",), "UI", UidList(("1.2.3",))),
        Key(("00400275", "00400009"), "SH", Single("S1")),
    )
    assert ("00400275", "00401001") in query.include
    assert ("00200011",) in query.include
    assert ("00201209",) in query.include
    assert not query.with_defaults
    assert not query.combined
    assert len(query.warnings) == 1
    assert "InstanceNumber" in query.warnings[0]


def test_identifier_is_read_as_it_came_over_the_wire():
    import io

    from pydicom.filebase import DicomIO
    from pydicom.filereader import read_dataset
    from pydicom.filewriter import write_dataset

    ds = Dataset()
    ds.add_new(0x00080020, "LO", "20260101-20260301")
    ds.add_new(0x00200011, "LO", "*")
    ds.add_new(0x00100010, "PN", "Müller^*=山*")
    ds.add_new(0x0020000D, "LO", "1.2\\1.3")
    ds.add_new(0x00080005, "CS", "ISO_IR 192")
    ds.add_new(0x00080201, "SH", "+0100")
    buffer = DicomIO(io.BytesIO())
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_dataset(buffer, ds)
    buffer.seek(0)
    received = read_dataset(buffer, is_implicit_VR=True, is_little_endian=True)
    query = query_from_identifier(received, Level.STUDY, combined=True)
    assert query.keys == (
        Key(("00080020",), "DA", Range("20260101", "20260301")),
        Key(("00100010",), "PN", Wildcard("Müller^*=山*")),
        Key(("0020000D",), "UI", UidList(("1.2", "1.3"))),
    )
    assert query.study_uid is None
    assert query.offset_us == 3_600_000_000


def test_identifier_with_a_wrong_value_is_refused():
    ds = Dataset()
    ds.add_new(0x00080020, "LO", "yesterday")
    with pytest.raises(InvalidRequest):
        query_from_identifier(ds, Level.STUDY)

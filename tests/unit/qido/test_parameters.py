"""Query strings of searches, rule by rule (PS3.18 §8.3.4)."""

from urllib.parse import parse_qsl

import pytest

from lamella.archive.levels import Level
from lamella.archive.query import (
    AllOf,
    AnyOf,
    Empty,
    Key,
    Range,
    Single,
    UidList,
    Wildcard,
)
from lamella.errors import InvalidRequest
from lamella.qido.parameters import MAXIMUM_RESULTS, parse_search


def search(text, level=Level.STUDY, **path):
    return parse_search(parse_qsl(text, keep_blank_values=True), level, **path)


def test_first_request_of_a_viewer():
    query = search(
        "limit=101&offset=0&fuzzymatching=false"
        "&includefield=00081030%2C00080060%2C00080090%2C00100030"
    )
    assert (query.limit, query.offset, query.fuzzy) == (101, 0, False)
    assert query.keys == ()
    assert query.include == {("00081030",), ("00080060",), ("00080090",), ("00100030",)}
    assert query.warnings == ()
    assert query.combined
    assert query.with_defaults


def test_filters_of_a_viewer():
    query = search(
        "PatientName=*Pha*&00100020=%2ACT%2A&AccessionNumber=*ACC*&StudyDescription=*chest*"
        "&ModalitiesInStudy=CT%2CMR&StudyDate=20260101-20260401&StudyInstanceUID=1.2,1.3"
    )
    assert {key.path[0]: key.condition for key in query.keys} == {
        "00080020": Range("20260101", "20260401"),
        "00080050": Wildcard("*ACC*"),
        "00080061": AnyOf((Single("CT"), Single("MR"))),
        "00081030": Wildcard("*chest*"),
        "00100010": Wildcard("*Pha*"),
        "00100020": Wildcard("*CT*"),
        "0020000D": UidList(("1.2", "1.3")),
    }
    assert query.warnings == ()


def test_sequence_keys_by_keyword_and_tag():
    by_name = search("RequestAttributesSequence.ScheduledProcedureStepID=S1", Level.SERIES)
    by_tag = search("00400275.00400009=S1", Level.SERIES)
    assert by_name == by_tag
    assert by_name.keys == (Key(("00400275", "00400009"), "SH", Single("S1")),)


def test_universal_keys_are_asked_for_but_match_anything():
    query = search("PatientID=&StudyDescription=*")
    assert query.keys == ()
    assert query.include == {("00100020",), ("00081030",)}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("nonsense=1", "nonsense"),
        ("patientname=x", "patientname"),
        ("includefield=Nope", "Nope"),
        ("Modality=CT", "Modality"),
        ("NumberOfStudyRelatedInstances=3", "NumberOfStudyRelatedInstances"),
        ("00091001=x", "00091001"),
        ("includefield=00091001", "00091001"),
        ("b%C3%BCcher%0D%0AX=1", "b%C3%BCcher%0D%0AX"),
    ],
)
def test_what_is_not_understood_is_ignored_and_named(text, names):
    query = search(text)
    assert query.keys == ()
    assert len(query.warnings) == 1
    assert names in query.warnings[0]
    assert query.warnings[0].isascii()
    assert query.warnings[0].isprintable()


def test_each_warning_is_given_once():
    assert len(search("x=1&x=1").warnings) == 1


@pytest.mark.parametrize(
    "text",
    [
        "limit=-1", "limit=abc", "limit=", "limit=1.5", "limit=%C2%B2", "offset=-1", "offset=x",
        "limit=1&limit=2", "fuzzymatching=maybe", "fuzzymatching=", "emptyvaluematching=1",
        "multiplevaluematching=yes", "StudyDate=2026-01-01", "StudyDate=tomorrow",
        "StudyInstanceUID=abc", "PatientID=a&PatientID=b", "PatientID=a&00100020=a",
        "TimezoneOffsetFromUTC=noon",
    ],
)  # fmt: skip
def test_wrong_values_are_refused(text):
    with pytest.raises(InvalidRequest):
        search(text)


def test_uids_of_the_path_are_checked():
    assert search("", Level.SERIES, study_uid="1.2").study_uid == "1.2"
    for path in ({"study_uid": "x"}, {"study_uid": "1.2", "series_uid": "1..3"}):
        with pytest.raises(InvalidRequest):
            search("", Level.INSTANCE, **path)


def test_limit_is_the_servers_maximum_at_most():
    assert search("").limit == MAXIMUM_RESULTS
    assert search("limit=99999999").limit == MAXIMUM_RESULTS
    assert search("limit=0").limit == 0


def test_matching_parameters():
    assert search("fuzzymatching=true&PatientName=doe").fuzzy
    assert search('emptyvaluematching=true&PatientID=""').keys[0].condition == Empty()
    assert search('PatientID=""').keys[0].condition == Single('""')
    several = search("multiplevaluematching=true&ModalitiesInStudy=CT,MR").keys[0]
    assert several.condition == AllOf((Single("CT"), Single("MR")))


def test_includefield_by_list_by_repetition_and_all():
    assert search("includefield=00081048,00081049&includefield=00081060").include == {
        ("00081048",), ("00081049",), ("00081060",)}  # fmt: skip
    assert search("includefield=all").include_all
    assert not search("includefield=").include_all


@pytest.mark.parametrize(
    ("level", "path", "defaults"),
    [
        (Level.STUDY, {}, {Level.STUDY}),
        (Level.SERIES, {}, {Level.STUDY, Level.SERIES}),
        (Level.SERIES, {"study_uid": "1.2"}, {Level.SERIES}),
        (Level.INSTANCE, {}, {Level.STUDY, Level.SERIES, Level.INSTANCE}),
        (Level.INSTANCE, {"study_uid": "1.2"}, {Level.SERIES, Level.INSTANCE}),
        (Level.INSTANCE, {"study_uid": "1.2", "series_uid": "1.3"}, {Level.INSTANCE}),
    ],
)
def test_target_decides_which_tables_are_returned(level, path, defaults):
    assert search("", level, **path).default_levels == defaults


def test_private_attributes_with_their_creator():
    query = search("00090010=ACME&00091001=a*&includefield=00091002,00091003", Level.INSTANCE)
    assert query.creators == ((("00090010",), "ACME"),)
    assert query.keys == (
        Key(("00090010",), "LO", Single("ACME"), ("ACME",)),
        Key(("00091001",), "LO", Wildcard("a*"), ("ACME",)),
    )
    assert {("00091002",), ("00091003",)} <= query.include
    assert query.warnings == ()


def test_known_private_attributes_have_their_vr():
    keys = search("00190010=SIEMENS MR HEADER&0019100C=1000", Level.INSTANCE).keys
    assert keys[1] == Key(("0019100C",), "IS", Single("1000"), ("SIEMENS MR HEADER",))


def test_time_zone_is_no_matching_key():
    query = search("TimezoneOffsetFromUTC=%2B0100&StudyDate=20260101")
    assert query.offset_us == 3_600_000_000
    assert [key.path for key in query.keys] == [("00080020",)]
    assert search("TimezoneOffsetFromUTC=+0100").offset_us == 3_600_000_000


def test_parameters_of_content_negotiation_are_left_alone():
    assert search("accept=application/dicom%2Bjson&charset=utf-8").warnings == ()


@pytest.mark.parametrize("charset", ["UTF-8", "iso-8859-1;q=0.5,no-such", "*;q=0.1", "US-ASCII"])
def test_a_known_character_set_is_answered_in_utf_8(charset):
    assert search(f"charset={charset}").warnings == ()


@pytest.mark.parametrize("charset", ["x-no-such-charset", "", "utf-8%00", "../x", "no,none;q=1"])
def test_only_unknown_character_sets_are_refused(charset):
    with pytest.raises(InvalidRequest, match="character set"):
        search(f"charset={charset}")


def test_private_attributes_in_sequences_have_their_creator_there():
    query = search(
        "00400275.00090010=ACME&00400275.00091001=a*&includefield=00400275.00091002.PatientID",
        Level.INSTANCE,
    )
    assert query.keys == (
        Key(("00400275", "00090010"), "LO", Single("ACME"), (None, "ACME")),
        Key(("00400275", "00091001"), "LO", Wildcard("a*"), (None, "ACME")),
    )
    assert query.creators == ((("00400275", "00090010"), "ACME"),)
    assert query.warnings == ()
    lost = search("00400275.00091001=x&00090010=ACME", Level.INSTANCE)
    assert [key.path for key in lost.keys] == [("00090010",)]
    assert "00091001" in lost.warnings[0]

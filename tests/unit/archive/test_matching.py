"""Exact matching of DICOM JSON, rule by rule."""

from dataclasses import replace

import pytest

from lamella.archive.matching import matches
from lamella.archive.person_name import fold, matches_wildcard
from lamella.archive.query import Key, parse_attribute, parse_condition
from lamella.archive.temporal import parse_offset, shift


def key(name, text, creators=(), **flags):
    attribute = parse_attribute(name)
    return Key(attribute.path, attribute.vr, parse_condition(attribute, text, **flags), creators)


def element(name, *values):
    attribute = parse_attribute(name)
    found = {"vr": attribute.vr}
    return {attribute.path[0]: found | ({"Value": list(values)} if values else {})}


def holds(name, value, text, **flags):
    values = value if isinstance(value, list) else [value]
    return matches(element(name, *values), [key(name, text)], **flags)


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("a*c", "abbc", True), ("a*c", "abb", False), ("*", "", True), ("a?c", "abc", True),
        ("a?c", "ac", False), ("?", "", False), ("*b?d*", "aabcdd", True), ("a*a", "a", False),
        ("*?b", "ab", True), ("*?b", "b", False), ("**", "x", True), ("a*b*c", "abc", True),
        ("a*b*c", "acb", False), ("*ab", "aab", True), ("a[bc]", "ab", False), ("a.", "ab", False),
    ],
)  # fmt: skip
def test_wildcards(pattern, text, fits):
    assert matches_wildcard(pattern, text) is fits


@pytest.mark.parametrize(
    ("name", "value", "text", "expected"),
    [
        ("PatientID", "A1 ", "A1", True),
        ("PatientID", "A1", "a1", False),
        ("PatientID", "A12", "A?2", True),
        ("PatientID", "A12", "a*", False),
        ("PatientID", "A%2", "A%*", True),
        ("ModalitiesInStudy", ["CT", "SR"], "SR", True),
        ("ModalitiesInStudy", ["CT", "SR"], "MR,SR", True),
        ("ModalitiesInStudy", ["CT", "SR"], "MR,US", False),
        ("StudyInstanceUID", "1.2.3", "1.2,1.2.3", True),
        ("StudyInstanceUID", "1.2.30", "1.2.3", False),
        ("SeriesNumber", 3, "3", True),
        ("SeriesNumber", "3", "03", True),
        ("SeriesNumber", 30, "3", False),
        ("PatientWeight", 72.5, "72.50", True),
        ("PatientWeight", "n/a", "72.5", False),
        ("RescaleSlope", "0.1", "1e-1", True),
        ("RecommendedDisplayFrameRateInFloat", 0.10000000149011612, "0.1", True),
        ("Rows", 512, "512", True),
        ("FrameIncrementPointer", "00181063", "00181063", True),
        ("StudyDate", "20260115", "20260101-20260131", True),
        ("StudyDate", "2026.01.15", "20260101-20260131", True),
        ("StudyDate", "20260201", "20260101-20260131", False),
        ("StudyDate", "20260131", "-20260131", True),
        ("StudyDate", "20260101", "20260101-", True),
        ("StudyDate", "nonsense", "20260101-", False),
        ("StudyTime", "103015.25", "1030", True),
        ("StudyTime", "1030", "103000", True),
        ("StudyTime", "10", "1030", False),
        ("StudyTime", "105959.9", "09-10", True),
        ("StudyTime", "110000", "09-10", False),
        ("StudyTime", "080000", "-10", True),
        ("StudyTime", "235959", "10-", True),
        ("AcquisitionDateTime", "20260115103000", "20260115", True),
        ("AcquisitionDateTime", "20260115103000", "202601151031-", False),
        ("AcquisitionDateTime", "20260115103000+0100", "20260115093000+0000", True),
        ("AcquisitionDateTime", "20260115103000+0100", "20260115103000+0000", False),
        ("AcquisitionDateTime", "20260115103000", "20260115103000+0000", True),
        ("AcquisitionDateTime", "20260115", "2026-2027", True),
        ("AcquisitionDateTime", "20280101", "2026-2027", False),
    ],
)
def test_values(name, value, text, expected):
    assert holds(name, value, text) is expected


@pytest.mark.parametrize(
    ("value", "text", "expected"),
    [
        ({"Alphabetic": "Doe^John"}, "doe^JOHN", True),
        ({"Alphabetic": "Doe^John^^^"}, "Doe^John", True),
        ({"Alphabetic": "Doe^John"}, "Doe^John^^^", True),
        ({"Alphabetic": "Doe^John"}, "Doe", True),
        ({"Alphabetic": "Doe^John"}, "Do", False),
        ({"Alphabetic": "Doe^John"}, "John", False),
        ({"Alphabetic": "Doe^John"}, "^John", True),
        ({"Alphabetic": "Doe^John"}, "d*^j*", True),
        ({"Alphabetic": "Doe^John"}, "d*^x*", False),
        ({"Alphabetic": "Doe^John"}, "*JOHN*", True),
        ({"Alphabetic": "Doe^John"}, "do?^*", True),
        ({"Alphabetic": "GE^Phantom"}, "*Pha*", True),
        ({"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}, "山田*", True),
        ({"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}, "Yamada=山田", True),
        ({"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}, "Yamada=鈴木", False),
        ({"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}, "=山田", True),
        ({"Phonetic": "やまだ^たろう"}, "やまだ", True),
        ({"Alphabetic": "Müller^Jörg"}, "MÜLLER", True),
        ({"Alphabetic": "Müller^Jörg"}, "muller", False),
        ("Doe^John", "doe", True),
        ({}, "doe", False),
    ],
)
def test_person_names(value, text, expected):
    assert holds("PatientName", value, text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("joerg", True), ("mueller", True), ("peter", False), ("jorg mul", True), ("MÜL*", True),
     ("Müller^Jörg", True), ("rg", False), ("joe*rg", False),
     ("muller x", False), ("^", False)],
)  # fmt: skip
def test_fuzzy_names_match_beginnings_and_sounds_of_words_without_accents(text, expected):
    assert holds("PatientName", {"Alphabetic": "Müller^Jörg"}, text, fuzzy=True) is expected


def test_search_form_has_no_case_and_no_accents():
    assert fold("MÜLLER^Łukasz ﬁ") == "muller^łukasz fi"


def test_absent_and_empty_attributes_match_universal_and_empty_keys_only():
    empty_key = key("PatientID", '""', empty_values=True)
    for attributes in ({}, element("PatientID"), {"00100020": {"vr": "LO", "Value": [None]}}):
        assert matches(attributes, [key("PatientID", "*")])
        assert matches(attributes, [empty_key])
        assert not matches(attributes, [key("PatientID", "A")])
        assert not matches(attributes, [key("StudyDate", "-20260101")])
    assert not matches(element("PatientID", "A"), [empty_key])
    bulk = {"00282000": {"vr": "OB", "BulkDataURI": "bulkdata/00282000"}}
    assert not matches(bulk, [key("ICCProfile", '""', empty_values=True)])


def test_multiple_values_must_all_match_when_asked():
    wanted = key("ModalitiesInStudy", "CT,MR", multiple_values=True)
    assert matches(element("ModalitiesInStudy", "CT", "MR", "SR"), [wanted])
    assert not matches(element("ModalitiesInStudy", "CT", "SR"), [wanted])


def test_keys_in_a_sequence_match_within_one_item():
    def item(step, procedure):
        return element("ScheduledProcedureStepID", step) | element(
            "RequestedProcedureID", procedure
        )

    attributes = element("RequestAttributesSequence", item("S1", "P1"), item("S2", "P2"))
    path = "RequestAttributesSequence."
    one = key(path + "ScheduledProcedureStepID", "S1")
    assert matches(attributes, [one, key(path + "RequestedProcedureID", "P1")])
    assert not matches(attributes, [one, key(path + "RequestedProcedureID", "P2")])
    assert not matches({}, [one])
    assert not matches(element("RequestAttributesSequence"), [one])


def test_ranges_of_date_and_time_are_one_range_when_combined():
    keys = [key("StudyDate", "20260105-20260107"), key("StudyTime", "1000-0800")]
    early = element("StudyDate", "20260105") | element("StudyTime", "0959")
    between = element("StudyDate", "20260106") | element("StudyTime", "0900")
    late = element("StudyDate", "20260107") | element("StudyTime", "080059")
    assert [matches(each, keys, combined=True) for each in (early, between, late)] == [
        False, True, True]  # fmt: skip
    assert not matches(between, keys, combined=False)
    assert matches(element("StudyDate", "20260106"), keys, combined=True)
    assert not matches(element("StudyDate", "20260108"), keys, combined=True)


def test_ranges_of_different_form_stay_apart():
    keys = [key("StudyDate", "20260105-"), key("StudyTime", "1000-1100")]
    later = element("StudyDate", "20260106") | element("StudyTime", "1200")
    assert not matches(later, keys, combined=True)


def test_open_combined_ranges():
    since = [key("StudyDate", "20260105-"), key("StudyTime", "1000-")]
    until = [key("StudyDate", "-20260105"), key("StudyTime", "-1000")]
    next_morning = element("StudyDate", "20260106") | element("StudyTime", "0800")
    evening_before = element("StudyDate", "20260104") | element("StudyTime", "2200")
    assert matches(next_morning, since, combined=True)
    assert not matches(evening_before, since, combined=True)
    assert matches(evening_before, until, combined=True)
    assert not matches(next_morning, until, combined=True)


def test_time_zone_of_the_query_moves_dates_and_times():
    attributes = (
        element("StudyDate", "20260105")
        | element("StudyTime", "2330")
        | element("TimezoneOffsetFromUTC", "-0100")
    )
    keys = [key("StudyDate", "20260106"), key("StudyTime", "0130")]
    assert matches(attributes, keys, offset_us=parse_offset("+0100"))
    assert not matches(attributes, keys)
    assert shift("20260101", "000000000000", -60_000_000) == ("20251231", "235900000000")


def test_private_keys_find_their_block():
    attributes = {
        "00090010": {"vr": "LO", "Value": ["OTHER"]},
        "00090011": {"vr": "LO", "Value": ["ACME"]},
        "00091001": {"vr": "LO", "Value": ["wrong"]},
        "00091101": {"vr": "LO", "Value": ["right"]},
    }
    attribute = parse_attribute("00091001")
    condition = parse_condition(type(attribute)(attribute.path, "LO"), "right")
    assert matches(attributes, [Key(attribute.path, "LO", condition, ("ACME",))])
    assert not matches(attributes, [Key(attribute.path, "LO", condition, ("OTHER",))])
    assert matches(attributes, [key("00090010", "ACME", creators=("ACME",))])
    assert not matches(attributes, [key("00090010", "NOBODY", creators=("NOBODY",))])


def test_private_keys_find_their_block_inside_sequences_and_private_sequences():
    item = {
        "00090010": {"vr": "LO", "Value": ["OTHER"]},
        "00090020": {"vr": "LO", "Value": ["ACME"]},
        "00092001": {"vr": "DT", "Value": ["20260101"]},
        "00092002": {"vr": "SQ", "Value": [{"00100020": {"vr": "LO", "Value": ["P1"]}}]},
    }
    attributes = {"00400275": {"vr": "SQ", "Value": [item]}}

    def asks(name, vr, text, creators):
        attribute = replace(parse_attribute(name), vr=vr)
        return [Key(attribute.path, vr, parse_condition(attribute, text), creators)]

    here, elsewhere = "00400275.00091001", "00400275.00091002.PatientID"
    assert matches(attributes, asks(here, "DT", "2026", (None, "ACME")))
    assert not matches(attributes, asks(here, "DT", "2026", (None, "OTHER")))
    assert not matches(attributes, asks(here, "DT", "2025", (None, "ACME")))
    assert matches(attributes, asks(elsewhere, "LO", "P1", (None, "ACME", None)))
    assert not matches(attributes, asks(elsewhere, "LO", "P1", (None, "OTHER", None)))
    assert matches(attributes, asks("00400275.00090010", "LO", "ACME", (None, "ACME")))


@pytest.mark.parametrize(
    ("text", "held", "expected"),
    [
        ("maier", "Meyer", True), ("smith", "Schmidt", True), ("catherine", "Kathryn", True),
        ("li", "Lou", False), ("maier", "Baier", False), ("やまだ", "ヤマダ^タロウ", True),
        ("ﾔﾏﾀﾞ", "やまだ", True), ("さとう", "やまだ", False),
    ],
)  # fmt: skip
def test_fuzzy_names_that_sound_alike(text, held, expected):
    for group in ("Alphabetic", "Ideographic", "Phonetic"):
        name = {"Alphabetic": "Q"} | {group: held}
        assert holds("PatientName", name, text, fuzzy=True) is expected
        assert not holds("PatientName", name, text)

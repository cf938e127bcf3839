"""What a search returns of a match."""

import pytest

from lamella.archive.levels import DEFAULT_STUDY, Level
from lamella.archive.query import Key, Query, Single, parse_attribute
from lamella.archive.results import shape_result

URL = "https://pacs.example/dicomweb/default/studies/1.2"


def value(vr, *values):
    return {"vr": vr, "Value": list(values)}


STEP = {
    "00400007": value("LO", "a step"),
    "00400009": value("SH", "S1"),
    "00401001": value("SH", "P1"),
}
ATTRIBUTES = {
    "00080005": value("CS", "ISO_IR 192"),
    "00080018": value("UI", "1.2.3.4"),
    "00080020": value("DA", "20260101"),
    "00080060": value("CS", "CT"),
    "0008103E": value("LO", "Chest"),
    "00090010": value("LO", "OTHER"),
    "00090011": value("LO", "ACME"),
    "00091001": value("LO", "wrong"),
    "00091101": value("LO", "right"),
    "00100010": value("PN", {"Alphabetic": "Doe"}),
    "00104000": value("LT", "comments"),
    "0020000D": value("UI", "1.2"),
    "0020000E": value("UI", "1.2.3"),
    "00200011": value("IS", 4),
    "00280010": value("US", 512),
    "00400275": value("SQ", STEP),
}


def path(name):
    return parse_attribute(name).path


def shape(level, *include, defaults=None, **fields):
    query = Query(
        level,
        include=frozenset(map(path, include)),
        default_levels=frozenset({level} if defaults is None else defaults),
        **fields,
    )
    counts = {"00201206": 2, "00201208": 9, "00201209": 5}
    return shape_result(ATTRIBUTES, query, counts, URL)


def test_study_has_its_table_and_nothing_from_below():
    result = shape(Level.STUDY)
    required = {tags[0] for tags, vr in DEFAULT_STUDY.items() if vr}
    assert required <= set(result)
    assert result["00080050"] == {"vr": "SH"}
    assert result["00080056"] == value("CS", "ONLINE")
    assert result["00081190"] == value("UR", URL)
    assert result["00201206"] == value("IS", 2)
    assert result["00201208"] == value("IS", 9)
    assert result["00080005"] == ATTRIBUTES["00080005"]
    assert not {"00080060", "0020000E", "00080018", "00201209", "00104000"} & set(result)
    assert list(result) == sorted(result)


def test_included_attributes_come_unless_they_lie_below():
    result = shape(Level.STUDY, "PatientComments", "Modality", "Rows", "AdmissionID")
    assert result["00104000"] == ATTRIBUTES["00104000"]
    assert not {"00080060", "00280010", "00380010"} & set(result)


def test_including_all_takes_the_level_and_what_is_above():
    of_series = shape(Level.SERIES, include_all=True)
    assert {"00104000", "0008103E", "00400275", "00201209"} <= set(of_series)
    assert of_series["00400275"]["Value"] == [STEP]
    assert not {"00080018", "00280010"} & set(of_series)
    assert set(ATTRIBUTES) <= set(shape(Level.INSTANCE, include_all=True))


def test_series_of_a_study_has_its_own_table_and_the_uids_above():
    result = shape(Level.SERIES)
    assert result["0020000D"] == ATTRIBUTES["0020000D"]
    assert result["00201209"] == value("IS", 5)
    assert "00100010" not in result
    step = result["00400275"]["Value"]
    assert step == [{"00400009": STEP["00400009"], "00401001": STEP["00401001"]}]


def test_all_series_have_the_table_of_their_study_too():
    result = shape(Level.SERIES, defaults={Level.STUDY, Level.SERIES})
    assert {"00100010", "00080050", "00080060", "00201208", "00201209"} <= set(result)


def test_instance_has_what_is_known_of_its_table():
    result = shape(Level.INSTANCE)
    assert result["00280010"] == value("US", 512)
    assert result["00200013"] == {"vr": "IS"}
    assert "00280008" not in result
    assert {"0020000D", "0020000E"} <= set(result)
    assert "00080060" not in result


def test_whole_sequence_or_parts_of_it():
    whole = shape(Level.SERIES, "RequestAttributesSequence")
    assert whole["00400275"]["Value"] == [STEP]
    part = shape(
        Level.SERIES, "RequestAttributesSequence.ScheduledProcedureStepDescription", defaults=()
    )
    assert part["00400275"]["Value"] == [{"00400007": STEP["00400007"]}]


def test_matching_keys_are_returned():
    keys = (Key(path("PatientComments"), "LT", Single("comments")),)
    assert "00104000" in shape(Level.STUDY, keys=keys)


def test_private_attributes_come_with_their_creator():
    result = shape(Level.INSTANCE, "00091001", creators=((("00090010",), "ACME"),))
    assert result["00091101"] == value("LO", "right")
    assert result["00090011"] == value("LO", "ACME")
    assert not {"00090010", "00091001"} & set(result)
    assert "00091001" not in shape(Level.INSTANCE, "00091001")


def test_find_response_has_what_was_asked_empty_where_unknown():
    result = shape(
        Level.STUDY, "PatientName", "AccessionNumber", "NumberOfStudyRelatedSeries",
        "OtherPatientIDsSequence.PatientID", with_defaults=False, defaults=(),
    )  # fmt: skip
    assert result == {
        "00080050": {"vr": "SH"},
        "00100010": ATTRIBUTES["00100010"],
        "00101002": {"vr": "SQ"},
        "0020000D": ATTRIBUTES["0020000D"],
        "00201206": value("IS", 2),
    }


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.INSTANCE])
def test_attributes_are_not_changed(level):
    before = repr(ATTRIBUTES)
    shape(level, include_all=True)
    assert repr(ATTRIBUTES) == before


def test_private_attributes_inside_sequences_come_with_their_creator():
    item = {
        "00090011": value("LO", "ACME"),
        "00091101": value("LO", "right"),
        "00091102": value("SQ", {"00100020": value("LO", "P1"), "00100010": value("PN")}),
        "00400009": value("SH", "S1"),
    }
    creators = ((("00400275", "00090010"), "ACME"),)

    def take(*include, **fields):
        asked = frozenset(map(path, include))
        query = Query(Level.INSTANCE, include=asked, default_levels=frozenset(), **fields)
        return shape_result({"00400275": value("SQ", item)}, query).get("00400275")

    right = value("SQ", {"00090011": value("LO", "ACME"), "00091101": value("LO", "right")})
    assert take("00400275.00091001", creators=creators) == right
    assert take("00400275.00091001") is None
    part = {
        "00090011": value("LO", "ACME"),
        "00091102": value("SQ", {"00100020": value("LO", "P1")}),
    }
    assert take("00400275.00091002.PatientID", creators=creators) == value("SQ", part)

"""Catalog rows, and searches of them as a view sees them, on SQLite in memory."""

import itertools

import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pyroaring import BitMap

from lamella.archive.attribute_index import row_entry
from lamella.archive.catalog import (
    intern_series,
    intern_study,
    order_number,
    series_attributes,
    series_row,
    study_attributes,
    study_row,
)
from lamella.archive.levels import Level
from lamella.archive.query import Key, Query, parse_attribute, parse_condition
from lamella.archive.search import (
    Visible,
    search_instances,
    search_patients,
    search_series,
    search_studies,
)
from lamella.errors import InvalidInstance

DATASET = 7


@pytest.fixture
def conn():
    engine = sa.create_engine("sqlite://")
    for table in (study_row, series_row, row_entry):
        table.create(engine)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def study(uid, **values):
    attributes = {"0020000D": {"vr": "UI", "Value": [uid]}}
    for keyword, value in values.items():
        attribute = parse_attribute(keyword)
        listed = value if isinstance(value, list) else [value]
        attributes[attribute.path[0]] = {"vr": attribute.vr, "Value": listed}
    return dict(sorted(attributes.items()))


def series(study_uid, uid, **values):
    return study(study_uid, SeriesInstanceUID=uid, **values)


def query(level=Level.STUDY, limit=None, offset=0, fuzzy=False, study_uid=None, **texts):
    keys = []
    for name, text in texts.items():
        attribute = parse_attribute(name.replace("__", "."))
        keys.append(Key(attribute.path, attribute.vr, parse_condition(attribute, text)))
    return Query(
        level, study_uid=study_uid, keys=tuple(keys), limit=limit, offset=offset, fuzzy=fuzzy
    )


class Filled:
    """A catalog with rows in it; everything is visible unless a test hides it."""

    def __init__(self, conn, studies, all_series=()):
        ids = itertools.count(1)
        self.conn = conn
        self.studies = [intern_study(conn, DATASET, s, lambda: next(ids)) for s in studies]
        self.series = [intern_series(conn, DATASET, s, lambda: next(ids)) for s in all_series]
        self.visible = Visible(BitMap(self.studies), BitMap(self.series))

    def find(self, asked, visible=None):
        search = {
            Level.PATIENT: search_patients,
            Level.STUDY: search_studies,
            Level.SERIES: search_series,
        }[asked.level]
        page = search(self.conn, DATASET, asked, visible or self.visible)
        return [row.series_uid or row.study_uid for row in page.rows]


def test_interning_is_idempotent_and_keeps_versions_apart(conn):
    ids = itertools.count(5)

    def intern(dataset_id, attributes):
        return intern_study(conn, dataset_id, attributes, lambda: next(ids))

    first = intern(1, study("1.2", PatientID="A"))
    assert intern(1, study("1.2", PatientID="A")) == first
    assert intern(1, study("1.2", PatientID="B")) != first
    assert intern(2, study("1.2", PatientID="A")) != first
    assert conn.scalar(sa.select(sa.func.count()).select_from(study_row)) == 3
    assert next(ids) == 8


def test_rows_need_their_uids(conn):
    with pytest.raises(InvalidInstance):
        intern_study(conn, 1, {}, lambda: 1)
    with pytest.raises(InvalidInstance):
        intern_series(conn, 1, {"0020000E": {"vr": "UI", "Value": ["1.2"]}}, lambda: 1)


def test_newest_study_first_then_by_uid_and_unknown_dates_last(conn):
    filled = Filled(
        conn,
        [
            study("1.5"),
            study("1.4", StudyDate="20260101"),
            study("1.3", StudyDate="20260101", StudyTime="1000"),
            study("1.2", StudyDate="20260101", StudyTime="100000.5"),
            study("1.10", StudyDate="20260101", StudyTime="1000"),
            study("1.6", StudyDate="20251231", StudyTime="2359"),
            study("1.7", StudyDate="not a date"),
        ],
    )
    assert filled.find(query()) == ["1.2", "1.10", "1.3", "1.4", "1.6", "1.5", "1.7"]


def test_pages_are_cut_from_the_stable_order(conn):
    filled = Filled(conn, [study(f"1.{n:03d}", StudyDate="20260101") for n in range(400)])
    everything = filled.find(query())
    assert len(everything) == 400
    for with_key in ({}, {"StudyDate": "20260101"}):
        pages = [filled.find(query(limit=90, offset=o, **with_key)) for o in range(0, 450, 90)]
        assert list(itertools.chain(*pages)) == everything
    find = search_studies(conn, DATASET, query(limit=400), filled.visible)
    assert not find.has_more
    assert search_studies(conn, DATASET, query(limit=399), filled.visible).has_more
    assert search_studies(conn, DATASET, query(limit=0), filled.visible).has_more
    assert filled.find(query(limit=0)) == []
    assert filled.find(query(offset=400)) == []


def test_only_rows_of_the_view_and_of_the_dataset_are_found(conn):
    versions = [study("1.2", PatientID=name, StudyDate="20260101") for name in ("A", "B")]
    filled = Filled(conn, [*versions, study("1.3", PatientID="A")])
    intern_study(conn, DATASET + 1, study("1.9", PatientID="A"), lambda: filled.studies[0])
    old = Visible(BitMap([filled.studies[0]]), BitMap())
    new = Visible(BitMap(filled.studies[1:]), BitMap())
    assert filled.find(query(PatientID="A"), old) == ["1.2"]
    assert filled.find(query(PatientID="A"), new) == ["1.3"]
    assert filled.find(query(PatientID="B"), old) == []
    assert filled.find(query(), Visible(BitMap(), BitMap())) == []


def test_small_view_of_a_catalog_that_has_grown(conn):
    studies = [study(f"1.{n}", StudyDate=f"2026{1 + n % 12:02d}01") for n in range(3000)]
    filled = Filled(conn, studies)
    view = Visible(BitMap(filled.studies[5:2000:400]), BitMap())
    wanted = {f"1.{n}" for n in range(5, 2000, 400)}
    whole = [uid for uid in filled.find(query()) if uid in wanted]
    assert filled.find(query(), view) == whole
    assert filled.find(query(StudyDate="20260101-20261231"), view) == whole
    assert filled.find(query(limit=2, offset=1), view) == whole[1:3]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"PatientID": "P1"}, ["1.1"]),
        ({"PatientID": "P*"}, ["1.1", "1.2"]),
        ({"PatientID": "p*"}, []),
        ({"PatientName": "doe"}, ["1.1"]),
        ({"PatientName": "do*"}, ["1.1", "1.2"]),
        ({"PatientName": "*an*"}, ["1.2"]),
        ({"PatientName": "山*"}, ["1.3"]),
        ({"ReferringPhysicianName": "*house*"}, ["1.2"]),
        ({"StudyDate": "20260103"}, ["1.1"]),
        ({"StudyDate": "20260102-"}, ["1.1", "1.2"]),
        ({"StudyDate": "-20260102"}, ["1.2", "1.3"]),
        ({"PatientBirthDate": "19700101-19801231"}, ["1.2"]),
        ({"ModalitiesInStudy": "CT,US"}, ["1.1", "1.3"]),
        ({"ModalitiesInStudy": "S?"}, ["1.1"]),
        ({"StudyInstanceUID": "1.1,1.3"}, ["1.1", "1.3"]),
        ({"AccessionNumber": "A_1"}, ["1.2"]),
        ({"StudyDescription": "*100%*"}, ["1.3"]),
        ({"PatientComments": "kept*"}, ["1.1"]),
        ({"PatientID": "P1", "StudyDate": "20260102"}, []),
        ({"OtherPatientIDsSequence__PatientID": "X"}, ["1.3"]),
    ],
)
def test_study_keys(conn, asked, found):
    other = {"vr": "LO", "Value": ["X"]}
    filled = Filled(
        conn,
        [
            study("1.1", PatientID="P1", PatientName={"Alphabetic": "Doe^Jim"},
                  StudyDate="20260103", ModalitiesInStudy=["CT", "SR"], AccessionNumber="A-1",
                  PatientComments="kept as JSON alone"),
            study("1.2", PatientID="P2", PatientName={"Alphabetic": "Donovan"}, PatientSex="M",
                  StudyDate="20260102", AccessionNumber="A_1", PatientBirthDate="19750505",
                  ReferringPhysicianName={"Alphabetic": "House^Gregory"}),
            study("1.3", PatientID="3", StudyDate="20260101", ModalitiesInStudy="US",
                  PatientName={"Alphabetic": "Yamada", "Ideographic": "山田^太郎"},
                  StudyDescription="at 100% zoom", OtherPatientIDsSequence={"00100020": other}),
        ],
    )  # fmt: skip
    assert filled.find(query(**asked)) == found


def test_fuzzy_search_of_names(conn):
    filled = Filled(conn, [study("1.1", PatientName={"Alphabetic": "Silva^João Pedro"})])
    assert filled.find(query(PatientName="joao silva", fuzzy=True)) == ["1.1"]
    assert filled.find(query(PatientName="joao silva")) == []
    assert filled.find(query(PatientName="Silva^*", fuzzy=True)) == ["1.1"]
    assert filled.find(query(PatientName="silvan", fuzzy=True)) == []
    assert filled.find(query(PatientName="pedro sylva", fuzzy=True)) == ["1.1"]


@pytest.mark.parametrize("text", ["doe", "doe*", "jo do", "john", "d?e", "*doe*"])
def test_fuzzy_searches_are_served_by_the_index_of_words(conn, text):
    filled = Filled(conn, [study("1.1", PatientName={"Alphabetic": "Doe^John"})])
    seen = []
    driver = conn.connection.dbapi_connection
    driver.set_trace_callback(seen.append)
    asked = query(limit=1, PatientName=text, fuzzy=True)
    assert filled.find(asked) == ["1.1"]
    driver.set_trace_callback(None)
    uses = [
        str(row[-1])
        for statement in seen
        for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}")
    ]
    terms = " AND term>? AND term<?" if not text.startswith("*") else ""
    place = f"SEARCH row_entry USING PRIMARY KEY (dataset_id=? AND index_id=?{terms})"
    assert place in uses
    entries = {use for use in uses if "row_entry" in use}
    of_sounds = "SEARCH row_entry USING PRIMARY KEY (dataset_id=? AND index_id=? AND term=?)"
    assert entries == ({place, of_sounds} if text == "john" else {place})
    assert not any(use.startswith("SCAN") for use in uses)
    own = "SEARCH study_row USING INDEX sqlite_autoindex_study_row_1 (dataset_id=? AND row_id=?)"
    assert {use for use in uses if "study_row" in use} == {own}


def two_studies(conn):
    return Filled(
        conn,
        [study("1.1", PatientID="P1", StudyDate="20260101"), study("1.2", PatientID="P2")],
        [
            series("1.1", "1.1.9", Modality="CT", SeriesNumber=2),
            series("1.1", "1.1.8", Modality="SR", SeriesNumber=10),
            series("1.1", "1.1.7", Modality="CT"),
            series("1.2", "1.2.1", Modality="CT", SeriesNumber=1,
                   RequestAttributesSequence={"00400009": {"vr": "SH", "Value": ["S1"]}}),
        ],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["1.1.9", "1.1.8", "1.1.7", "1.2.1"]),
        ({"study_uid": "1.1"}, ["1.1.9", "1.1.8", "1.1.7"]),
        ({"study_uid": "1.1", "Modality": "CT"}, ["1.1.9", "1.1.7"]),
        ({"PatientID": "P2"}, ["1.2.1"]),
        ({"PatientID": "P?", "Modality": "CT"}, ["1.1.9", "1.1.7", "1.2.1"]),
        ({"StudyDate": "20260101", "SeriesNumber": "10"}, ["1.1.8"]),
        ({"StudyInstanceUID": "1.2,1.1", "SeriesInstanceUID": "1.1.7,1.2.1"}, ["1.1.7", "1.2.1"]),
        ({"RequestAttributesSequence__ScheduledProcedureStepID": "S1"}, ["1.2.1"]),
        ({"PatientID": "P9"}, []),
    ],
)
def test_series_keys(conn, asked, found):
    assert two_studies(conn).find(query(Level.SERIES, **asked)) == found


def test_series_carry_the_visible_version_of_their_study(conn):
    filled = two_studies(conn)
    newer = intern_study(conn, DATASET, study("1.1", PatientID="P7"), lambda: 99)
    view = Visible(BitMap([newer, filled.studies[1]]), filled.visible.series)
    assert filled.find(query(Level.SERIES, PatientID="P7"), view) == ["1.1.9", "1.1.8", "1.1.7"]
    assert filled.find(query(Level.SERIES, PatientID="P1"), view) == []
    page = search_series(conn, DATASET, query(Level.SERIES, study_uid="1.1", limit=1), view)
    assert page.rows[0].attributes["00100020"]["Value"] == ["P7"]
    assert page.rows[0].attributes["00080060"]["Value"] == ["CT"]
    assert page.has_more


def test_patients_are_told_apart_by_issuer(conn):
    filled = Filled(
        conn,
        [
            study("1.1", PatientID="P", IssuerOfPatientID="X", StudyDate="20260101"),
            study("1.2", PatientID="P", IssuerOfPatientID="X", StudyDate="20260102"),
            study("1.3", PatientID="P", IssuerOfPatientID="Y", StudyDate="20260103"),
        ],
    )
    assert filled.find(query(Level.PATIENT)) == ["1.3", "1.2"]
    assert filled.find(query(Level.PATIENT, IssuerOfPatientID="X")) == ["1.2"]


def test_instances_are_matched_in_the_order_given():
    documents = [{"00200013": {"vr": "IS", "Value": [n % 2]}, "n": n} for n in range(6)]
    odd = query(Level.INSTANCE, InstanceNumber="1", limit=2)
    found, has_more = search_instances(documents, odd)
    assert ([each["n"] for each in found], has_more) == ([1, 3], True)
    found, has_more = search_instances(documents, query(Level.INSTANCE, offset=4))
    assert ([each["n"] for each in found], has_more) == ([4, 5], False)


def test_attributes_are_split_by_level_without_bulk_data():
    ds = dcmread(get_testdata_file("CT_small.dcm", download=False))
    document = ds.to_json_dict(bulk_data_threshold=64, bulk_data_element_handler=lambda e: "x")
    document["00081110"] = {
        "vr": "SQ",
        "Value": [{"00080018": {"vr": "UI"}, "00282000": {"vr": "OB", "BulkDataURI": "x"}}],
    }
    document["00080056"] = {"vr": "CS", "Value": ["OFFLINE"]}
    of_study = study_attributes(document, ["SR", "CT", "CT", ""], ["1.2.3"])
    of_series = series_attributes(document)
    assert of_study["00100020"] == document["00100020"]
    assert of_study["00080061"] == {"vr": "CS", "Value": ["CT", "SR"]}
    assert of_study["00080062"] == {"vr": "UI", "Value": ["1.2.3"]}
    assert of_study["00081110"] == {"vr": "SQ", "Value": [{"00080018": {"vr": "UI"}}]}
    assert list(of_study) == sorted(of_study)
    assert of_series["00080060"]["Value"] == ["CT"]
    assert of_series["0020000D"] == document["0020000D"]
    for attributes in (of_study, of_series):
        assert not {"00080018", "7FE00010", "00200013", "00080056"} & set(attributes)
    assert "00080060" not in of_study
    assert "00100020" not in of_series


def test_whole_numbers_sort_as_text():
    numbers = ["-3", "0", "2", "10", "2147483647"]
    assert sorted(numbers, key=order_number) == numbers
    assert order_number("") == order_number("two") > order_number("2147483647")


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ({}, "ix_study_row_order"),
        ({"PatientID": "P"}, "ix_study_row_patient_id"),
        ({"AccessionNumber": "A"}, "ix_study_row_accession_number"),
        ({"StudyInstanceUID": "1.2,1.3"}, "sqlite_autoindex_study_row_2"),
        ({"PatientName": "Doe*"}, "ix_study_row_patient_name"),
        ({"PatientName": "Doe"}, "ix_study_row_patient_name_other"),
        ({"PatientName": "*doe*"}, "ix_study_row_patient_name"),
        ({"PatientID": "P*"}, "ix_study_row_patient_id"),
        ({"StudyDate": "20260101-20260201"}, "ix_study_row_order"),
    ],
)
def test_searches_are_served_by_an_index(conn, asked, index):
    seen = []
    driver = conn.connection.dbapi_connection
    driver.set_trace_callback(seen.append)
    search_studies(conn, DATASET, query(limit=1, **asked), Visible(BitMap([1]), BitMap()))
    driver.set_trace_callback(None)
    uses = [
        str(row[-1])
        for statement in seen
        for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}")
    ]
    assert any(f"INDEX {index} " in use for use in uses)
    assert not any(use.startswith("SCAN study_row") for use in uses)

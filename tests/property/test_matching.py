"""Searches against brute force: what SQL, indexes and bitmaps find is what plain matching finds."""

import itertools
import re

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from lamella.archive.catalog import intern_series, intern_study, series_row, study_row
from lamella.archive.levels import Level
from lamella.archive.matching import match_query
from lamella.archive.person_name import build_name_test, fold, matches_wildcard
from lamella.archive.query import Key, Query, Universal, parse_attribute, parse_condition
from lamella.archive.search import Visible, search_series, search_studies

engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
study_row.create(engine)
series_row.create(engine)

FEW = "aAbB_%/ .^ßöÖ1"
words = st.text(FEW, max_size=4)
names = st.sampled_from(["", "Doe", "doe^john", "DÖE^J", "Doe John^x", "a%b", "ßa^_", "山田^太郎"])
patterns = st.text(FEW + "*?", max_size=5)
dates = st.sampled_from(["", "20260101", "20260102", "2026.01.03", "20251231", "0", "x"])
times = st.sampled_from(["", "10", "1030", "103000.5", "235959", "z"])
date_keys = st.sampled_from(
    ["20260101", "20260101-", "-20260101", "20251231-20260102", "20260102-20260101", ""]
)
time_keys = st.sampled_from(["10", "1030-", "-103000", "0900-1030", "11-09", ""])
codes = st.sampled_from(["CT", "MR", "SR"])


def element(vr, *values):
    held = [value for value in values if value]
    return {"vr": vr, "Value": held} if held else {"vr": vr}


@st.composite
def studies(draw):
    name = {"Alphabetic": draw(names), "Ideographic": draw(names)}
    return {
        "00080020": element("DA", draw(dates)),
        "00080030": element("TM", draw(times)),
        "00080050": element("SH", draw(words)),
        "00080061": element("CS", *sorted(draw(st.sets(codes)))),
        "00080090": element("PN", {"Alphabetic": draw(names)}),
        "00081030": element("LO", draw(words)),
        "00100010": element("PN", {group: text for group, text in name.items() if text}),
        "00100020": element("LO", draw(words)),
        "00100030": element("DA", draw(dates)),
        "00104000": element("LT", draw(words)),
        "0020000D": element("UI", draw(st.sampled_from(["1.1", "1.2", "1.3", "1.10"]))),
    }


series = st.fixed_dictionaries(
    {
        "00080060": st.builds(lambda code: element("CS", code), codes),
        "0020000D": st.builds(
            lambda uid: element("UI", uid), st.sampled_from(["1.1", "1.2", "1.3", "1.10"])
        ),
        "0020000E": st.builds(
            lambda uid: element("UI", uid), st.sampled_from(["2.1", "2.2", "2.3", "2.10"])
        ),
        "00200011": st.builds(lambda n: element("IS", n), st.sampled_from([1, 2, 10, None, "x"])),
        "00400244": st.builds(lambda day: element("DA", day), dates),
    }
)
KEYS = {
    "StudyDate": date_keys,
    "StudyTime": time_keys,
    "AccessionNumber": patterns,
    "ModalitiesInStudy": st.sampled_from(["CT", "CT,MR", "C?", "*", "*R"]),
    "ReferringPhysicianName": patterns | names,
    "StudyDescription": patterns,
    "PatientName": patterns | names | st.builds("{}={}".format, names, names),
    "PatientID": patterns | words.map(lambda text: text + "\\a"),
    "PatientBirthDate": date_keys,
    "PatientComments": patterns,
    "StudyInstanceUID": st.sampled_from(["1.1", "1.2,1.10", "1"]),
}
SERIES_KEYS = KEYS | {
    "Modality": st.sampled_from(["CT", "CT,MR", "*R"]),
    "SeriesNumber": st.sampled_from(["1", "02"]),
    "SeriesInstanceUID": st.sampled_from(["2.1", "2.2,2.10"]),
    "PerformedProcedureStepStartDate": date_keys,
}


@st.composite
def queries(draw, level, keys):
    chosen = draw(st.lists(st.sampled_from(sorted(keys)), max_size=3, unique=True))
    multiple = draw(st.booleans())
    found = []
    for name in chosen:
        attribute = parse_attribute(name)
        text = '""' if draw(st.integers(0, 9)) == 0 else draw(keys[name])
        several = multiple and attribute.vr not in ("DA", "TM")
        condition = parse_condition(
            attribute, text, empty_values=text == '""', multiple_values=several
        )
        if not isinstance(condition, Universal):
            found.append(Key(attribute.path, attribute.vr, condition))
    return Query(
        level,
        keys=tuple(found),
        limit=draw(st.none() | st.integers(0, 4)),
        offset=draw(st.integers(0, 2)),
        fuzzy=draw(st.booleans()),
        combined=draw(st.booleans()),
    )


def cut(found, query):
    rest = found[query.offset :]
    return rest if query.limit is None else rest[: query.limit]


def intern_all(conn, intern, documents):
    ids = itertools.count(1)
    return {intern(conn, 1, document, lambda: next(ids)): document for document in documents}


@settings(max_examples=300, deadline=None)
@given(
    st.lists(studies(), max_size=12),
    st.sets(st.integers(1, 12)),
    queries(Level.STUDY, KEYS),
)
def test_study_search_is_brute_force(documents, hidden, query):
    with engine.connect() as conn:
        rows = intern_all(conn, intern_study, documents)
        visible = Visible(BitMap(rows.keys() - hidden), BitMap())
        page = search_studies(conn, 1, query, visible)
        whole = search_studies(conn, 1, Query(Level.STUDY), visible)
        conn.rollback()
    assert {row.row_id for row in whole.rows} == rows.keys() - hidden
    match = match_query(query)
    expected = [row.row_id for row in whole.rows if match(rows[row.row_id])]
    assert [row.row_id for row in page.rows] == cut(expected, query)
    assert page.has_more == (len(expected) > query.offset + len(page.rows))
    assert all(row.attributes == rows[row.row_id] for row in page.rows)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(studies(), max_size=4, unique_by=lambda study: study["0020000D"]["Value"][0]),
    st.lists(series, max_size=10),
    st.sets(st.integers(1, 10)),
    queries(Level.SERIES, SERIES_KEYS),
)
def test_series_search_is_brute_force(documents, all_series, hidden, query):
    with engine.connect() as conn:
        of_studies = intern_all(conn, intern_study, documents)
        rows = intern_all(conn, intern_series, all_series)
        visible = Visible(BitMap(of_studies), BitMap(rows.keys() - hidden))
        page = search_series(conn, 1, query, visible)
        whole = search_series(conn, 1, Query(Level.SERIES), visible)
        conn.rollback()
    assert {row.row_id for row in whole.rows} == rows.keys() - hidden
    assert [row.study_uid for row in whole.rows] == sorted(row.study_uid for row in whole.rows)
    match = match_query(query)
    by_uid = {study["0020000D"]["Value"][0]: study for study in documents}
    known = {
        row_id: by_uid.get(row["0020000D"]["Value"][0], {}) | row for row_id, row in rows.items()
    }
    # A study that is not visible has no attributes to match; a view never shows such a series.
    asked_of_study = any(key.path[0] < "0020" and key.path[0] != "00080060" for key in query.keys)
    expected = [
        row.row_id
        for row in whole.rows
        if match(known[row.row_id]) and (row.study_uid in by_uid or not asked_of_study)
    ]
    assert [row.row_id for row in page.rows] == cut(expected, query)
    assert page.has_more == (len(expected) > query.offset + len(page.rows))


@given(patterns, st.text(FEW, max_size=8))
def test_wildcards_are_regular_expressions(pattern, text):
    expression = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)
    assert matches_wildcard(pattern, text) == bool(re.fullmatch(expression, text, re.DOTALL))


@given(st.text(max_size=6), st.text(max_size=6))
def test_folding_a_part_gives_a_part(first, second):
    assert fold(first) + fold(second) == fold(first + second)


@given(names | st.text(FEW, max_size=8))
def test_a_name_finds_itself_and_fuzzy_finds_what_literal_finds(name):
    held = {"Alphabetic": name}
    literal = build_name_test(name, fuzzy=False)(held)
    assert literal == bool(name.strip("^ ").replace("^", "").strip())
    assert build_name_test(name, fuzzy=True)(held) or not literal

"""Searches against brute force: what SQL, indexes and bitmaps find is what plain matching finds.

Hypothesis chooses seeds, Python's generator the catalog and queries: their keys are made from
values that are there, so that most find something and miss something.
"""

import itertools
import random
import re
from dataclasses import replace

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from lamella.archive.attribute_index import (
    NAMES,
    list_written,
    parse_index,
    row_entry,
)
from lamella.archive.catalog import intern_series, intern_study, series_row, study_row
from lamella.archive.levels import Level
from lamella.archive.matching import match_query
from lamella.archive.person_name import build_name_test, fold, matches_wildcard
from lamella.archive.query import Key, Query, Universal, parse_attribute, parse_condition
from lamella.archive.search import Visible, search_series, search_studies

engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
for table in (study_row, series_row, row_entry):
    table.create(engine)

CHARACTERS = "aAbB_%/ .^ßöÖ1"
WORDS = ["", "a", "A", "ab", "aab", "a_b", "a%b", "a/b", "axb", " ab", "ab^", "öb", "ß"]
TEXTS = [
    "",
    "Doe",
    "doe^john",
    "Dow^Jon",
    "DÖE^J",
    "Doe John^x",
    "a%b",
    "ßa^_",
    "山田^太郎",
    "ö^doe",
]
DATES = ["", "20260101", "20260102", "2026.01.03", "20251231", "0", "x"]
TIMES = ["", "10", "1030", "103000.5", "235959", "z"]
CODES = ["CT", "MR", "SR"]
STUDY_UIDS = ["1.1", "1.2", "1.3", "1.10"]
SERIES_UIDS = ["2.1", "2.2", "2.3", "2.10"]
STUDY_KEYS = ["StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy", "PatientID",
              "ReferringPhysicianName", "StudyDescription", "PatientName", "PatientBirthDate",
              "PatientComments", "StudyInstanceUID"]  # fmt: skip
SERIES_KEYS = ["Modality", "SeriesNumber", "SeriesInstanceUID", "PerformedProcedureStepStartDate",
               "OperatorsName"]  # fmt: skip
INDEXES = [
    replace(parse_index(name), id=number, state="ready")
    for number, name in enumerate([*STUDY_KEYS, *SERIES_KEYS, "SeriesTime", "SeriesDescription"], 1)
    if name not in ("StudyInstanceUID", "SeriesInstanceUID")
]


def element(vr, *values):
    held = [value for value in values if value]
    return {"vr": vr, "Value": held} if held else {"vr": vr}


def make_study(rng):
    name = {"Alphabetic": rng.choice(TEXTS), "Ideographic": rng.choice(TEXTS)}
    return {
        "00080020": element("DA", rng.choice(DATES)),
        "00080030": element("TM", rng.choice(TIMES)),
        "00080050": element("SH", rng.choice(WORDS)),
        "00080061": element("CS", *sorted(rng.sample(CODES, rng.randint(0, 3)))),
        "00080090": element("PN", {"Alphabetic": rng.choice(TEXTS)}),
        "00081030": element("LO", rng.choice(WORDS)),
        "00100010": element("PN", {group: text for group, text in name.items() if text}),
        "00100020": element("LO", rng.choice(WORDS)),
        "00100030": element("DA", rng.choice(DATES)),
        "00104000": element("LT", rng.choice(WORDS)),
        "0020000D": element("UI", rng.choice(STUDY_UIDS)),
    }


def make_series(rng):
    return {
        "00080060": element("CS", rng.choice(CODES)),
        "0020000D": element("UI", rng.choice(STUDY_UIDS)),
        "0020000E": element("UI", rng.choice(SERIES_UIDS)),
        "00081070": element("PN", *({"Alphabetic": rng.choice(TEXTS)} for _ in range(2))),
        "00200011": element("IS", rng.choice([1, 2, 10, None, "x"])),
        "00400244": element("DA", rng.choice(DATES)),
    }


def make_pattern(rng, texts):
    """Return a text that may be there, sometimes with a part of it made a wildcard."""
    text = rng.choice(texts)
    if not text or rng.random() < 0.3:
        return text
    first = rng.randrange(len(text))
    last = rng.randint(first, len(text))
    return text[:first] + rng.choice(["*", "?", "*?", "%", "_"]) + text[last:]


def make_text(rng, vr):
    """Return the text of a key of this VR."""
    if rng.random() < 0.1:
        return '""'
    days = ["20251231", "20260101", "20260102", "20260103"]
    clocks = ["09", "10", "1030", "103000", "11"]
    if vr in ("DA", "TM"):
        first, last = (rng.choice(days if vr == "DA" else clocks) for _ in range(2))
        return rng.choice([first, f"{first}-", f"-{last}", f"{first}-{last}"])
    if vr == "UI":
        return ",".join(rng.sample(STUDY_UIDS + SERIES_UIDS, 3))
    if vr == "CS":
        return rng.choice(["CT", "CT,MR", "C?", "*R", "MR,SR"])
    if vr == "IS":
        return rng.choice(["1", "02"])
    if vr == "PN":
        groups = [make_pattern(rng, TEXTS) for _ in range(rng.choice([1, 1, 2]))]
        return "=".join(groups)
    return "\\".join(make_pattern(rng, WORDS) for _ in range(rng.choice([1, 1, 1, 2])))


def make_query(rng, level):
    names = STUDY_KEYS + (SERIES_KEYS if level is Level.SERIES else [])
    keys = []
    for name in rng.sample(names, rng.choice([1, 1, 2])):
        attribute = parse_attribute(name)
        text = make_text(rng, attribute.vr)
        condition = parse_condition(
            attribute, text, empty_values=text == '""', multiple_values=rng.random() < 0.2
        )
        if not isinstance(condition, Universal):
            keys.append(Key(attribute.path, attribute.vr, condition))
    if rng.random() < 0.2:
        pair = [("StudyDate", "20251231-20260102"), ("StudyTime", "1030-1000")]
        for name, text in pair:
            attribute = parse_attribute(name)
            keys = [key for key in keys if key.path != attribute.path]
            keys.append(Key(attribute.path, attribute.vr, parse_condition(attribute, text)))
    return Query(
        level,
        keys=tuple(keys),
        limit=rng.choice([None, None, 3, 0]),
        offset=rng.choice([0, 0, 1]),
        fuzzy=rng.random() < 0.3,
        combined=rng.random() < 0.5,
    )


def intern_all(conn, intern, documents):
    ids = itertools.count(1)
    level = Level.STUDY if intern is intern_study else Level.SERIES
    indexes = list_written(INDEXES, level)
    return {
        intern(conn, 1, document, lambda: next(ids), indexes): document for document in documents
    }


def choose_indexes(rng):
    """Return some of the indexes: results are the same whichever there are."""
    return [NAMES, *rng.sample(INDEXES, rng.choice([0, 2, len(INDEXES)]))]


def check(search, rows, known, query):
    """Compare a page with the cut that brute force makes of all rows in their order."""
    match = match_query(query)
    expected = [row_id for row_id in rows if match(known[row_id])]
    page = search(query)
    last = None if query.limit is None else query.offset + query.limit
    assert [row.row_id for row in page.rows] == expected[query.offset : last], query
    assert page.has_more == (last is not None and len(expected) > last)
    return len(expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_study_search_is_brute_force(seed):
    rng = random.Random(seed)
    with engine.connect() as conn:
        rows = intern_all(conn, intern_study, [make_study(rng) for _ in range(30)])
        shown = BitMap(row_id for row_id in rows if rng.random() < 0.8)

        def search(query):
            indexes = choose_indexes(rng)
            return search_studies(conn, 1, query, Visible(shown, BitMap()), None, indexes)

        whole = [row.row_id for row in search(Query(Level.STUDY)).rows]
        for _ in range(25):
            check(search, whole, rows, make_query(rng, Level.STUDY))
        conn.rollback()
    assert set(whole) == set(shown)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_series_search_is_brute_force(seed):
    rng = random.Random(seed)
    with engine.connect() as conn:
        studies = {uid: make_study(rng) | {"0020000D": element("UI", uid)} for uid in STUDY_UIDS}
        of_studies = BitMap(intern_all(conn, intern_study, studies.values()))
        rows = intern_all(conn, intern_series, [make_series(rng) for _ in range(30)])
        shown = BitMap(row_id for row_id in rows if rng.random() < 0.8)

        def search(query):
            indexes = choose_indexes(rng)
            return search_series(conn, 1, query, Visible(of_studies, shown), None, indexes)

        whole = search(Query(Level.SERIES)).rows
        known = {row_id: studies[row["0020000D"]["Value"][0]] | row for row_id, row in rows.items()}
        for _ in range(25):
            check(search, [row.row_id for row in whole], known, make_query(rng, Level.SERIES))
        conn.rollback()
    assert {row.row_id for row in whole} == set(shown)
    assert [row.study_uid for row in whole] == sorted(row.study_uid for row in whole)


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES])
def test_queries_of_brute_force_find_and_miss(level):
    rng = random.Random(1)
    documents = [make_study(rng) | make_series(rng) for _ in range(30)]
    found = [sum(map(match_query(make_query(rng, level)), documents)) for _ in range(400)]
    assert sum(0 < hits < len(documents) for hits in found) > 160


@given(st.text(CHARACTERS + "*?", max_size=5), st.text(CHARACTERS, max_size=8))
def test_wildcards_are_regular_expressions(pattern, text):
    expression = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)
    assert matches_wildcard(pattern, text) == bool(re.fullmatch(expression, text, re.DOTALL))


@given(st.text(max_size=6), st.text(max_size=6))
def test_folding_a_part_gives_a_part(first, second):
    assert fold(first) + fold(second) == fold(first + second)


@given(st.sampled_from(TEXTS) | st.text(CHARACTERS, max_size=8))
def test_a_name_finds_itself_and_fuzzy_finds_what_literal_finds(name):
    held = {"Alphabetic": name}
    literal = build_name_test(name, fuzzy=False)(held)
    assert literal == bool(name.replace("^", "").strip())
    assert build_name_test(name, fuzzy=True)(held) or not literal

"""Free text: what tells goes, what does not stays; dates as the profile has them."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from lamella.deid.headers import clean
from lamella.deid.identifiers import Identifiers
from lamella.deid.profiles import Profile
from lamella.deid.text_dates import move_date
from lamella.deid.text_rules import RulesFinder
from lamella.deid.texts import clean_text, find_engine
from lamella.errors import InvalidRequest
from tests.unit.deid.subjects_at_hand import KEY, make_instance

FINDER = RulesFinder()
KNOWN = Identifiers(
    words=frozenset({"zebediah", "quarles"}),
    phrases=frozenset({"quarles zebediah", "mrn 0815 4711", "st mary"}),
    dates=frozenset({"19491203"}),
)


@pytest.mark.parametrize(
    "text",
    [
        "CT CHEST W/O CONTRAST", "T2 TSE SAG 3mm", "Gleason 7 (3+4), Foley catheter in place",
        "SOMATOM Definition AS+", "Head 1.0 H31s", "t1_mprage_sag_p2_iso_1.0", "AX 5.0/3.0",
        "Patient moved during scan", "FOV 240x240 TR 4500/TE 98", "Hodgkin lymphoma, stage IIA",
        "PET WB 3.0mm OSEM 4i16s", "2nd look, 3 of 12 slices", "L4/5 disc, 0.5x512x512",
    ],
)  # fmt: skip
def test_clean_text_stays_as_it_is(text: str) -> None:
    assert clean_text(text, KNOWN, FINDER) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seen by ZEBEDIAH today", "zebediah"), ("Quarles, Zebediah: chest", "quarles"),
        ("MRN_0815/4711 follow-up", "4711"), ("Dr. Hartmann-Li reports", "hartmann"),
        ("SMITH^JOHN^Q", "smith"), ("Read by Jane Doe, MD", "doe"), ("MRN: A1B2C3", "a1b2c3"),
        ("Acc# 20190703", "20190703"), ("call (555) 123-4567", "4567"), ("SSN 078-05-1120", "1120"),
        ("write to j.doe@example.org", "example"), ("born 3 January 1955", "1955"),
        ("scan of 07/04/2019", "2019"), ("93 year old man", "93"), ("from 12 Elm Street", "elm"),
        ("done at Mercy General Hospital", "mercy"), ("id 1.2.840.113619.2.55.3", "113619"),
        ("see https://example.org/x", "example"), ("PAT-88213-X", "88213"),
        ("Patient: John Miller", "miller"), ("ordered by Anna Kovacs", "kovacs"),
    ],
)  # fmt: skip
def test_what_tells_goes(text: str, told: str) -> None:
    assert told not in clean_text(text, KNOWN, FINDER).lower()


def test_the_rest_of_a_sentence_stays() -> None:
    text = "Nodule in the left lower lobe, seen by Dr. Hartmann on 2019-07-04; no effusion."
    cleaned = clean_text(text, KNOWN, FINDER)
    assert cleaned == "Nodule in the left lower lobe, seen by on; no effusion."


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("QUARLES^ZEBEDIAH seen for lung nodule", "seen for lung nodule"),
        ("KOWALCZYK^JAN^^DR seen for lung nodule", "seen for lung nodule"),
        ("E. Quarles (MRN 0815-4711), pneumothorax", "pneumothorax"),
        ("Dr. E. A. Quarles reports", "reports"),
        ("Please call (931) 555-0195 about the result", "Please call about the result"),
        ("Contact zebediah.6182@example.org; contrast allergy", "Contact; contrast allergy"),
    ],
)
def test_initials_and_titles_go_with_a_name_and_nothing_else(text: str, rest: str) -> None:
    assert clean_text(text, KNOWN, FINDER) == rest


def test_nothing_stays_of_what_is_doubtful() -> None:
    assert clean_text("Zebediah said: x^y", KNOWN, None) == ""
    assert clean_text("Zebediah 12345678", KNOWN, None) == ""


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("2019-07-04", "2019-07-14"), ("20190704", "20190714"), ("2019/7/4", "2019/07/14"),
        ("07/04/2019", "07/14/2019"), ("25.12.2019", "04.01.2020"), ("4 Jul 2019", "14 Jul 2019"),
        ("July 4, 2019", "14 July 2019"), ("31/12/19", "10/01/2020"), ("July 2019", ""),
        ("1949-12-03", ""), ("03.12.1949", ""), ("99/99/2019", ""),
    ],
)  # fmt: skip
def test_dates_move_in_their_own_form(text: str, moved: str) -> None:
    assert move_date(text, 10, KNOWN.dates) == moved
    assert clean_text(f"scan {text} axial", KNOWN, FINDER, 10) == " ".join(
        f"scan {moved} axial".split()
    )


def test_dates_stay_where_they_are_retained_but_not_the_birth_date() -> None:
    text = "born 1949-12-03, seen 2019-07-04"
    assert clean_text(text, KNOWN, FINDER, 0) == "born, seen 2019-07-04"


def test_engines_that_are_not_there_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="no text finder 'oracle'"):
        find_engine(Profile(name="p", text_finder="oracle"))
    assert find_engine(Profile(name="p")).name == "rules 1"


def test_presidio_reads_names_without_a_form_or_says_what_is_missing() -> None:
    profile = Profile(name="p", text_finder="presidio")
    if find_spec("presidio_analyzer") is None:
        with pytest.raises(InvalidRequest, match=r"lamella\[deid-presidio\]"):
            find_engine(profile)
    else:
        engine = find_engine(profile)
        assert "Gonzales" not in clean_text("Maria Gonzales reported pain", KNOWN, engine)
        assert clean_text("Gleason 7, SOMATOM", KNOWN, engine) == "Gleason 7, SOMATOM"


def test_a_descriptor_that_is_cleaned_is_no_identifier_of_itself() -> None:
    instance = make_instance()
    instance.RequestingService = "Thoracic oncology, Dr. Zebedee"
    profile = Profile(name="p", options=("clean_descriptors",))
    assert clean(instance, profile, KEY).attributes.RequestingService == "Thoracic oncology"
    assert "RequestingService" not in clean(instance, Profile(name="p"), KEY).attributes

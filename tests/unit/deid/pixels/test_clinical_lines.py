"""Lines of radiology are known as such, however an engine reads them; lines of people are not."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from lamella.deid.identifiers import Identifiers
from lamella.deid.pixels.boxes import Box
from lamella.deid.pixels.engines import Line
from lamella.deid.pixels.words import must_go
from lamella.deid.profiles import PixelPolicy
from tests.unit.deid.clinical_word_source import make, read_names

DATA = Path(__file__).parents[4] / "lamella" / "deid" / "data"
PEOPLE = 2000


def goes(text: str, known: Identifiers | None = None) -> bool:
    return must_go(Line(Box(0, 0, 9, 9), text, 0.97), PixelPolicy(), "CT", known or Identifiers())


def test_words_are_those_of_the_standard() -> None:
    assert json.loads((DATA / "clinical_words.json").read_text()) == make()


@pytest.mark.parametrize(
    "text",
    [
        "Pulmonary embolism protocol",
        "RUNOFF ANGIOGRAPHY LOWER EXTREMITIES",
        "Bilateraldiagnosticmammogram",
        "Fracture of the distal radius, lateral",
        "Hodgkin lymphoma",
        "Swan-Ganzcathetertipi",
        "L2/L3 disc, T12 vertebra",
        "Abdomen and pelvis, arterial pha",
        "Upper GI with barium swal",
        "MRspinewithoutcontrast",
        "CTcnest with contrast",
        "Aortic valve stenasis, severe",
        "SUVmax4.2in the liver",
    ],
)
def test_clinical_lines_stay(text: str) -> None:
    assert not goes(text)


@pytest.mark.parametrize(
    "text",
    [
        "Baker",
        "Foley",
        "JONES",
        "Long",
        "Chest with contrast JONES",
        "CHESTPAJONES",
        "Liver lesion, 12 May",
        "Chest 12 March 1961",
        "Supine, Dr. Hall",
        "Head, age 62",
        "Northgate Regional Medical Center",
        "NorthgateRegionalMedicalCenter",
        "General Hospital",
        "UniversityHospital",
        "MaxwellWakefield",
        "CT 512 400 40",
        "aeiou",
    ],
)
def test_lines_that_may_tell_somebody_go(text: str) -> None:
    assert goes(text)


def test_what_the_header_tells_goes_from_among_clinical_words() -> None:
    known = Identifiers(
        words=frozenset({"spleen", "kidneys"}), phrases=frozenset({"lower chest", "ct 4711"})
    )
    for text in ("Spleen", "CTKidneyssupine", "LowerChest", "Lower-chest imaging", "CT4711"):
        assert goes(text, known), text
        assert not goes(text), text


def test_hardly_anybody_is_called_like_a_clinical_line() -> None:
    random = Random(3)
    families, given = read_names("dist.all.last"), read_names("dist.female.first")
    drawn = [
        random.choices([name for name, _ in names], [share for _, share in names], k=PEOPLE)
        for names in (families, given)
    ]
    people = list(zip(*drawn, strict=True))
    assert sum(not goes(family) for family, _ in people) < 0.015 * PEOPLE
    assert [pair for pair in people if not goes(" ".join(pair))] == []
    assert sum(not goes("".join(pair)) for pair in people) < 0.002 * PEOPLE

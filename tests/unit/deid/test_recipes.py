"""Profiles: built in, from TOML, from recipes of PyPI's deid; and their digests."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import DataElement

from lamella.deid.actions import Action
from lamella.deid.headers import clean
from lamella.deid.profiles import BUILT_IN, Profile, TextPolicy
from lamella.deid.recipes import read_profile, read_recipe, read_toml
from lamella.errors import InvalidRequest
from tests.unit.deid.subjects_at_hand import KEY, make_instance

TOML = """
extends = "research"
shift_limit_days = 30

[pixels]
text = "all"

[[rules]]
tag = "PatientSex"
action = "X"

[[rules]]
tag = "0008,1030"
action = "D"
value = "Trial 7"

[[rules]]
tag = "0019xx0a"
creator = "ACME 1.0"
action = "K"
"""
RECIPE = """
FORMAT dicom

%filter dangerouscookie
LABEL Burned in # a comment
contains BurnedInAnnotation Yes

%header
ADD PatientIdentityRemoved Yes
REPLACE StudyDescription Trial 7
REPLACE SOPInstanceUID var:new_uid
BLANK Manufacturer
KEEP AccessionNumber
REMOVE endswith:Name
JITTER StudyDate 31
REMOVE (0020,4000)
"""


def test_toml_goes_on_from_a_built_in() -> None:
    profile = read_toml(TOML, "site")
    assert profile.options == BUILT_IN["research"].options
    assert (profile.name, profile.shift_limit_days) == ("site", 30)
    assert profile.pixels.text is TextPolicy.ALL
    instance = make_instance()
    instance.PatientSex, instance.StudyDescription = "F", "Chest"
    instance.add_new(0x00190010, "LO", "ACME 1.0")
    instance.add_new(0x0019100A, "DS", "2.5")
    instance.add_new(0x0019100B, "DS", "3.5")
    result = clean(instance, profile, KEY).attributes
    assert "PatientSex" not in result
    assert result.StudyDescription == "Trial 7"
    assert result[0x0019100A].value == 2.5
    assert result[0x00190010].value == "ACME 1.0"
    assert 0x0019100B not in result


def test_a_recipe_comes_on_top_of_the_basic_profile() -> None:
    profile = read_recipe(RECIPE, "recipe")
    assert profile.pixels.text is TextPolicy.ALL
    instance = make_instance()
    instance.StudyDescription, instance.Manufacturer = "Chest", "ACME"
    instance.AccessionNumber, instance.StudyDate = "A-77", "20190704"
    instance.OperatorsName, instance.ManufacturerModelName = "Doe^Jo", "ACME 3000"
    instance.ImageComments = "told"
    instance.PatientBirthDate = "19491203"
    cleaned = clean(instance, profile, KEY)
    result = cleaned.attributes
    assert result.StudyDescription == "Trial 7"
    assert result.Manufacturer == ""
    assert result.SOPInstanceUID == KEY.map_uid(instance.SOPInstanceUID)
    assert {"OperatorsName", "ManufacturerModelName", "ImageComments"}.isdisjoint(result.dir())
    assert result.StudyDate != "20190704"
    assert result.LongitudinalTemporalInformationModified == "MODIFIED"
    assert result.PatientBirthDate == ""


def test_profiles_are_found_by_name_and_by_file(tmp_path: Path) -> None:
    assert read_profile("strict") is BUILT_IN["strict"]
    (tmp_path / "a.toml").write_text(TOML)
    (tmp_path / "deid.dicom").write_text(RECIPE)
    assert read_profile(str(tmp_path / "a.toml")).name == "a"
    assert read_profile(str(tmp_path / "deid.dicom")).rules[0].action is Action.DUMMY


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("extends = 'nobody'", "extends none"), ("options = ['retain_all']", "retain_all"),
        ("no toml", "cannot be read"), ("colour = 'red'", "colour"),
        ("[[rules]]\ntag = 'PatientNom'\naction = 'X'", "PatientNom"),
        ("[[rules]]\ntag = 'PatientName'\naction = 'Q'", "cannot be read"),
        ("options = ['retain_longitudinal_full_dates']\nextends = 'research'\nshift_limit_days = 0",
         "less than a day"),
    ],
)  # fmt: skip
def test_what_toml_cannot_mean_is_refused(text: str, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        read_toml(text, "p")


@pytest.mark.parametrize(
    "line", ["SCRAMBLE PatientName", "REMOVE", "ADD PatientWeight 70", "KEEP x:y"]
)
def test_recipe_lines_that_mean_nothing_here_are_refused(line: str) -> None:
    with pytest.raises(InvalidRequest):
        read_recipe(f"FORMAT dicom\n%header\n{line}\n", "p")


def test_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no profile"):
        read_profile(str(tmp_path / "none"))
    (tmp_path / "edition.toml").write_text("edition = '1998'")
    with pytest.raises(InvalidRequest, match="edition"):
        read_profile(str(tmp_path / "edition.toml"))


def test_digests_tell_what_profiles_do_apart() -> None:
    assert len({profile.digest for profile in BUILT_IN.values()}) == 3
    same = Profile(name="another", options=tuple(reversed(BUILT_IN["research"].options)))
    assert same.digest == BUILT_IN["research"].digest
    assert Profile(name="basic").digest == BUILT_IN["basic"].digest
    # provenance of commits names them: a profile that does the same keeps its digest
    assert BUILT_IN["basic"].digest[:12] == "341565633abe"


def test_a_site_rule_wins_at_any_depth_and_by_pattern() -> None:
    profile = read_toml('[[rules]]\ntag = "0018xxxx"\naction = "X"\n', "p")
    instance = make_instance()
    instance.KVP = "120"
    instance[0x00081115] = DataElement(0x00081115, "SQ", [make_instance()])
    instance[0x00081115].value[0].KVP = "80"
    result = clean(instance, profile, KEY).attributes
    assert "KVP" not in result
    assert "KVP" not in result[0x00081115].value[0]

"""Each row of Table E.1-1 and of Table E.3.4-1, alone and with each option, as the table says.

The expectations are read from the table's file here, not through the code that is tested.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydicom import DataElement, Dataset
from pydicom.uid import UID as Uid

from lamella.deid.attribute_types import read_types, resolve
from lamella.deid.headers import clean
from lamella.deid.plans import make_plan
from lamella.deid.profiles import OPTIONS, Profile
from lamella.deid.tables import read_table
from lamella.deid.verification import verify
from tests.unit.deid.attribute_type_source import make
from tests.unit.deid.subjects_at_hand import (
    CT,
    KEY,
    UID,
    clean_and_write,
    clean_one,
    find_dictionary_vr,
    make_instance,
    make_value,
)

DATA = Path(__file__).parents[3] / "lamella" / "deid" / "data"
TABLE = json.loads((DATA / "ps315_2026d.json").read_text())
RULES = [rule for rule in TABLE["rules"] if "x" not in rule["tag"] and rule["tag"] != "PRIVATE"]
OTHER_EDITION = json.loads(
    (Path(__file__).parent / "confidentiality_profile_attributes.json").read_text()
)
OTHER_NAMES = {
    "rtnSafePrivOpt": "retain_safe_private",
    "rtnUIDsOpt": "retain_uids",
    "rtnDevIdOpt": "retain_device_identity",
    "rtnInstIdOpt": "retain_institution_identity",
    "rtnPatCharsOpt": "retain_patient_characteristics",
    "rtnLongFullDatesOpt": "retain_longitudinal_full_dates",
    "rtnLongModifDatesOpt": "retain_longitudinal_modified_dates",
    "cleanDescOpt": "clean_descriptors",
    "cleanStructContOpt": "clean_structured_content",
    "cleanGraphOpt": "clean_graphics",
}
PSEUDONYM_TAGS = {0x00100010, 0x00100020}
SHAPES = {0x0040A730, 0x00700001, 0x0040B020, 0x00400555}
"""Content, annotations, acquisition context: a dummy of them keeps its codes."""
TEXTS = ("LO", "LT", "SH", "ST", "UC", "UT")
RAW_DATA = "1.2.840.10008.5.1.4.1.1.66"
REFERENCED_SERIES, RELATED_SERIES = 0x00081115, 0x00081250


def _tells(value: Any) -> bool:
    """Whether anything of a made value is left in what became of it."""
    text = str(value).lower()
    words = ("zebedee", "quentin", "dr.", "unit", UID, "4711", "20190704", "101112")
    return any(word in text for word in words)


def _holds(action: str, vr: str, tag: int, new: DataElement | None) -> bool:
    if action == "X":
        return new is None
    if new is None:
        return action == "C" and vr not in TEXTS
    if action == "Z":
        return not new.value or (tag in PSEUDONYM_TAGS and not _tells(new.value))
    if action == "D" and tag in SHAPES:
        return bool(new.value) and "zebedee" not in str(new.value).lower()
    if action == "D":
        return bool(new.value) and not _tells(new.value)
    if action == "U":
        if vr == "SQ":
            return KEY.map_uid(UID) in str(new.value) and "zebedee" not in str(new.value).lower()
        return new.value == KEY.map_uid(UID) and Uid(new.value).is_valid
    if vr == "SQ":
        return "zebedee" not in str(new.value).lower() and "unit" in str(new.value)
    if action == "K":
        return bool(new.value == DataElement(tag, vr, make_value(vr, tag)).value)
    if vr in TEXTS:
        return " Lu " not in str(new.value) and "unit" in str(new.value)
    if vr in ("DA", "DT"):
        return "20190704" not in str(new.value)
    return vr == "TM" or "zebedee" not in str(new.value).lower()


@cache
def _find_sop_class(parent: int, tag: int, kind: str) -> str | None:
    types = read_types()
    return next((uid for uid in types.iods if types.find(uid, parent, tag) == kind), None)


def _expect(action: str, kind: str) -> str:
    """PS3.15 §E.1.1 in words of its own: the least that stays and keeps the IOD whole."""
    choices = action.replace("*", "").split("/")
    if choices[-1] == "U" and kind == "2":
        return "U"  # Z may be a dummy: a reference under its new UID
    for choice, kinds in (("X", "3"), ("Z", "23"), (choices[-1], "123")):
        if choice in choices and kind in kinds:
            return "D" if choice in "XZ" and kind == "1" else choice
    raise AssertionError(action)


@dataclass(frozen=True)
class _Case:
    """A rule in an IOD that wants its attribute as `kind` says."""

    rule: dict[str, Any]
    action: str
    kind: str

    @property
    def tag(self) -> int:
        return int(self.rule["tag"], 16)

    @property
    def vr(self) -> str:
        return find_dictionary_vr(self.tag, self.rule["name"])

    @property
    def expected(self) -> str:
        if self.tag == 0x00100030:
            return "Z"  # a birth date is emptied under every option
        return self.action if self.action in "KCDU" else _expect(self.action, self.kind)

    def judge(self, cleaned: Dataset) -> list[object]:
        """Return what is wrong with what became of the attribute; nothing if it is right."""
        new = cleaned.get(self.tag)
        if _holds(self.expected, self.vr, self.tag, new):
            return []
        return [(self.rule["tag"], self.rule["name"], self.vr, self.action, self.kind, new)]


def _put(cases: list[_Case], target: Dataset) -> None:
    for case in cases:
        target[case.tag] = DataElement(case.tag, case.vr, make_value(case.vr, case.tag))


def _list_cases(option: str) -> dict[str, list[_Case]]:
    """Return each rule that the option has a say in, once a type, by SOP class."""
    cases = defaultdict(list)
    for rule in (rule for rule in RULES if not option or option in rule["options"]):
        for kind in "123":
            sop_class_uid = _find_sop_class(0, int(rule["tag"], 16), kind)
            if sop_class_uid is not None:
                action = rule["options"].get(option, rule["basic"])
                cases[sop_class_uid].append(_Case(rule, action, kind))
    return cases


@pytest.mark.parametrize("option", ["", *OPTIONS])
def test_each_rule_under_each_option(option: str) -> None:
    profile = Profile(name="test", options=(option,) if option else ())
    wrong = []
    for sop_class_uid, cases in _list_cases(option).items():
        # beside a list of references other references are treated in another way
        lists = [case for case in cases if case.tag == REFERENCED_SERIES]
        for together in (lists, [case for case in cases if case not in lists]):
            instance = make_instance(sop_class_uid)
            _put(together, instance)
            cleaned = clean(instance, profile, KEY).attributes
            wrong += [found for case in together for found in case.judge(cleaned)]
    assert wrong == []


@pytest.mark.parametrize("option", ["", *OPTIONS])
def test_no_rule_is_without_a_case(option: str) -> None:
    tried = {case.rule["tag"] for cases in _list_cases(option).values() for case in cases}
    assert tried == {rule["tag"] for rule in RULES if not option or option in rule["options"]}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_has_no_say_beyond_its_column(option: str) -> None:
    plan = make_plan(Profile(name="test", options=(option,)))
    asked = {rule["tag"]: plan.find_action(int(rule["tag"], 16)) for rule in RULES}
    assert asked == {rule["tag"]: rule["options"].get(option, rule["basic"]) for rule in RULES}


def test_each_rule_in_a_sequence() -> None:
    # no IOD has a Related Series Sequence with most of these: nothing wants them there
    types = read_types()
    cases = [
        _Case(rule, rule["basic"], types.find(RAW_DATA, RELATED_SERIES, int(rule["tag"], 16)))
        for rule in RULES
    ]
    item = Dataset()
    _put(cases, item)
    instance = make_instance(RAW_DATA)
    instance[RELATED_SERIES] = DataElement(RELATED_SERIES, "SQ", [item])
    cleaned = clean(instance, Profile(name="test"), KEY).attributes
    (level,) = cleaned[RELATED_SERIES].value
    assert [found for case in cases for found in case.judge(level)] == []


@pytest.mark.parametrize("tag", [0x50003000, 0x50FE0005, 0x60003000, 0x60004000, 0x601E3000])
@pytest.mark.parametrize("options", [(), ("clean_graphics",)])
def test_curves_and_overlays_go(tag: int, options: tuple[str, ...]) -> None:
    assert clean_one(tag, "LT" if tag & 0xFFFF == 0x4000 else "OW", options) is None


VALUE_TAGS = {
    "TEXT": (0x0040A160, "UT"),
    "PNAME": (0x0040A123, "PN"),
    "DATE": (0x0040A121, "DA"),
    "TIME": (0x0040A122, "TM"),
    "DATETIME": (0x0040A120, "DT"),
    "UIDREF": (0x0040A124, "UI"),
    "COMPOSITE": (0x00081199, "SQ"),
    "IMAGE": (0x00081199, "SQ"),
    "WAVEFORM": (0x00081199, "SQ"),
    "NUM": (0x0040A300, "SQ"),
    "CODE": (0x0040A168, "SQ"),
    "CONTAINER": (0x0040A730, "SQ"),
}


def _make_item(row: dict[str, Any]) -> Dataset:
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator = row["code"], row["scheme"]
    name.CodeMeaning = "of the table"
    item = Dataset()
    item.ValueType = row["value_type"]
    item.ConceptNameCodeSequence = [name]
    tag, vr = VALUE_TAGS[row["value_type"]]
    item[tag] = DataElement(tag, vr, make_value(vr, tag))
    return item


@pytest.mark.parametrize("option", ["", *TABLE["content_option_keys"]])
def test_each_content_item_under_each_option(option: str) -> None:
    instance = make_instance("1.2.840.10008.5.1.4.1.1.88.33")
    instance.ContentSequence = [_make_item(row) for row in TABLE["content_items"]]
    profile = Profile(name="test", options=(option,) if option else ())
    cleaned = clean(instance, profile, KEY).attributes
    left = {_name(item): item for item in cleaned.ContentSequence}
    wrong = []
    for row in TABLE["content_items"]:
        tag, vr = VALUE_TAGS[row["value_type"]]
        action = row["options"].get(option, row["basic"])
        item = left.get((row["code"], row["scheme"], row["value_type"]))
        new = item.get(tag) if item is not None else None
        if action == "X":
            fine = item is None
        elif vr == "SQ":
            kept_uid = option == "retain_uids" and action == "K"
            fine = new is not None and (UID in str(new.value)) is kept_uid
        elif action == "X/D" or action == "D":
            fine = _holds("U" if vr == "UI" else "D", vr, tag, new)
        else:
            fine = _holds(action, vr, tag, new)
        if not fine:
            wrong.append((row["code"], row["meaning"], row["value_type"], action, new))
    assert wrong == []
    assert len(left) == len(cleaned.ContentSequence)


def _name(item: Dataset) -> tuple[str, str, str]:
    name = item.ConceptNameCodeSequence[0]
    return str(name.CodeValue), str(name.CodingSchemeDesignator), str(item.ValueType)


def test_a_uid_may_stay_in_one_place_and_be_new_in_another() -> None:
    instance = make_instance()
    instance.DeviceUID = instance.FrameOfReferenceUID = instance.IrradiationEventUID = UID
    profile = Profile(name="test", options=("retain_device_identity",))
    cleaned, written = clean_and_write(instance, profile)
    assert cleaned.attributes.DeviceUID == UID
    assert cleaned.attributes.FrameOfReferenceUID == KEY.map_uid(UID)
    assert cleaned.attributes.IrradiationEventUID == KEY.map_uid(UID)
    assert cleaned.uids[UID] == KEY.map_uid(UID)
    assert verify(written, cleaned) == ()


def test_all_rows_are_there() -> None:
    table = read_table("2026d")
    assert len(RULES) == len(table.attributes) == 653
    assert len(table.content_items) == len(TABLE["content_items"]) == 214
    assert {row["basic"] for row in TABLE["rules"]} >= {"X", "Z", "D", "U", "X/Z/U*"}


def test_the_two_editions_differ_as_known() -> None:
    new = {rule["tag"].upper(): rule for rule in TABLE["rules"]}
    differences = []
    shared = 0
    for row in OTHER_EDITION:
        rule = new.get(row["id"].upper())
        if rule is None:
            continue
        shared += 1
        options = {OTHER_NAMES[name]: row[name] for name in OTHER_NAMES if row.get(name)}
        if (row["basicProfile"], options) != (rule["basic"], rule["options"]):
            differences.append((row["id"], options, rule["options"]))
    assert shared >= 600
    assert [tag for tag, _, _ in differences] == ["00321033"]


def test_types_are_those_of_the_standard() -> None:
    assert json.loads((DATA / "attribute_types.json").read_text()) == make()


@pytest.mark.parametrize(
    ("action", "by_type"),
    [
        ("X", "XXD"), ("Z", "ZZD"), ("D", "DDD"), ("U", "UUU"), ("K", "KKK"), ("C", "CCC"),
        ("X/Z", "XZD"), ("X/D", "XDD"), ("Z/D", "ZZD"), ("X/Z/D", "XZD"), ("X/Z/U*", "XUU"),
    ],
)  # fmt: skip
def test_compound_actions_by_type(action: str, by_type: str) -> None:
    assert "".join(resolve(action, kind) for kind in "321") == by_type


def test_types_depend_on_the_iod_and_the_place() -> None:
    types = read_types()
    assert types.find(CT, 0, 0x00100020) == "2"
    assert types.find(CT, 0, 0x00181000) == "3"
    assert types.find("1.2.840.10008.5.1.4.1.1.2.1", 0, 0x00181000) == "1"
    # what nobody knows is taken as the strictest IOD has it
    assert types.find("1.2.3.4", 0, 0x00181000) == "1"

"""How values are shown in DICOM JSON: each VR, structure, names and repertoires.

Source:
    PS3.18 Annex F.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from pydicom.datadict import tag_for_keyword

from lamella.conformance.check import Group, Level
from lamella.conformance.dicom_json import NUMBERS_OR_TEXT, read_bytes, same_values
from lamella.conformance.expect import DataSet, expect, expect_equal, read_data_sets, value
from lamella.conformance.probe import Probe
from lamella.conformance.rich import PDF, VALUES
from lamella.conformance.samples import PRIVATE_CREATOR

GROUP = Group("json", "DICOM JSON: values")
_PRIVATE_UN = "00091002"
_NUMERIC = frozenset({"FL", "FD", "SL", "SS", "UL", "US"})


def _fetch(probe: Probe, name: str = "rich") -> DataSet:
    return read_data_sets(probe.get(f"{probe.sample(name).path}/metadata"))[0]


def _element(probe: Probe, tag: str, name: str = "rich") -> dict[str, Any]:
    found = _fetch(probe, name).get(tag)
    expect(found is not None, None, f"attribute {tag}", "none")
    return dict(found or {})


def _shows(vr: str, probe: Probe) -> None:
    keyword, _, wanted = VALUES[vr]
    tag = _PRIVATE_UN if vr == "UN" else f"{tag_for_keyword(keyword):08X}"
    element = _element(probe, tag)
    expect_equal(None, f"vr of {tag}", element.get("vr"), vr)
    if isinstance(wanted, bytes):
        got = read_bytes(probe, probe.trail[-1], element)
        expect_equal(None, f"bytes of {tag}", got, wanted)
        return
    if "BulkDataURI" in element and vr not in ("PN", "UI", "SQ"):
        read_bytes(probe, probe.trail[-1], element)  # allowed for long values of some VRs
        return
    found = element.get("Value")
    expect(same_values(vr, found, wanted), None, f"{keyword} {wanted}", found)
    if vr in _NUMERIC:
        is_number = all(isinstance(item, int | float) for item in found or ["absent"])
        expect(is_number, None, "JSON numbers", found)


for _vr in VALUES:
    GROUP.add(
        Level.SHALL,
        _vr,
        f"{_vr} is shown as it is stored",
        "PS3.18 §F.2.3, Table F.2.3-1" + (", §F.2.7" if isinstance(VALUES[_vr][2], bytes) else ""),
        (17,),
        partial(_shows, _vr),
    )


def _is_number(vr: str, keyword: str, wanted: float, probe: Probe) -> None:
    element = _element(probe, f"{tag_for_keyword(keyword):08X}")
    found = element.get("Value")
    is_right = same_values(vr, found, [wanted]) and not isinstance((found or [""])[0], str)
    expect(is_right, None, f"the JSON number {wanted}", found)


for _vr, _keyword, _wanted in (("IS", "AcquisitionNumber", 7), ("DS", "SliceThickness", 2.5)):
    assert _vr in NUMBERS_OR_TEXT
    GROUP.add(
        Level.SHOULD,
        f"{_vr}-number",
        f"{_vr} is a JSON number where a number says the same",
        "PS3.18 §F.2.3",
        (17,),
        partial(_is_number, _vr, _keyword, _wanted),
    )


@GROUP.shall("DS-exponent", "DS with an exponent keeps its value", "PS3.18 §F.2.3", 17)
def _exponent(probe: Probe) -> None:
    found = _element(probe, "001811A0").get("Value")
    expect(same_values("DS", found, [150]), None, "150", found)


@GROUP.shall("empty", "an attribute without values has no Value", "PS3.18 §F.2.5", 17)
def _empty(probe: Probe) -> None:
    element = _element(probe, "00181030")
    extra = {"Value", "BulkDataURI", "InlineBinary"} & element.keys()
    expect(not extra, None, "vr alone", element)


@GROUP.shall("null", "an empty value among several is null", "PS3.18 §F.2.5", 17)
def _null(probe: Probe) -> None:
    expect_equal(None, "values", _element(probe, "00181020").get("Value"), ["first", None, "third"])


@GROUP.shall("empty-sequence", "a sequence without items has no Value", "PS3.18 §F.2.5", 17)
def _empty_sequence(probe: Probe) -> None:
    element = _element(probe, "00081140")
    expect(element.get("vr") == "SQ" and not element.get("Value"), None, "an empty SQ", element)


@GROUP.shall("empty-item", "an item without attributes is an empty object", "PS3.18 §F.2.2", 17)
def _empty_item(probe: Probe) -> None:
    expect_equal(None, "items", _element(probe, "00082112").get("Value"), [{}])


@GROUP.shall("nested", "sequences in sequences are kept", "PS3.18 §F.2.2", 17)
def _nested(probe: Probe) -> None:
    outer = (_element(probe, "00082218").get("Value") or [{}])[0]
    inner = (outer.get("00082220", {}).get("Value") or [{}])[0]
    expect_equal(None, "the inner code", value(inner, "00080104"), "Right")
    expect_equal(None, "the outer code", value(outer, "00080104"), "Abdomen")


@GROUP.shall("private", "private attributes are kept with their creator", "PS3.18 §F.2.2", 17)
def _private(probe: Probe) -> None:
    found = _fetch(probe)
    got = [value(found, "00090010"), value(found, "00091001")]
    expect_equal(None, "creator and value", got, [PRIVATE_CREATOR, f"{probe.samples.word} P"])


@GROUP.shall("person-name", "a name is an object of component groups", "PS3.18 §F.2.2", 17)
def _person_name(probe: Probe) -> None:
    got = _element(probe, "00100010").get("Value")
    expect_equal(None, "PatientName", got, [{"Alphabetic": f"{probe.samples.word}Beta^Bert"}])


@GROUP.shall("person-name-groups", "a name has its other component groups", "PS3.18 §F.2.2", 17)
def _groups(probe: Probe) -> None:
    got = _element(probe, "00101001").get("Value")
    wanted = [{"Alphabetic": "Alone^Al", "Ideographic": "山田^太郎"}]
    expect_equal(None, "OtherPatientNames", got, wanted)


def _is_utf8(study: str, tag: str, wanted: Any, probe: Probe) -> None:
    got = value(_fetch(probe, study), tag)
    expect_equal(None, f"{tag} in UTF-8", got, wanted)


def _name_in_utf8(study: str, wanted: dict[str, str], probe: Probe) -> None:
    full = {**wanted, "Alphabetic": probe.samples.word + wanted["Alphabetic"]}
    _is_utf8(study, "00100010", full, probe)


for _study, _title, _groups_of in (
    ("latin", "ISO_IR 100", {"Alphabetic": "Gamma^Jörg"}),
    ("cyrillic", "ISO_IR 144", {"Alphabetic": "Delta^Иван"}),
    (
        "japanese",
        "ISO 2022 IR 87",
        {
            "Alphabetic": "Epsilon^Tarou",
            "Ideographic": "山田^太郎",
            "Phonetic": "やまだ^たろう",
        },
    ),
):
    GROUP.add(
        Level.SHALL,
        f"charset-{_study}",
        f"a name in {_title} is shown in UTF-8",
        "PS3.18 §F.2.2, §8.8",
        (17,),
        partial(_name_in_utf8, _study, _groups_of),
    )


@GROUP.shall("charset-search", "a search shows a name in ISO_IR 100 in UTF-8", "PS3.18 §F.2.2", 17)
def _charset_search(probe: Probe) -> None:
    sample = probe.sample("latin")
    found = probe.search("/studies", f"StudyInstanceUID={sample.study_uid}")
    wanted = {"Alphabetic": f"{probe.samples.word}Gamma^Jörg"}
    expect_equal(None, "PatientName", value(found[0], "00100010"), wanted)


@GROUP.shall(
    "charset-tag",
    "(0008,0005) of what is shown in UTF-8 is ISO_IR 192, if it is there",
    "PS3.18 §F.2.2",
    17,
)
def _charset_tag(probe: Probe) -> None:
    for study in ("latin", "cyrillic", "japanese"):
        got = _fetch(probe, study).get("00080005", {}).get("Value") or ["ISO_IR 192"]
        expect_equal(None, f"(0008,0005) of {study}", got, ["ISO_IR 192"])


@GROUP.shall("document", "an encapsulated document is shown or behind a URI", "PS3.18 §F.2.6", 17)
def _document(probe: Probe) -> None:
    element = _element(probe, "00420011", "document")
    got = read_bytes(probe, probe.trail[-1], element)
    expect(got[: len(PDF)] == PDF, None, "the PDF", got[:40])


@GROUP.shall("padding", "values are shown without padding", "PS3.5 §6.2", 17)
def _padding(probe: Probe) -> None:
    found = _fetch(probe, "ct1")
    padded = {
        tag: item
        for tag, element in found.items()
        if element.get("vr") in ("UI", "CS", "SH", "LO", "DA", "TM")
        for item in element.get("Value") or []
        if isinstance(item, str) and item.rstrip(" \0") != item
    }
    expect_equal(None, "padded values", padded, {})

"""What a rejection note says, however it was written."""

from __future__ import annotations

import io
from typing import Any

import pydicom
import pytest

from lamella.vcs.rejection_notes import Reason, list_references, read_reason
from tests.harness.rejection_notes import make_note

FIRST, SECOND = ("1.2", "1.2.1", "1.2.1.1"), ("1.3", "1.3.1", "1.3.1.1")


def read(data: bytes) -> dict[str, Any]:
    return pydicom.dcmread(io.BytesIO(data)).to_json_dict()


@pytest.mark.parametrize("reason", Reason)
def test_reasons(reason: Reason) -> None:
    assert read_reason(read(make_note(reason.value, [FIRST]))) is reason
    assert reason.hides_everywhere == (reason in ("113037", "113038"))
    assert len(reason.meaning) > 20


def test_titles_that_reject_nothing() -> None:
    assert read_reason(read(make_note("113000", [FIRST]))) is None
    assert read_reason(read(make_note("113001", [FIRST], scheme="99X"))) is None
    for title in ({}, {"Value": []}, {"Value": [None]}, {"Value": [{}]}):
        assert read_reason({"0040A043": {"vr": "SQ", **title}}) is None


def test_references_of_several_studies() -> None:
    assert list_references(read(make_note("113001", [FIRST, SECOND]))) == [FIRST, SECOND]
    assert list_references(read(make_note("113001", [FIRST, FIRST]))) == [FIRST]


def test_the_content_narrows_the_evidence() -> None:
    note = make_note("113001", [FIRST, SECOND], meant=[SECOND[2], "1.9.9"])
    assert list_references(read(note)) == [SECOND]
    assert list_references(read(make_note("113001", [FIRST, SECOND], meant=[]))) == [FIRST, SECOND]


def test_content_at_any_depth() -> None:
    attributes = read(make_note("113001", [FIRST, SECOND], meant=[SECOND[2]]))
    inner = attributes["0040A730"]
    attributes["0040A730"] = {"vr": "SQ", "Value": [{"0040A730": inner}]}
    assert list_references(attributes) == [SECOND]


@pytest.mark.parametrize("uid", ["", "x", "1.2\0", "1" * 65, "\ud800", "1.2/3"])
@pytest.mark.parametrize("level", range(3))
def test_what_is_no_uid_names_nothing(uid: str, level: int) -> None:
    attributes = read(make_note("113001", [FIRST, SECOND], meant=[]))
    study = attributes["0040A375"]["Value"][0]
    series = study["00081115"]["Value"][0]
    instance = series["00081199"]["Value"][0]
    item, tag = [(study, "0020000D"), (series, "0020000E"), (instance, "00081155")][level]
    item[tag]["Value"] = [uid]
    assert list_references(attributes) == [SECOND]


def test_evidence_that_is_incomplete() -> None:
    assert list_references({}) == []
    assert list_references({"0040A375": {"vr": "SQ"}}) == []
    attributes = read(make_note("113001", [FIRST, SECOND]))
    del attributes["0040A375"]["Value"][0]["00081115"]
    assert list_references(attributes) == [SECOND]

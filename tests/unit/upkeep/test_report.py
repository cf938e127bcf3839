"""The report: what counts as a problem, and what happens when there is too much of it."""

from __future__ import annotations

from lamella.upkeep import report as module
from lamella.upkeep.report import MAX_FINDINGS, Kind, Report


def test_notes_and_repaired_findings_are_no_problems() -> None:
    report = Report()
    report.add(Kind.PACK_UNKNOWN, "p", "A stray pack.")
    report.add(Kind.DERIVED_MISSING, "1.2", "A document.", repaired=True)
    assert report.problems == []
    assert [finding.name for finding in report.notes] == ["p"]
    assert [finding.name for finding in report.repaired] == ["1.2"]
    report.add(Kind.NODE_MISSING, "n", "A node.")
    assert [finding.name for finding in report.problems] == ["n"]
    assert report.to_json()["problems"] == 1
    assert report.to_json()["findings"][2] == {
        "kind": "node-missing",
        "object": "n",
        "sentence": "A node.",
        "problem": True,
        "repaired": False,
    }


def test_a_report_keeps_its_size_and_its_verdict() -> None:
    report = Report()
    for number in range(MAX_FINDINGS + 5):
        report.add(Kind.DERIVED_MISSING, str(number), "A document.", repaired=True)
    assert report.problems == []
    for number in range(3):
        report.add(Kind.INSTANCE_LOST, str(number), "An instance.")
    assert len(report.findings) == MAX_FINDINGS + 1
    assert [finding.name for finding in report.problems] == ["0"]
    found = report.to_json()
    assert found["problems"] == 3
    assert found["omitted"] == {"instance-lost": 2, "derived-missing": 5}
    assert len(found["findings"]) == len(report.findings)


def test_every_kind_reads_as_words() -> None:
    assert all(kind.value == kind.value.lower().replace("_", "-") for kind in Kind)
    assert set(Kind) >= module.NOTES

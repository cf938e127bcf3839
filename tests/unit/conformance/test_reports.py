"""Reports of a run whose outcome is known."""

import json
import xml.etree.ElementTree as ET

import pytest

from lamella.conformance.campaign import Record, Result
from lamella.conformance.catalogue import list_checks
from lamella.conformance.exchange import Reply, Request
from lamella.conformance.outcomes import Verdict
from lamella.conformance.reports import WRITERS, print_checks, print_record


@pytest.fixture
def record():
    shall = [check for check in list_checks() if check.level == "shall"][:4]
    practice = next(check for check in list_checks() if check.level == "practice")
    reply = Reply(Request("GET", "http://h/studies?a=<b>&c=1"), 500, (), b"x")
    failed = {"expected": "200 & <all>", "got": "500\x00", "reply": reply, "sentence": "No\x00."}
    return Record(
        "http://h/<root>",
        False,
        [
            Result(shall[0], Verdict.PASSED),
            Result(shall[1], Verdict.FAILED, **failed),
            Result(shall[2], Verdict.NOT_OFFERED, "It is not there."),
            Result(shall[3], Verdict.NOT_RUN, "It cannot be."),
            Result(practice, Verdict.FAILED, **failed),
        ],
        ["1.2.3"],
        "CF-X-*",
    )


def test_json_has_all(record):
    found = json.loads(WRITERS["json"](record))
    assert [check["verdict"] for check in found["checks"]] == [
        "passed",
        "failed",
        "not offered",
        "not run",
        "failed",
    ]
    assert found["checks"][1]["request"].startswith("curl ")
    assert found["counts"]["shall"]["failed"] == 1
    assert found["leftStudies"] == ["1.2.3"]
    assert found["conformant"] is False


def test_junit_fails_for_what_shall_be(record):
    root = ET.fromstring(WRITERS["junit"](record))
    assert len(root.findall(".//testcase")) == 5
    assert len(root.findall(".//failure")) == 1
    assert len(root.findall(".//skipped")) == 3
    assert sum(int(suite.get("failures")) for suite in root) == 1


def test_html_is_escaped(record):
    page = WRITERS["html"](record)
    assert "&lt;root&gt;" in page
    assert "<root>" not in page
    assert "\x00" not in page


def test_markdown_shows_failures_with_their_request(record):
    text = WRITERS["md"](record)
    assert text.count("curl -sS") == 2
    assert "It is not there." in text


def test_terminal_shows_failures_alone_unless_asked(record, capsys):
    print_record(record)
    brief = capsys.readouterr().out
    print_record(record, verbose=True)
    whole = capsys.readouterr().out
    passed = record.results[0].check.id
    assert passed not in brief
    assert passed in whole
    assert "1 studies of this run are still on the server" in brief


def test_list_shows_every_check(capsys):
    print_checks(list_checks())
    shown = capsys.readouterr().out
    assert all(check.id in shown for check in list_checks())


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("match", lambda check: check.group == "match"),
        ("practice", lambda check: check.level == "practice"),
        ("store/xml", lambda check: check.id == "store/xml"),
        ("*/unknown*", lambda check: check.id.partition("/")[2].startswith("unknown")),
    ],
)
def test_checks_are_chosen_by_pattern(pattern, fits):
    assert list_checks([pattern]) == [check for check in list_checks() if fits(check)]
    assert list_checks([pattern])


def test_nothing_fits_what_is_none():
    assert list_checks(["nosuchthing"]) == []

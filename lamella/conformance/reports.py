"""A run as a table on the terminal, JSON, JUnit, HTML and Markdown.

A failure is shown with what was expected, what came, and the line with which a person repeats it.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator
from html import escape
from typing import Any

from rich.console import Console
from rich.markup import escape as escape_markup
from rich.table import Table

from lamella.conformance.campaign import Record, Result
from lamella.conformance.catalogue import GROUPS
from lamella.conformance.check import Check, Level
from lamella.conformance.outcomes import Verdict

_COLOURS = {
    Verdict.PASSED: "green",
    Verdict.FAILED: "red",
    Verdict.NOT_OFFERED: "yellow",
    Verdict.NOT_RUN: "dim",
}
_LONGEST_LINE = 800
_UNPRINTABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd]")


def print_checks(checks: Iterable[Check]) -> None:
    """Print the list of checks."""
    console = _console()
    for check in checks:
        rules = ", ".join(map(str, check.rules))
        line = f"{check.id:44} {check.level:8} {check.title} ({check.section}; rules {rules})"
        console.print(escape_markup(line))


def print_record(record: Record, *, verbose: bool = False) -> None:
    """Print failures (every check if verbose), then the sums by group and by level."""
    console = _console()
    for result in record.results:
        if verbose or result.verdict is Verdict.FAILED:
            console.print("\n".join(_describe(result)))
    console.print(_build_sums(record))
    for line in list_remarks(record):
        console.print(escape_markup(line))


def to_json(record: Record) -> str:
    """Return the run as one JSON document."""
    document = {
        "url": record.root,
        "readOnly": record.is_read_only,
        "conformant": record.is_conformant,
        "counts": {
            str(level): {str(verdict): record.count(verdict, level) for verdict in Verdict}
            for level in Level
        },
        "leftStudies": record.left_studies,
        "checks": [_to_object(result) for result in record.results],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def to_junit(record: Record) -> str:
    """Return the run as JUnit XML, a suite a group; what weighs less than shall is no failure."""
    root = ET.Element("testsuites", {"name": f"DICOMweb conformance of {record.root}"})
    for title, results in group_results(record):
        counts = {
            "tests": len(results),
            "failures": sum(_is_fault(result) for result in results),
            "skipped": sum(
                result.verdict is not Verdict.PASSED and not _is_fault(result) for result in results
            ),
        }
        suite = ET.SubElement(
            root, "testsuite", {"name": title, **{k: str(v) for k, v in counts.items()}}
        )
        for result in results:
            names = {
                "classname": result.check.group,
                "name": f"{result.check.id}: {result.check.title}",
            }
            case = ET.SubElement(suite, "testcase", names)
            _add_outcome(case, result)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def to_html(record: Record) -> str:
    """Return the run as a page of its own."""
    rows = "".join(_html_group(title, results) for title, results in group_results(record))
    remarks = "".join(f"<p>{escape(line)}</p>" for line in list_remarks(record))
    sums = "".join(
        f"<tr><th>{level}</th>"
        + "".join(f"<td>{record.count(v, level)}</td>" for v in Verdict)
        + "</tr>"
        for level in Level
    )
    heads = "".join(f"<th>{verdict}</th>" for verdict in Verdict)
    return _PAGE.format(url=escape(record.root), heads=heads, sums=sums, rows=rows, remarks=remarks)


def to_markdown(record: Record) -> str:
    """Return sums and failures as Markdown."""
    heads = [str(verdict) for verdict in Verdict]
    lines = [
        f"| level | {' | '.join(heads)} |",
        "|---|" + "---:|" * len(heads),
        *(
            f"| {level} | {' | '.join(str(record.count(v, level)) for v in Verdict)} |"
            for level in Level
        ),
    ]
    for title, results in group_results(record):
        lines += ["", f"## {title}", "", _sum_up(results), ""]
        for result in results:
            if result.verdict is Verdict.FAILED:
                lines += list(_markdown_failure(result))
            elif result.verdict is Verdict.NOT_OFFERED:
                lines.append(f"- *not offered*: `{result.check.id}`: {result.sentence}")
    return "\n".join(lines) + "\n"


WRITERS: dict[str, Callable[[Record], str]] = {
    "json": to_json,
    "junit": to_junit,
    "html": to_html,
    "md": to_markdown,
}
"""By kind of report."""


def group_results(record: Record) -> Iterator[tuple[str, list[Result]]]:
    """Yield title and results of each group that was asked for anything."""
    for group in GROUPS:
        results = [result for result in record.results if result.check.group == group.name]
        if results:
            yield group.title, results


def list_remarks(record: Record) -> list[str]:
    """Return what a person should know besides the results."""
    remarks = []
    if record.left_studies:
        remarks.append(
            f"{len(record.left_studies)} studies of this run are still on the server; "
            f"its patients are {record.patient_ids}."
        )
    if record.is_read_only:
        remarks.append("Nothing was stored: what needs samples of its own was not run.")
    verdict = "does" if record.is_conformant else "does not do"
    remarks.append(f"{record.root} {verdict} what the standard demands of it here.")
    return remarks


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False)


def _describe(result: Result) -> Iterator[str]:
    check, colour = result.check, _COLOURS[result.verdict]
    name = f"[bold]{escape_markup(check.id)}[/] ({check.level})"
    yield f"[{colour}]{result.verdict}[/] {name} {escape_markup(check.title)}"
    if result.sentence:
        yield f"  {escape_markup(_clean(result.sentence))}"
    if result.verdict is Verdict.FAILED:
        yield f"  [dim]{escape_markup(check.section)}[/]"
        if result.reply is not None:
            yield f"  [dim]{escape_markup(_shorten(result.reply.request.to_curl()))}[/]"


def _shorten(line: str) -> str:
    """Return a line as a terminal shows it; reports in files have it whole."""
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}… (whole in --html)"


def _shorten_body(line: str) -> str:
    """Return a line with no more than the beginning of its body."""
    return re.sub(r"^(echo [A-Za-z0-9+/]{60})[A-Za-z0-9+/=]{60,}", r"\1…", line)


def _build_sums(record: Record) -> Table:
    table = Table("", *(str(verdict) for verdict in Verdict), title="checks")
    for title, results in group_results(record):
        table.add_row(title, *(str(_count(results, verdict)) for verdict in Verdict))
    table.add_section()
    for level in Level:
        table.add_row(str(level), *(str(record.count(verdict, level)) for verdict in Verdict))
    return table


def _count(results: Iterable[Result], verdict: Verdict) -> int:
    return sum(result.verdict is verdict for result in results)


def _sum_up(results: list[Result]) -> str:
    parts = [(verdict, _count(results, verdict)) for verdict in Verdict]
    return ", ".join(f"{count} {verdict}" for verdict, count in parts if count) + "."


def _to_object(result: Result) -> dict[str, Any]:
    check = result.check
    found: dict[str, Any] = {
        "id": check.id,
        "title": check.title,
        "level": str(check.level),
        "section": check.section,
        "rules": list(check.rules),
        "verdict": str(result.verdict),
    }
    if result.sentence:
        found["sentence"] = _clean(result.sentence)
    if result.verdict is Verdict.FAILED:
        found |= {"expected": result.expected, "got": _clean(result.got)}
        if result.reply is not None:
            found["request"] = result.reply.request.to_curl()
            found["status"] = result.reply.status
    return found


def _is_fault(result: Result) -> bool:
    return result.verdict is Verdict.FAILED and result.check.level is Level.SHALL


def _add_outcome(case: ET.Element, result: Result) -> None:
    if _is_fault(result):
        failure = ET.SubElement(case, "failure", {"message": _clean(result.sentence)})
        request = result.reply.request.to_curl() if result.reply else ""
        failure.text = _clean(f"{result.check.section}\n{request}")
    elif result.verdict is not Verdict.PASSED:
        reason = (
            f"{result.check.level}: {result.sentence}"
            if result.verdict is Verdict.FAILED
            else result.sentence
        )
        ET.SubElement(case, "skipped", {"message": _clean(reason)})


def _html_group(title: str, results: list[Result]) -> str:
    rows = "".join(_html_row(result) for result in results)
    return f"<h2>{escape(title)}</h2><p>{_sum_up(results)}</p><table>{rows}</table>"


def _html_row(result: Result) -> str:
    check = result.check
    detail = f"<br>{escape(_clean(result.sentence))}" if result.sentence else ""
    if result.verdict is Verdict.FAILED and result.reply is not None:
        detail += f"<pre>{escape(result.reply.request.to_curl())}</pre>"
    kind = str(result.verdict).replace(" ", "-")
    return (
        f'<tr class="{kind}"><td>{result.verdict}</td><td>{check.level}</td>'
        f"<td><code>{escape(check.id)}</code></td>"
        f"<td>{escape(check.title)}{detail}</td><td>{escape(check.section)}</td></tr>"
    )


def _markdown_failure(result: Result) -> Iterator[str]:
    check = result.check
    yield f"- **{check.level}** `{check.id}`: {check.title} ({check.section})."
    yield f"  {_clean(result.sentence)}"
    if result.reply is not None:
        yield ""
        yield f"      {_shorten_body(result.reply.request.to_curl())}"
        yield ""


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>DICOMweb conformance of {url}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; }}
body {{ margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
td, th {{ border-bottom: 1px solid #ddd; padding: .3rem .5rem; text-align: left; }}
td {{ vertical-align: top; }}
td:nth-child(1), td:nth-child(2) {{ width: 5rem; }}
td:nth-child(3) {{ width: 17rem; overflow-wrap: anywhere; }}
td:nth-child(5) {{ width: 11rem; }}
pre {{ background: #f6f6f6; margin: .3rem 0; padding: .4rem; }}
pre {{ white-space: pre-wrap; word-break: break-all; }}
.passed td:first-child {{ color: #16794c; }}
.failed td:first-child {{ color: #b3261e; font-weight: 600; }}
.not-offered td:first-child, .not-run td:first-child {{ color: #777; }}
</style>
<h1>DICOMweb conformance of {url}</h1>
{remarks}
<table><tr><th></th>{heads}</tr>{sums}</table>
{rows}
</html>
"""

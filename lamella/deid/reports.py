"""The report of a run as a page: what changed, how often, and what was held back. No values."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydicom.datadict import keyword_for_tag

from lamella.deid.results import Verdict
from lamella.deid.runs import RunReport
from lamella.errors import OutOfResources

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; color: #1c2430 }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #dde3ea }
td.n { text-align: right; font-variant-numeric: tabular-nums } code { font-size: .85em }
.bar { display: flex; height: 1.2rem; border-radius: .3rem; overflow: hidden; margin: .5rem 0 }
.PASS { background: #2e8b57 } .REVIEW { background: #e0a100 } .QUARANTINE { background: #b5352d }
"""


def write_html(report: RunReport, path: Path) -> None:
    """Write the page.

    Raises:
        OutOfResources: It cannot be written.
    """
    try:
        path.write_text(render_html(report), encoding="utf-8")
    except OSError as error:
        raise OutOfResources(f"The report cannot be written: {error.strerror}.") from error


def render_html(report: RunReport) -> str:
    """Return the page."""
    total = max(1, sum(report.verdicts.values()))
    bar = "".join(
        f'<div class="{one}" style="width:{100 * report.verdicts[one] / total:.2f}%" '
        f'title="{one}: {report.verdicts[one]}"></div>'
        for one in Verdict
    )
    facts = [
        ("Source commit", report.source),
        ("Result", report.commit),
        ("Profile", f"{report.profile} ({report.digest})"),
        ("Key", report.key),
        *((f"Engine for {what}", name) for what, name in sorted(report.engines.items())),
        ("Made in this run", str(report.made)),
        ("Removed from the branch", str(report.removed)),
        ("Boxes blacked in pixels", str(report.boxes)),
    ]
    changes = [
        (_name_path(path), path, action, str(count))
        for (path, action), count in sorted(report.changes.items())
    ]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>De-identification</title>",
        f"<style>{_STYLE}</style><h1>De-identification</h1><div class=bar>{bar}</div>",
        _make_table(("", ""), facts),
        "<h2>Verdicts</h2>",
        _make_table(
            ("Verdict", "Instances"), [(str(one), str(report.verdicts[one])) for one in Verdict]
        ),
        "<h2>Held back for</h2>" if report.reasons else "",
        _make_table(("Reason", "Instances"), [(r, str(n)) for r, n in report.reasons.items()])
        if report.reasons
        else "",
        "<h2>Attributes</h2>",
        _make_table(("Attribute", "Path", "Action", "Times"), changes),
        "</html>",
    ]
    return "\n".join(filter(None, parts))


def _make_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    titles = "".join(f"<th>{html.escape(title)}</th>" for title in head)
    lines = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{titles}</tr>{lines}</table>"


def _name_path(path: str) -> str:
    names = []
    for tag in path.split("."):
        try:
            names.append(keyword_for_tag(int(tag[:8], 16)) or "private")
        except ValueError:
            names.append(tag)
    return " › ".join(names)

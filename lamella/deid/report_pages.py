"""The report of a run as a page: what changed, how often, and what was held back. No values."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydicom.datadict import keyword_for_tag

from lamella.deid.results import Verdict
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


def write_html(report: Mapping[str, Any], path: Path) -> None:
    """Write the page.

    Args:
        report: As `RunReport.describe` tells it.
        path: The file.

    Raises:
        OutOfResources: It cannot be written.
    """
    try:
        path.write_text(render_html(report), encoding="utf-8")
    except OSError as error:
        raise OutOfResources(f"The report cannot be written: {error.strerror}.") from error


def render_html(report: Mapping[str, Any]) -> str:
    """Return the page of a report, as `RunReport.describe` tells it."""
    verdicts, profile = report["verdicts"], report["profile"]
    total = max(1, sum(verdicts.values()))
    bar = "".join(
        f'<div class="{one}" style="width:{100 * verdicts[one] / total:.2f}%" '
        f'title="{one}: {verdicts[one]}"></div>'
        for one in Verdict
    )
    facts = [
        ("Source commit", report["source"]),
        ("Result", report["commit"]),
        ("Profile", f"{profile['name']} ({profile['digest']})"),
        ("Key", report["key"]),
        *((f"Engine for {what}", name) for what, name in sorted(report["engines"].items())),
        ("Made in this run", str(report["made"])),
        ("Released", str(report["released"])),
        ("Removed from the branch", str(report["removed"])),
        ("Boxes blacked in pixels", str(report["boxes"])),
    ]
    changes = [
        (_name_path(one["path"]), one["path"], one["action"], str(one["count"]))
        for one in report["attributes"]
    ]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>De-identification</title>",
        f"<style>{_STYLE}</style><h1>De-identification</h1><div class=bar>{bar}</div>",
        _make_table(("", ""), facts),
        *_list_counts("Verdicts", "Verdict", verdicts),
        *_list_counts("Held back for", "Reason", report["reasons"]),
        *_list_counts("Decided by a person", "Decision", report["decisions"]),
        "<h2>Attributes</h2>",
        _make_table(("Attribute", "Path", "Action", "Times"), changes),
        "</html>",
    ]
    return "\n".join(parts)


def _list_counts(title: str, what: str, counts: Mapping[str, int]) -> list[str]:
    if not counts:
        return []
    rows = [(name, str(count)) for name, count in counts.items()]
    return [f"<h2>{title}</h2>", _make_table((what, "Instances"), rows)]


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

"""Reports: a Markdown table, the raw numbers as JSON, and a bar chart of ratios."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.chart import draw_ratios
from bench.measure import MOST_MB, Figure

RESULTS = Path(__file__).with_name("results")


def write_report(figures: Sequence[Figure], folder: Path = RESULTS) -> Path:
    """Write `report.md`, `figures.json` and `ratios.svg`; return the first."""
    folder.mkdir(parents=True, exist_ok=True)
    document = [figure.to_json() for figure in figures]
    (folder / "figures.json").write_text(json.dumps(document, indent=1) + "\n")
    bars = [
        (f"{figure.case.name} / {goal.against}", ratio, goal.at_least)
        for figure in figures
        for goal in figure.case.goals
        if (ratio := figure.ratio(goal.against)) is not None
    ]
    (folder / "ratios.svg").write_text(draw_ratios(bars))
    path = folder / "report.md"
    path.write_text(format_report(figures))
    return path


def write_comparison(figures: Sequence[Figure], folder: Path = RESULTS) -> Path:
    """Write `compare.md`: this checkout beside an earlier one."""
    lines = [
        "| case | before | now | now / before | CPU ms a unit, before → now | peak MB |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {' | '.join(_format_comparison(figure))} |"
        for figure in figures
        if {"before", "lamella"} <= figure.samples.keys()
    ]
    lines += [f"- {figure.case.name}: {text}" for figure in figures for text in figure.trouble]
    return write_lines("compare.md", lines, folder)


def _format_comparison(figure: Figure) -> list[str]:
    before, now = (figure.median(name) for name in ("before", "lamella"))
    cpu = [f"{figure.median(name, 'cpu_ms'):.3g}" for name in ("before", "lamella")]
    peaks = [f"{max(figure.peaks_mb[name], default=0):.0f}" for name in ("before", "lamella")]
    return [
        f"`{figure.case.name}`",
        f"{before:,.4g} {figure.case.unit}",
        f"{now:,.4g}",
        f"{now / before:.2f}",
        " → ".join(cpu),
        " → ".join(peaks),
    ]


def write_lines(name: str, lines: Sequence[str], folder: Path = RESULTS) -> Path:
    """Print a report of one of the other modes, and write it beside the main one."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join([_describe_run(), "", *lines]) + "\n"
    print(text)
    path = folder / name
    path.write_text(text)
    return path


def format_report(figures: Sequence[Figure]) -> str:
    """Return the report as Markdown."""
    lines = [
        "# Bench report",
        "",
        _describe_run(),
        "",
        *format_figures(figures),
        "",
        *format_peaks(figures),
    ]
    trouble = [f"- {figure.case.name}: {text}" for figure in figures for text in figure.trouble]
    if trouble:
        lines += ["", "## Answers that differ", "", *trouble]
    return "\n".join(lines) + "\n"


def format_figures(figures: Sequence[Figure]) -> list[str]:
    """Return the table of rates and ratios."""
    lines = [
        "| case | Lamella | Orthanc | yardsticks | ratio (must show) | CPU ms a unit, "
        "Lamella / Orthanc; the client's | p50, p99 ms |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [" | ".join(_format_row(figure)) for figure in figures]
    return [*lines, *(f"| {row} |" for row in rows)]


def format_peaks(figures: Sequence[Figure]) -> list[str]:
    """Return the table of peak memory: the largest VmHWM of any process, by case."""
    servers = sorted({server for figure in figures for server in figure.peaks_mb})
    lines = [
        "Peak memory (VmHWM of the largest process since the case began, MB; no process of "
        f"Lamella may exceed {MOST_MB}):",
        "",
        f"| case | {' | '.join(servers)} |",
        "|---|" + "---|" * len(servers),
    ]
    for figure in figures:
        peaks = [figure.peaks_mb.get(server, []) for server in servers]
        cells = map(_format_peak, servers, peaks)
        lines.append(f"| {figure.case.name} | {' | '.join(cells)} |")
    return lines


def _format_peak(server: str, peaks_mb: Sequence[float]) -> str:
    if not peaks_mb:
        return ""
    missed = "**missed** " if server == "lamella" and peaks_mb[0] > MOST_MB else ""
    processes = f" ({len(peaks_mb)} processes)" if len(peaks_mb) > 1 else ""
    return f"{missed}{peaks_mb[0]:.0f}{processes}"


def _format_row(figure: Figure) -> list[str]:
    unit = figure.case.unit
    known = figure.samples
    rates = {server: f"{figure.median(server):,.4g}" for server in known}
    others = [f"{name} {rate}" for name, rate in rates.items() if name not in _ARCHIVES]
    ratios = [
        f"{'**missed** ' if ratio < goal.at_least else ''}{ratio:.3g}× {goal.against} "
        f"(≥ {goal.at_least:g})"
        for goal in figure.case.goals
        if (ratio := figure.ratio(goal.against)) is not None
    ]
    cpu = [f"{figure.median(s, 'cpu_ms'):.3g}" if s in known else "–" for s in _ARCHIVES]
    client = f"{figure.median('lamella', 'client_cpu_ms'):.2g}" if "lamella" in known else "–"
    latency = (
        f"{figure.median('lamella', 'p50_ms'):.3g}, {figure.median('lamella', 'p99_ms'):.3g}"
        if "lamella" in known
        else "–"
    )
    return [
        f"{figure.case.title} (`{figure.case.name}`)",
        f"{rates.get('lamella', '–')} {unit}",
        f"{rates.get('orthanc', '–')} {unit}",
        ", ".join(others) or "–",
        "; ".join(ratios) or "–",
        f"{' / '.join(cpu)}; {client}",
        latency,
    ]


_ARCHIVES = ("lamella", "orthanc")


def _describe_run() -> str:
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {_count_cpus()} CPUs, Python "
        f"{platform.python_version()}, commit {_read_commit()}: "
        f"`python -m bench {shlex.join(sys.argv[1:])}`"
    )


def _count_cpus() -> int:
    return len([line for line in Path("/proc/cpuinfo").open() if line.startswith("processor")])


def _read_commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return found.stdout.strip() or "unknown"

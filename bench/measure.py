"""Cases, rounds, medians: how one figure comes about.

Every case is measured on every server in turn, round after round (A B A B …), so that what the
machine does meanwhile meets all of them. A figure is the median of its rounds; a ratio is the
ratio of medians.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.client import BadAnswer, Load
from bench.multiframe import MultiFrame
from bench.processes import ServerFailed, read_peaks_mb, reset_peaks
from bench.servers import Runner, Server
from bench.workload import CtSeries, Sizes, TinyStudy

MOST_MB = 250
"""What no process of Lamella may exceed (VmHWM)."""


class Mismatch(Exception):
    """Two servers gave different answers to the same question, or a wrong one."""


@dataclass
class Sample:
    """One measurement of one case on one server.

    Attributes:
        rate: Units a second, more is better.
        cpu_ms: The server's CPU time a unit.
        client_cpu_ms: The load generator's; what a request takes at least on one connection.
        facts: What its answers said, by label; compared between servers.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    client_cpu_ms: float = 0.0
    facts: dict[str, object] = field(default_factory=dict)


@dataclass
class Bench:
    """Everything that cases measure with.

    Attributes:
        folder: For whatever is written meanwhile.
        seconds: How long a load lasts.
        servers: Archives by name.
        yardsticks: What the machine allows, by name.
    """

    folder: Path
    sizes: Sizes
    seconds: float
    rounds: int
    servers: dict[str, Server]
    studies: list[TinyStudy]
    series: CtSeries
    multiframe: MultiFrame
    yardsticks: dict[str, Runner] = field(default_factory=dict)
    copies: int = 0

    def next_copy(self) -> int:
        """Return a number that no CT series has had, in an earlier run neither."""
        counter = self.folder / "copies"
        if not self.copies and counter.exists():
            self.copies = int(counter.read_text())
        self.copies += 1
        counter.write_text(str(self.copies))
        return self.copies


@dataclass(frozen=True)
class Goal:
    """A ratio that must be shown: rate over the rate of `against`, at least this."""

    against: str
    at_least: float


_NUMBERS = ("rate", "p50_ms", "p99_ms", "cpu_ms", "client_cpu_ms")

Measure = Callable[[Bench, Runner, int], Sample]


@dataclass(frozen=True)
class Case:
    """One figure.

    Attributes:
        group: What it is selected by.
        unit: Of its rate.
        measure: Takes bench, server and round.
        yardsticks: Which of them it is measured on besides the archives.
    """

    name: str
    group: str
    title: str
    unit: str
    measure: Measure
    goals: tuple[Goal, ...]
    yardsticks: tuple[str, ...] = ()


@dataclass
class Figure:
    """A case's samples and what they come to."""

    case: Case
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    peaks_mb: dict[str, list[float]] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)

    def median(self, server: str, name: str = "rate") -> float:
        """Return the median over rounds of one of a sample's numbers."""
        values: list[float] = [getattr(sample, name) for sample in self.samples[server]]
        return statistics.median(values)

    def ratio(self, against: str) -> float | None:
        """Return Lamella's rate over another's."""
        if not self.samples.get("lamella") or not self.samples.get(against):
            return None
        other = self.median(against)
        return self.median("lamella") / other if other else None

    def to_json(self) -> dict[str, Any]:
        """Return everything that was measured."""
        return {
            "name": self.case.name,
            "title": self.case.title,
            "unit": self.case.unit,
            "goals": {goal.against: goal.at_least for goal in self.case.goals},
            "ratios": {goal.against: self.ratio(goal.against) for goal in self.case.goals},
            "samples": {
                server: [{key: getattr(sample, key) for key in _NUMBERS} for sample in samples]
                for server, samples in self.samples.items()
            },
            "peaks_mb": self.peaks_mb,
            "trouble": self.trouble,
        }


def run_case(bench: Bench, case: Case) -> Figure:
    """Measure a case on all its servers, in turns."""
    figure = Figure(case)
    runners: list[Runner] = list(bench.servers.values())
    runners += [bench.yardsticks[name] for name in case.yardsticks if name in bench.yardsticks]
    for runner in runners:
        reset_peaks(runner.pid)
    for turn in range(bench.rounds):
        compared: dict[str, dict[str, object]] = {}
        for runner in runners:
            try:
                sample = case.measure(bench, runner, turn)
            except (BadAnswer, Mismatch, ServerFailed) as error:
                figure.trouble.append(f"{runner.name}: {error}")
                continue
            figure.samples.setdefault(runner.name, []).append(sample)
            if isinstance(runner, Server):
                compared[runner.name] = sample.facts
        figure.trouble += compare_facts(compared)
    figure.peaks_mb = {runner.name: read_peaks_mb(runner.pid) for runner in runners}
    print_figure(figure)
    return figure


def compare_facts(facts: dict[str, dict[str, object]]) -> list[str]:
    """Return where servers disagree on what both were asked."""
    if len(facts) < 2:
        return []
    (name_a, a), (name_b, b) = list(facts.items())[:2]
    return [
        f"{label}: {name_a} {str(a[label])[:200]}, {name_b} {str(b[label])[:200]}"
        for label in a
        if label in b and a[label] != b[label]
    ]


def make_sample(
    load: Load, cpu_s: float, facts: dict[str, object], *, units: float | None = None
) -> Sample:
    """Return what a load came to.

    Args:
        cpu_s: CPU seconds the server used for it.
        units: What the rate counts, if not requests.
    """
    count = load.requests if units is None else units
    ordered = sorted(load.latencies_s)
    return Sample(
        rate=count / load.seconds,
        p50_ms=statistics.median(ordered) * 1000,
        p99_ms=ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000,
        cpu_ms=cpu_s * 1000 / count,
        client_cpu_ms=load.client_cpu_s * 1000 / count,
        facts=facts,
    )


def print_figure(figure: Figure) -> None:
    """Tell a figure as soon as it is there."""
    cells = [
        f"{server} {figure.median(server):,.5g} ({figure.median(server, 'cpu_ms'):.3g} ms CPU)"
        for server in figure.samples
    ]
    ratios = [
        f"{figure.ratio(goal.against) or 0:.3g}× {goal.against} (≥ {goal.at_least:g})"
        for goal in figure.case.goals
        if figure.ratio(goal.against) is not None
    ]
    print(f"{figure.case.name} [{figure.case.unit}]: {'; '.join(cells)} → {', '.join(ratios)}")
    for trouble in figure.trouble[:5]:
        print(f"  DIFFERENT {trouble}")
    sys.stdout.flush()

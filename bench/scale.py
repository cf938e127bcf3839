"""The scale mode: what a store, a search, a branch and `fsck` cost once history is long."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TextIO

from bench.answers import read_json
from bench.client import HttpRequest, build_get, build_post, run_load, send_once
from bench.growth import Cost, Incoming, Store, generate_commits
from bench.measure import MOST_MB
from bench.processes import read_peaks_mb
from bench.servers import Lamella
from bench.workload import SEED, list_tiny_studies, make_tiny, make_uid
from lamella.app.collector import relax_collector

PROBE = 5_000_000  # studies of probes are numbered from here
PROGRESS_EVERY = 100
PARTS = ("stores", "searches", "fsck")
SEARCH_ROUNDS = 5
SEARCH_SECONDS = 0.5
MOST_RATIO = 1.2
MOST_SEARCH_MS = 5.0
MOST_BRANCH_MS = 10.0
MOST_FSCK_S = 600.0


@dataclass(frozen=True)
class ScaleSizes:
    """How long the history is."""

    studies: int
    instances: int
    commits: int
    series_each: int = 1

    @property
    def back(self) -> int:
        """How many commits ago the old commit is that searches are compared at."""
        return self.commits // 2


def size_by_commits(commits: int, series_each: int = 1) -> ScaleSizes:
    """Return sizes in the usual proportion: ten studies of ten instances a commit.

    A run of more commits can go on in the folder of one of fewer.

    Args:
        commits: How many.
        series_each: Series of a study.
    """
    return ScaleSizes(commits * 10, commits * 100, commits, series_each)


FULL_COMMITS = 10_000


def measure_scale(
    folder: Path,
    sizes: ScaleSizes,
    rounds: int,
    parts: Sequence[str] = PARTS,
    database_url: str = "",
) -> list[str]:
    """Grow an installation and measure parts of it; return the report's lines.

    Args:
        folder: Where it is.
        sizes: How far it is to grow.
        rounds: Of each figure.
        parts: What to measure.
        database_url: Where its rows are; in the folder if this is empty.
    """
    rounds_of_stores = rounds if "stores" in parts else 0
    report = _tell(asyncio.run(_grow_and_store(folder, sizes, rounds_of_stores, database_url)))
    settings = _place_rows(database_url)
    if "searches" in parts:
        report += _tell(_measure_server(Lamella(folder, **settings), folder, sizes, rounds))
    if "fsck" in parts:
        report += _tell(_measure_fsck(folder / "lamella", settings))
    return _list_misses(report) + report


def _place_rows(database_url: str) -> dict[str, str]:
    return {"database_url": database_url} if database_url else {}


def _tell(lines: list[str]) -> list[str]:
    """Print lines as soon as they are there."""
    print("\n".join(lines), flush=True)
    return lines


def _measure_server(server: Lamella, folder: Path, sizes: ScaleSizes, rounds: int) -> list[str]:
    server.start()
    try:
        report = _measure_searches(server, folder, sizes, min(rounds, SEARCH_ROUNDS))
        report += _measure_branches(server, rounds)
        peak_mb = read_peaks_mb(server.pid)[0]
    finally:
        server.stop()
    return [*report, "", f"Server: {_judge(peak_mb, MOST_MB, '.0f')} MB VmHWM."]


def _judge(value: float, most: float, form: str = ".2f") -> str:
    """Return a figure, marked where it is more than it may be."""
    return f"{value:{form}}" if value <= most else f"**{value:{form}}**"


def _list_misses(report: Sequence[str]) -> list[str]:
    """Return the report's head: what is more than it may be."""
    missed = [line for line in report if "**" in line]
    goals = (
        f"Goals: a store and its commit ≤ {MOST_RATIO}× of one into an empty dataset; searches at "
        f"the old commit ≤ {MOST_RATIO}× of head and ≤ {MOST_SEARCH_MS:g} ms; a branch < "
        f"{MOST_BRANCH_MS:g} ms; fsck ≤ {MOST_FSCK_S:g} s; processes ≤ {MOST_MB} MB. "
    )
    return [goals + (f"Lines with a miss (bold): {len(missed)}." if missed else "All met."), ""]


async def grow(store: Store, sizes: ScaleSizes, ids: Path) -> None:
    """Make the history; goes on where an earlier run stopped.

    While one commit is written, the instances of the next are taken in, as from two senders.

    Args:
        ids: A file that takes each commit's id as a line.
    """
    done = len(ids.read_text().split()) if ids.exists() else 0
    begun = perf_counter()
    incoming: asyncio.Task[Incoming] | None = None
    with ids.open("a") as log:
        groups = generate_commits(
            sizes.studies, sizes.instances, sizes.commits, done, sizes.series_each
        )
        for index, (_, instances) in enumerate(groups, done):
            following = asyncio.create_task(store.receive("default", instances))
            if incoming is not None:
                await _keep(store, incoming, log)
                _tell_progress(index, done, sizes, begun)
            incoming = following
        if incoming is not None:
            await _keep(store, incoming, log)


async def _keep(store: Store, incoming: asyncio.Task[Incoming], log: TextIO) -> None:
    cost = await store.keep(await incoming)
    print(cost.commit_id.hex(), file=log, flush=True)


def _tell_progress(index: int, done: int, sizes: ScaleSizes, begun: float) -> None:
    if index % PROGRESS_EVERY == 0:
        rate = (index - done) * sizes.instances / sizes.commits / (perf_counter() - begun)
        print(f"{index} of {sizes.commits} commits, {rate:.0f} inst/s", flush=True)


async def _grow_and_store(
    folder: Path, sizes: ScaleSizes, rounds: int, database_url: str
) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    empty_url = database_url and f"{database_url}_empty"
    large = await Store.open(folder / "lamella", **_place_rows(database_url))
    small = await Store.open(folder / "empty", **_place_rows(empty_url))
    try:
        await grow(large, sizes, folder / "commits.txt")
        report = ["## Rows", "", "| what | count |", "|---|---|"]
        report += [f"| {name} | {count:,} |" for name, count in (await large.count()).items()]
        if rounds:
            report += await _measure_stores(large, small, rounds, folder / "probes.txt")
    finally:
        await large.close()
        await small.close()
    return report


async def _measure_stores(large: Store, small: Store, rounds: int, counter: Path) -> list[str]:
    """Time storing a series of 1 and of 100 instances, by turns.

    Into the large dataset, into an empty dataset beside it, and into one of an installation that
    holds next to nothing. Every store has bytes of its own.
    """
    relax_collector()  # as the server does
    numbers = itertools.count(int(counter.read_text()) if counter.exists() else 0)
    lines = [
        "",
        "## Storing a series, ms: commit, total",
        "",
        "| instances | large dataset | empty one beside it | ratio | empty installation | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for length in (1, 100):
        costs: dict[str, list[Cost]] = {"large": [], "beside": [], "fresh": []}
        for turn in range(rounds + 1):
            for place, found in costs.items():
                number = next(numbers)
                counter.write_text(str(number + 1))
                store = small if place == "fresh" else large
                dataset = "default" if place == "large" else f"empty-{number}"
                if place != "large":
                    await store.make_dataset(dataset)
                (study,) = list_tiny_studies(1, first=PROBE + number)
                instances = [make_tiny(study, 0, index) for index in range(length)]
                cost = await store.put(dataset, instances)
                if turn:  # the first one warms up
                    found.append(cost)
        lines.append(_format_stores(length, costs))
    return lines


def _format_stores(length: int, costs: dict[str, list[Cost]]) -> str:
    medians = {
        place: (
            statistics.median(cost.commit_s for cost in found) * 1000,
            statistics.median(cost.total_s for cost in found) * 1000,
        )
        for place, found in costs.items()
    }
    large = medians["large"]
    cells = [f"{large[0]:.2f}, {large[1]:.2f}"]
    for place in ("beside", "fresh"):
        empty = medians[place]
        cells.append(f"{empty[0]:.2f}, {empty[1]:.2f}")
        ratios = (large[part] / empty[part] for part in (0, 1))
        cells.append(", ".join(_judge(ratio, MOST_RATIO) for ratio in ratios))
    return f"| {length} | {' | '.join(cells)} |"


def _measure_searches(server: Lamella, folder: Path, sizes: ScaleSizes, rounds: int) -> list[str]:
    ids = (folder / "commits.txt").read_text().split()
    old = ids[-1 - sizes.back]
    roots = {"head": "/dicomweb/default/main", "old": f"/dicomweb/default/{old}"}
    lines = [
        "",
        f"## Searches over HTTP at head and {sizes.back} commits back, p50 ms (ms of server CPU)",
        "",
        "| search | results | head | old | old / head |",
        "|---|---|---|---|---|",
    ]
    for name, targets in _list_searches(sizes).items():
        places = {place: _Searches(root, targets) for place, root in roots.items()}
        for _ in range(rounds):
            for searches in places.values():
                searches.measure(server)
        head, then = places["head"], places["old"]
        ratio = _judge(then.p50_ms / head.p50_ms, MOST_RATIO)
        lines.append(f"| {name} | {head.results} | {head.format()} | {then.format()} | {ratio} |")
    return lines


class _Searches:
    """One search with many values, at one place."""

    def __init__(self, root: str, targets: Sequence[str]) -> None:
        self.results = 0
        self._requests = [build_get(root + t, "application/dicom+json") for t in targets]
        self._p50_ms: list[float] = []
        self._cpu_ms: list[float] = []

    def measure(self, server: Lamella) -> None:
        """Measure one round."""
        cpu_s = server.cpu_s()
        load = run_load(server.port, self._requests, concurrency=1, seconds=SEARCH_SECONDS, keep=1)
        self._cpu_ms.append((server.cpu_s() - cpu_s) * 1000 / load.requests)
        self._p50_ms.append(statistics.median(load.latencies_s) * 1000)
        self.results = len(read_json(load.kept[0]))

    @property
    def p50_ms(self) -> float:
        """Median of the rounds' medians."""
        return statistics.median(self._p50_ms)

    def format(self) -> str:
        """Return the latency, and the server's CPU."""
        cpu_ms = statistics.median(self._cpu_ms)
        return f"{_judge(self.p50_ms, MOST_SEARCH_MS)} ({cpu_ms:.2f})"


def _list_searches(sizes: ScaleSizes) -> dict[str, list[str]]:
    """Return targets by name; all of them find something at the old commit too."""
    known = sizes.studies - sizes.studies * sizes.back // sizes.commits - sizes.studies // 100
    chosen = [
        list_tiny_studies(1, first=index)[0]
        for index in random.Random(SEED).sample(range(known), 50)
    ]
    return {
        "first 101, OHIF's includefield": [
            "/studies?limit=101&includefield=00081030%2C00080060%2C00080090%2C00100030"
        ],
        "PatientID": [f"/studies?PatientID={s.patient_id}" for s in chosen],
        "name prefix, limit 101": [
            f"/studies?PatientName={s.patient_name[:6]}*&limit=101" for s in chosen
        ],
        "date range (a day)": [
            f"/studies?StudyDate={s.study_date}-{s.study_date}&limit=101" for s in chosen
        ],
        "date range (a month), limit 101": [
            f"/studies?StudyDate={s.study_date[:6]}01-{s.study_date[:6]}28&limit=101"
            for s in chosen
        ],
        "series of a study": [f"/studies/{s.study_uid}/series" for s in chosen],
        "instances of a series": [
            f"/studies/{s.study_uid}/series/{make_uid(4, 0, 0, s.index)}/instances" for s in chosen
        ],
    }


def _measure_branches(server: Lamella, rounds: int) -> list[str]:
    listed = send_once(
        server.port, build_get("/api/v1/datasets/default/branches", "application/json")
    )
    taken = len(json.loads(listed.body))
    requests: list[HttpRequest] = [
        build_post(
            "/api/v1/datasets/default/branches",
            json.dumps({"name": f"fork-{taken + turn}", "revision": "main"}).encode(),
        )
        for turn in range(max(rounds, 5))
    ]
    load = run_load(server.port, requests, concurrency=1, expected_status=(201,))
    p50 = statistics.median(load.latencies_s) * 1000
    return ["", f"A branch: {_judge(p50, MOST_BRANCH_MS)} ms (median of {load.requests})."]


def _measure_fsck(folder: Path, settings: Mapping[str, str]) -> list[str]:
    command = [sys.executable, "-m", "lamella", "fsck"]
    log = folder.with_name("fsck.log")
    begun = perf_counter()
    with log.open("wb") as output:
        started = subprocess.Popen(
            command,
            env=_environ(folder, settings),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parents[1],
        )
        _, status, usage = os.wait4(started.pid, 0)
    seconds = perf_counter() - begun
    cpu_s, peak_mb = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6
    lines = [
        "",
        f"`fsck` without `--bytes`: {_judge(seconds, MOST_FSCK_S, '.0f')} s "
        f"({cpu_s:.0f} s of CPU), {_judge(peak_mb, MOST_MB, '.0f')} MB, "
        f"exit status {os.waitstatus_to_exitcode(status)}.",
    ]
    if status:
        lines += ["", "```", log.read_text(errors="replace")[-2000:], "```"]
    return lines


def _environ(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    environ = {key: v for key, v in os.environ.items() if not key.startswith("LAMELLA_")}
    chosen = {"data_dir": str(folder), **settings}
    return environ | {f"LAMELLA_{key.upper()}": value for key, value in chosen.items()}

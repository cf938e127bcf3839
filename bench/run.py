"""A run: servers up, workload in, cases one after another, report out."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.cases import CASES, NEEDS
from bench.cases.dimse import find_dcmtk
from bench.cases.metadata import build_request
from bench.client import send_once
from bench.loading import load_workload
from bench.measure import Bench, Case, Figure, run_case
from bench.multiframe import MultiFrame
from bench.processes import CHECKOUT
from bench.servers import Lamella, Orthanc, Runner, Server
from bench.workload import CT_SIDE, FULL, QUICK, CtSeries, list_tiny_studies
from bench.yardsticks import BareGranian, BareGranianMetadata, Nginx, NginxMetadata

MAIN_COPY = 0


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes:
        names: Groups or cases; empty means all.
        folder: Where servers keep their data meanwhile.
        only: Names of servers; empty means all that are installed.
        settings: `LAMELLA_*` by lower-case name.
        before: An earlier commit of Lamella to compare with instead of all others, or None.
        brief: Leave out cases without a goal.
    """

    names: Sequence[str]
    folder: Path
    quick: bool
    rounds: int
    seconds: float
    only: Sequence[str]
    settings: dict[str, str]
    before: str | None = None
    brief: bool = False


def run(options: Options) -> list[Figure]:
    """Measure the cases asked for."""
    cases = select_cases(options.names, with_goals=options.brief)
    bench = _prepare(options)
    with ExitStack() as stack:
        for server in bench.servers.values():
            server.start()
            stack.callback(server.stop)
        groups = dict.fromkeys(case.group for case in cases)
        parts = dict.fromkeys(part for group in groups for part in NEEDS[group])
        load_workload(bench, parts)
        _start_yardsticks(bench, cases, options, stack)
        return [run_case(bench, case) for case in cases if _can_run(case)]


def select_cases(names: Sequence[str], *, with_goals: bool = False) -> list[Case]:
    """Return cases by group or name, in their usual order.

    Args:
        names: Groups or cases; none means all.
        with_goals: Leave out those that are only for information.

    Raises:
        ValueError: There is no such case.
    """
    unknown = set(names) - {case.group for case in CASES} - {case.name for case in CASES}
    if unknown:
        raise ValueError(f"no such case: {', '.join(sorted(unknown))}")
    return [
        case
        for case in CASES
        if (not names or {case.group, case.name} & set(names)) and (case.goals or not with_goals)
    ]


def _prepare(options: Options) -> Bench:
    sizes = QUICK if options.quick else FULL
    options.folder.mkdir(parents=True, exist_ok=True)
    multiframe = MultiFrame(sizes.frames, CT_SIDE)
    multiframe.load(options.folder / "encoded")
    servers = _choose_servers(options)
    return Bench(
        options.folder,
        sizes,
        options.seconds,
        options.rounds,
        {one.name: one for one in servers if not options.only or one.name in options.only},
        list_tiny_studies(sizes.studies),
        CtSeries(MAIN_COPY, sizes.slices),
        multiframe,
    )


def _choose_servers(options: Options) -> list[Server]:
    lamella = Lamella(options.folder, **options.settings)
    if options.before is not None:
        code = check_out(options.before, options.folder)
        return [lamella, Lamella(options.folder, name="before", code=code, **options.settings)]
    if not Orthanc.is_installed():
        print("Orthanc is not installed (apt-get install orthanc orthanc-dicomweb): left out")
        return [lamella]
    return [lamella, Orthanc(options.folder)]


def check_out(commit: str, folder: Path) -> Path:
    """Return a folder with the code of a commit.

    Raises:
        CalledProcessError: There is no such commit here.
    """
    command = ["git", "archive", "--format=tar", commit]
    archive = subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE).stdout
    code = folder / "code-before"
    if code.exists():
        shutil.rmtree(code)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(code, filter="data")
    return code


def _start_yardsticks(
    bench: Bench, cases: Sequence[Case], options: Options, stack: ExitStack
) -> None:
    wanted = {name for case in cases for name in case.yardsticks}
    if options.only or options.before is not None:
        wanted &= set(options.only)
    started: list[Runner] = []
    if "granian" in wanted:
        granian = BareGranian(bench.folder)
        granian.put_frames(bench.series)
        started.append(granian)
    if Nginx.find() is None:
        print("nginx is not installed (apt-get install nginx-light): left out")
        wanted -= {"nginx", "nginx-metadata"}
    if "nginx" in wanted:
        nginx = Nginx(bench.folder)
        nginx.put_frames(bench.series)
        started.append(nginx)
    started += _prepare_metadata(bench, wanted)
    for runner in started:
        runner.start()
        stack.callback(runner.stop)
        bench.yardsticks[runner.name] = runner


def _prepare_metadata(bench: Bench, wanted: set[str]) -> list[Nginx | BareGranian]:
    """Return the yardsticks that send the metadata that Lamella sends."""
    runners: list[Nginx | BareGranian] = [
        kind(bench.folder) for kind in (NginxMetadata, BareGranianMetadata) if kind.name in wanted
    ]
    lamella = bench.servers.get("lamella")
    if lamella is None or not runners:
        return []
    coded = send_once(lamella.port, build_request(bench, lamella)).coded
    for runner in runners:
        runner.put_metadata(coded)
    return runners


def _can_run(case: Case) -> bool:
    if case.group in ("dimse", "retrieve") and find_dcmtk("storescu") is None:
        print(f"{case.name}: storescu is not installed (apt-get install dcmtk): left out")
        return False
    return True


def clear(folder: Path) -> None:
    """Delete what a run left, but for what took long to encode."""
    for path in folder.iterdir():
        if path.name == "encoded":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

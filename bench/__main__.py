"""`python -m bench`: see `python -m bench --help`."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.cases import CASES, GROUPS
from bench.measure import Figure
from bench.report import write_comparison, write_lines, write_report
from bench.run import Options, clear, run
from bench.scale import FULL_COMMITS, PARTS, measure_scale, size_by_commits
from bench.trickle import measure_trickle

_ARCHIVES = ("lamella", "orthanc")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    parsed = _build_parser().parse_args(arguments)
    command = getattr(parsed, "command", None) or _run
    return int(command(parsed))


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Lamella.")
    commands = parser.add_subparsers(title="commands")
    _add_run_flags(parser)
    side = commands.add_parser("run", help="measure beside Orthanc (the default)")
    side.add_argument("names", nargs="*", help=f"groups ({', '.join(GROUPS)}) or cases; all")
    _add_run_flags(side)
    side.set_defaults(command=_run)
    compare = commands.add_parser("compare", help="measure beside an earlier commit of Lamella")
    compare.add_argument("before", help="the commit")
    compare.add_argument("names", nargs="*", help="groups or cases; all")
    _add_run_flags(compare)
    compare.set_defaults(command=_compare)
    scale = commands.add_parser("scale", help="costs as history grows")
    scale.add_argument(
        "--full", action="store_true", help="1e5 studies, 1e6 instances, 1e4 commits"
    )
    scale.add_argument("--commits", type=int, default=200, help="of 100 instances each (200)")
    scale.add_argument("--series", type=int, default=1, help="of a study, of its ten instances (1)")
    scale.add_argument(
        "--database",
        default="",
        metavar="URL",
        help="an empty PostgreSQL database; for stores, NAME_empty beside it",
    )
    scale.add_argument("--rounds", type=int, default=30, help="alternating rounds (30)")
    scale.add_argument("--folder", type=Path, help="keep data here and go on from it")
    scale.add_argument(
        "--part", action="append", choices=PARTS, help="measure only this, in a folder that is kept"
    )
    scale.set_defaults(command=_scale)
    trickle = commands.add_parser("trickle", help="bytes that one-instance commits cost")
    trickle.add_argument("--stores", type=int, default=2000, help="how many (2000)")
    trickle.add_argument("--rounds", type=int, default=3, help="alternating rounds (3)")
    trickle.set_defaults(command=_trickle)
    far = commands.add_parser("s3", help="what reading from S3 costs, by client and distance")
    far.set_defaults(command=_s3)
    phi = commands.add_parser(
        "phi", help="write synthetic studies full of identifiers, and the key"
    )
    phi.add_argument("dest", type=Path, help="a folder")
    phi.add_argument("--subjects", type=int, default=200, help="how many (200)")
    phi.add_argument("--seed", type=int, default=1, help="the same gives the same (1)")
    phi.add_argument("--profile", choices=("basic", "research"), default="research")
    phi.set_defaults(command=_phi)
    deid = commands.add_parser("deid", help="de-identify such studies, score, and search the bytes")
    deid.add_argument("source", type=Path, help="what `phi` wrote")
    deid.add_argument("dest", type=Path, help="a folder for output, maps and failures")
    deid.add_argument("--profile", choices=("basic", "research"), default="research")
    deid.add_argument("--headers", action="store_true", help="leave pixels alone")
    deid.set_defaults(command=_deid)
    commands.add_parser("list", help="list the cases").set_defaults(command=_list)
    return parser


def _add_run_flags(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(names=[], before=None)
    parser.add_argument("--quick", action="store_true", help="a small workload, to try it out")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds (3)")
    parser.add_argument("--seconds", type=float, default=None, help="of each load (3; quick 1)")
    parser.add_argument(
        "--brief", action="store_true", help="only Lamella and Orthanc, loads of a second"
    )
    parser.add_argument("--only", action="append", default=[], help="measure only this server")
    parser.add_argument("--folder", type=Path, help="keep data here and use it again")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="LAMELLA_NAME=VALUE"
    )


def _run(parsed: argparse.Namespace) -> int:
    figures = _measure(parsed, parsed.only or (_ARCHIVES if parsed.brief else []))
    print(f"report: {write_report(figures)}")
    return _tell(figures)


def _compare(parsed: argparse.Namespace) -> int:
    figures = _measure(parsed, [])
    print(f"report: {write_comparison(figures)}")
    return _tell(figures)


def _measure(parsed: argparse.Namespace, only: Sequence[str]) -> list[Figure]:
    default = Path(tempfile.gettempdir()) / f"lamella-bench{'-quick' if parsed.quick else ''}"
    folder = parsed.folder or default
    if parsed.folder is None and folder.exists():
        clear(folder)
    seconds = parsed.seconds or (1.0 if parsed.quick or parsed.brief else 3.0)
    figures = run(
        Options(
            parsed.names,
            folder,
            parsed.quick,
            parsed.rounds,
            seconds,
            only,
            dict(pair.split("=", 1) for pair in parsed.set),
            parsed.before,
            parsed.brief,
        )
    )
    if parsed.folder is None:
        clear(folder)
    return figures


def _tell(figures: Sequence[Figure]) -> int:
    """Return the exit status."""
    return 1 if any(figure.trouble for figure in figures) else 0


def _scale(parsed: argparse.Namespace) -> int:
    commits = FULL_COMMITS if parsed.full else parsed.commits
    sizes = size_by_commits(commits, parsed.series)
    folder = parsed.folder or Path(tempfile.gettempdir()) / "lamella-bench-scale"
    if parsed.folder is None and folder.exists():
        clear(folder)
    lines = measure_scale(folder, sizes, parsed.rounds, parsed.part or PARTS, parsed.database)
    print(f"report: {write_lines('scale.md', lines)}")
    if parsed.folder is None:
        clear(folder)
    return 0


def _trickle(parsed: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="lamella-bench-trickle") as folder:
        lines = measure_trickle(Path(folder), parsed.stores, parsed.rounds)
    print(f"report: {write_lines('trickle.md', lines)}")
    return 0


def _s3(_: argparse.Namespace) -> int:
    from bench.s3 import measure_s3  # needs the extra

    print(f"report: {write_lines('s3.md', measure_s3())}")
    return 0


def _phi(parsed: argparse.Namespace) -> int:
    from bench.phi.studies import generate

    count = generate(parsed.dest, parsed.subjects, parsed.seed, parsed.profile)
    print(f"{count} instances below {parsed.dest / 'studies'}, their answers in key.db")
    return 0


def _deid(parsed: argparse.Namespace) -> int:
    from bench.phi.measurement import measure_deid

    lines = measure_deid(
        parsed.source, parsed.dest, parsed.profile, reads_pixels=not parsed.headers
    )
    print(f"report: {write_lines('deid.md', lines)}")
    return 0


def _list(_: argparse.Namespace) -> int:
    for case in CASES:
        goals = ", ".join(f"≥ {goal.at_least:g}× {goal.against}" for goal in case.goals)
        print(f"{case.name:22} {case.title}: {goals or 'for information'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

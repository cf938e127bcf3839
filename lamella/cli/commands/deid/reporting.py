"""`deid runs` and `deid report`: what became of what, and what was changed how often."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lamella.cli.flags import Family, add_json_flag, parse_count
from lamella.cli.output import print_json, print_lines, print_table
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from lamella.deid.run_rows import RunRow
    from lamella.vcs.repository import Repository


def add_commands(family: Family) -> None:
    """Add the commands."""
    parser = family.add_command("runs", "list runs into a dataset, newest first", run_list)
    parser.add_argument("dataset_name", metavar="DATASET", help="the destination")
    parser.add_argument("-n", dest="limit", metavar="N", type=parse_count, default=20)
    add_json_flag(parser)
    parser = family.add_command("report", "show the report of a run", run_report)
    parser.add_argument("dataset_name", metavar="DATASET", help="the destination")
    parser.add_argument("run_id", metavar="RUN", nargs="?", type=parse_count, help="(the last)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page")
    add_json_flag(parser)


def run_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """List runs."""

    async def work(repository: Repository) -> list[RunRow]:
        from lamella.deid.run_rows import list_runs
        from lamella.vcs.refs import find_dataset

        def read(connection: sa.Connection) -> list[RunRow]:
            owner = find_dataset(connection, arguments.dataset_name)
            return list_runs(connection, owner.id, limit=arguments.limit)

        return await repository.archive.database.read(read)

    found = run_on_repository(settings, work)
    if arguments.json:
        print_json([run.describe() for run in found])
    elif found:
        print_table([_list_cells(run) for run in found])
    return 0


def run_report(arguments: argparse.Namespace, settings: Settings) -> int:
    """Show the report of a run."""

    async def work(repository: Repository) -> RunRow:
        from lamella.deid.run_rows import find_ended_run
        from lamella.vcs.refs import find_dataset

        def read(connection: sa.Connection) -> RunRow:
            owner = find_dataset(connection, arguments.dataset_name)
            return find_ended_run(connection, owner.id, arguments.run_id)

        return await repository.archive.database.read(read)

    run = run_on_repository(settings, work)
    assert run.report is not None
    if arguments.html is not None:
        from lamella.deid.report_pages import write_html

        write_html(run.report, arguments.html)
    if arguments.json:
        print_json({**run.describe(), "report": run.report})
        return 0
    parts = {**run.report["verdicts"], **run.report["reasons"], **run.report["decisions"]}
    told = " ".join(f"{name.lower()}={count}" for name, count in parts.items())
    kept = ("instances", "made", "released", "removed", "boxes", "commit")
    print_lines([told, " ".join(f"{name}={run.report[name]}" for name in kept)])
    return 0


def _list_cells(run: RunRow) -> tuple[str, ...]:
    told = run.describe()
    source = f"{run.source or '(deleted)'}@{told['source']['commit'][:12]}"
    released = "" if run.report is None else f"released={run.report['released']}"
    ended = told["ended"] or "not ended"
    return str(run.id), source, run.branch, run.profile.name, told["started"], ended, released

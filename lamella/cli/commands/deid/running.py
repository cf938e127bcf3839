"""`deid run SRC DST`: one branch becomes another, verified."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lamella.cli.author import name_author
from lamella.cli.flags import Family, add_json_flag, parse_count
from lamella.cli.output import print_json, print_lines, remark
from lamella.cli.progress import show_count
from lamella.cli.target import name_view, open_target, parse_target
from lamella.cli.usage import UsageError
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from lamella.archive.outbox import Job
    from lamella.deid.orders import Order
    from lamella.deid.reports import RunReport
    from lamella.vcs.repository import Repository


def add_commands(family: Family) -> None:
    """Add the command."""
    parser = family.add_command(
        "run",
        "de-identify a revision into a branch of another dataset",
        run_deid,
        detail=(
            "SRC and DST are targets; DST is DATASET or DATASET@BRANCH, made where it is not\n"
            "there. One commit holds all that passes; what does not waits in `deid review`, and\n"
            "the exit status is 1. A second run makes only what is new. A run that was stopped\n"
            "leaves the branch where it was, and goes on when it is run again.\n"
            "With --background a server or worker does it: see `lamella jobs`."
        ),
    )
    parser.add_argument("source", metavar="SRC")
    parser.add_argument("destination", metavar="DST")
    add_order_flags(parser)
    parser.add_argument(
        "--background", action="store_true", help="let a server do it; print the job's number"
    )
    parser.add_argument(
        "--processes", type=parse_count, default=0, metavar="N", help="(one a core)"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write an HTML report")
    add_json_flag(parser)


def add_order_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how something is de-identified."""
    parser.add_argument(
        "--profile", default="basic", metavar="NAME|FILE", help="basic, research, strict or a file"
    )
    parser.add_argument("--key", metavar="NAME|ID", help="the project's key (default)")
    parser.add_argument("--no-map", action="store_true", help="keep no map of identifiers")
    parser.add_argument("-m", "--message", default="", help="the message of the commit")


def read_order(arguments: argparse.Namespace) -> Order:
    """Return what the flags and `DST` order.

    Raises:
        UsageError: `DST` is no destination.
        InvalidRequest: There is no such profile.
    """
    from lamella.deid.orders import Order, parse_destination
    from lamella.deid.recipes import read_profile
    from lamella.errors import InvalidRequest

    try:
        dataset, branch = parse_destination(arguments.destination)
    except InvalidRequest as error:
        raise UsageError(error.detail) from error
    return Order(
        dataset=dataset,
        branch=branch,
        profile=read_profile(arguments.profile),
        key=arguments.key,
        keeps_map=not arguments.no_map,
        message=arguments.message,
        author=name_author(),
    )


def run_deid(arguments: argparse.Namespace, settings: Settings) -> int:
    """De-identify, or ask a server to; the last line on stdout is the sum."""
    order = read_order(arguments)
    if arguments.background:
        return _ask(arguments, settings, order)
    report = _run(arguments, settings, order)
    if arguments.report is not None:
        from lamella.deid.report_pages import write_html

        write_html(report.describe(), arguments.report)
    if arguments.json:
        print_json(report.describe())
    else:
        print_lines([str(report)])
    if report.held:
        remark(f"{report.held} instances were held back: see `lamella deid review list`.")
    return 1 if report.held else 0


def _run(arguments: argparse.Namespace, settings: Settings, order: Order) -> RunReport:
    target = parse_target(arguments.source, None)

    async def work(repository: Repository) -> RunReport:
        from lamella.deid.orders import prepare
        from lamella.vcs.masks import read_shown

        view = await read_shown(repository, lambda c: open_target(c, repository, target))
        _check_apart(order, view.dataset.name)
        with show_count("De-identifying") as on_progress:
            run = await prepare(
                repository,
                settings,
                view,
                order,
                workers=arguments.processes,
                on_progress=on_progress,
            )
            return await run.run()

    return run_on_repository(settings, work)


def _ask(arguments: argparse.Namespace, settings: Settings, order: Order) -> int:
    if arguments.report is not None:
        raise UsageError("--report needs the end of the run: see `lamella deid report`.")
    target = parse_target(arguments.source, None)

    async def work(repository: Repository) -> Job:
        from lamella.deid.orders import settle
        from lamella.deid.work import ask_for_run

        settled = settle(order, settings)

        def ask(connection: sa.Connection) -> Job:
            dataset, revision = name_view(connection, target)
            _check_apart(order, dataset)
            return ask_for_run(connection, dataset, revision, settled)

        return await repository.archive.database.write(ask)

    job = run_on_repository(settings, work)
    if arguments.json:
        from lamella.vcs.work import describe_job

        print_json(describe_job(job))
    else:
        print_lines([f"Job {job.id}: see `lamella jobs show {job.id}`."])
    return 0


def _check_apart(order: Order, source: str) -> None:
    if order.dataset == source:
        raise UsageError("De-identified instances go into another dataset than their source.")

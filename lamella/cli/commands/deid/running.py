"""`deid run SRC DST`: one branch becomes another, verified."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lamella.cli.author import name_author
from lamella.cli.flags import Family, add_json_flag, parse_count
from lamella.cli.output import print_json, print_lines, remark
from lamella.cli.progress import show_count
from lamella.cli.target import open_target, parse_target
from lamella.cli.usage import UsageError
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    from lamella.deid.runs import Destination, RunReport
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
            "leaves the branch where it was, and goes on when it is run again."
        ),
    )
    parser.add_argument("source", metavar="SRC")
    parser.add_argument("destination", metavar="DST")
    parser.add_argument(
        "--profile", default="basic", metavar="NAME|FILE", help="basic, research, strict or a file"
    )
    parser.add_argument("--key", metavar="NAME|ID", help="the project's key (default)")
    parser.add_argument("--no-map", action="store_true", help="keep no map of identifiers")
    parser.add_argument("-m", "--message", default="", help="the message of the commit")
    parser.add_argument(
        "--processes", type=parse_count, default=0, metavar="N", help="(one a core)"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write an HTML report")
    add_json_flag(parser)


def run_deid(arguments: argparse.Namespace, settings: Settings) -> int:
    """De-identify; the last line on stdout is the sum."""
    from lamella.deid.recipes import read_profile

    profile = read_profile(arguments.profile)

    async def work(repository: Repository) -> RunReport:
        from lamella.deid.identifier_maps import IdentifierMap
        from lamella.deid.keyring import Keyring
        from lamella.deid.runs import KeptMaps, Run
        from lamella.vcs.masks import read_shown

        target = parse_target(arguments.source, None)
        view = await read_shown(repository, lambda c: open_target(c, repository, target))
        keyring = Keyring(settings.deid_folder, settings.deid_secret)
        key = keyring.find(arguments.key)
        destination = await open_destination(repository, arguments.destination, view.dataset.name)
        maps = None
        if not arguments.no_map:
            name = destination.dataset.name
            maps = KeptMaps(
                IdentifierMap(keyring.folder, name, key, "uid"),
                IdentifierMap(keyring.folder, name, key, "patient"),
            )
        with show_count("De-identifying") as on_progress:
            run = Run(
                repository,
                view,
                destination,
                profile,
                key,
                author=name_author(),
                message=arguments.message,
                maps=maps,
                workers=arguments.processes,
                on_progress=on_progress,
            )
            return await run.run()

    report = run_on_repository(settings, work)
    if arguments.report is not None:
        from lamella.deid.reports import write_html

        write_html(report, arguments.report)
    if arguments.json:
        print_json(report.describe())
    else:
        print_lines([str(report)])
    held = sum(report.verdicts.values()) - report.released
    if held:
        remark(f"{held} instances were held back: see `lamella deid review list`.")
    return 1 if held else 0


async def open_destination(repository: Repository, text: str, source: str) -> Destination:
    """Return dataset and branch that `DST` names, made where they are not there.

    Raises:
        UsageError: It names the source's dataset, or one side of the @ is empty.
        InvalidRequest: It can be no name.
    """
    import sqlalchemy as sa

    from lamella.deid.runs import Destination
    from lamella.errors import RevisionNotFound
    from lamella.vcs.datasets import create_dataset
    from lamella.vcs.refs import find_dataset, read_head

    name, mark, branch = text.partition("@")
    if not name or (mark and not branch):
        raise UsageError(f"{text!r} is no destination: write DATASET or DATASET@BRANCH.")
    if name == source:
        raise UsageError("De-identified instances go into another dataset than their source.")

    def find(connection: sa.Connection) -> Destination:
        try:
            owner = find_dataset(connection, name)
        except RevisionNotFound:
            first = {"default_branch": branch} if branch else {}
            owner = create_dataset(connection, name, **first)
        read_head(connection, owner.id, branch or owner.default_branch)
        return Destination(owner, branch or owner.default_branch)

    return await repository.archive.database.write(find)

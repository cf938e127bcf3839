"""`deid review`: what de-identification held back, and what a person decides about it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lamella.cli.flags import Family, add_json_flag, parse_count
from lamella.cli.output import print_json, print_lines
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    from lamella.deid.made import MadeInstance
    from lamella.vcs.repository import Repository


def add_commands(family: Family) -> None:
    """Add the commands."""
    review = family.add_family("review", "decide about what was held back", "COMMAND")
    parser = review.add_command("list", "list what waits for a person", run_list)
    parser.add_argument("dataset", metavar="DATASET", help="the destination")
    add_json_flag(parser)
    for name, summary in (
        ("accept", "release an instance; the next run brings it into the branch"),
        ("reject", "keep an instance out for good"),
    ):
        parser = review.add_command(name, summary, run_decide)
        parser.add_argument("dataset", metavar="DATASET", help="the destination")
        parser.add_argument("number", metavar="NUMBER", nargs="+", type=parse_count)
        parser.set_defaults(decision=f"{name}ed")


def run_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """List what waits."""

    async def work(repository: Repository) -> list[MadeInstance]:
        from lamella.deid.made import list_waiting
        from lamella.vcs.refs import find_dataset

        return await repository.archive.database.read(
            lambda c: list_waiting(c, find_dataset(c, arguments.dataset).id)
        )

    waiting = run_on_repository(settings, work)
    if arguments.json:
        print_json([_describe(one) for one in waiting])
    else:
        print_lines(
            [f"{one.id}\t{one.verdict}\t{', '.join(one.told.reasons)}" for one in waiting]
            or ["Nothing waits."]
        )
    return 0


def run_decide(arguments: argparse.Namespace, settings: Settings) -> int:
    """Note a decision about one or more instances, all or none."""

    async def work(repository: Repository) -> None:
        from lamella.deid.made import decide_all
        from lamella.vcs.refs import find_dataset

        await repository.archive.database.write(
            lambda c: decide_all(
                c, find_dataset(c, arguments.dataset).id, arguments.number, arguments.decision
            )
        )

    run_on_repository(settings, work)
    print_lines([f"{len(arguments.number)} {arguments.decision}; run `lamella deid` again."])
    return 0


def _describe(one: MadeInstance) -> dict[str, object]:
    return {
        "number": one.id,
        "verdict": str(one.verdict),
        "reasons": list(one.told.reasons),
        "boxes": one.told.boxes,
        "has_result": one.made is not None,
    }

"""`forward`: rules by which commits go on to peers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lamella.cli.flags import Family, add_dataset_flag, add_json_flag, parse_count
from lamella.cli.output import print_json, print_lines, print_table
from lamella.cli.target import DEFAULT_DATASET
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    from lamella.dimse_gateway.forwarding import Rule
    from lamella.vcs.repository import Repository

_DETAIL = """\
KEY is Keyword=value, an attribute of patient, study or series, as in a query: Modality=CT,
PatientID=P*. Of each commit from now on, what it adds or changes and what matches all keys is sent
to the peer, until that has taken it."""


def add_commands(family: Family) -> None:
    """Add the commands about forwarding."""
    rules = family.add_family("forward", "send what commits bring to peers", "add|list|delete")
    parser = rules.add_command("add", "add a rule", run_add, detail=_DETAIL)
    parser.add_argument("peer", metavar="PEER")
    parser.add_argument("keys", metavar="KEY", nargs="*")
    parser.add_argument("-b", "--branch", default="", metavar="BRANCH", help="its commits (all)")
    add_dataset_flag(parser, "commits of this dataset (default)")
    add_json_flag(parser)
    add_json_flag(rules.add_command("list", "list rules", run_list))
    parser = rules.add_command("delete", "delete a rule", run_delete)
    parser.add_argument("id", metavar="ID", type=parse_count)


def run_add(arguments: argparse.Namespace, settings: Settings) -> int:
    """Add a rule."""

    async def work(repository: Repository) -> Rule:
        from lamella.dimse_gateway.forwarding import add_rule

        dataset = arguments.dataset or DEFAULT_DATASET
        return await repository.archive.database.write(
            lambda c: add_rule(c, dataset, arguments.branch, arguments.peer, arguments.keys)
        )

    added = run_on_repository(settings, work)
    if arguments.json:
        print_json(added.describe())
    else:
        print_lines([f"Rule {added.id} sends what commits bring to {added.peer}."])
    return 0


def run_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """List the rules."""

    async def work(repository: Repository) -> list[Rule]:
        from lamella.dimse_gateway.forwarding import list_rules

        return await repository.archive.database.read(list_rules)

    found = run_on_repository(settings, work)
    if arguments.json:
        print_json([rule.describe() for rule in found])
    elif found:
        print_table(
            [(str(r.id), f"{r.dataset}@{r.branch or '*'}", r.peer, " ".join(r.keys)) for r in found]
        )
    return 0


def run_delete(arguments: argparse.Namespace, settings: Settings) -> int:
    """Delete a rule."""

    async def work(repository: Repository) -> Rule:
        from lamella.dimse_gateway.forwarding import delete_rule

        return await repository.archive.database.write(lambda c: delete_rule(c, arguments.id))

    gone = run_on_repository(settings, work)
    print_lines([f"Rule {gone.id} sends nothing more to {gone.peer}."])
    return 0

"""`deid rule`: branches that are de-identified whenever they change."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lamella.cli.commands.deid.running import add_order_flags, read_order
from lamella.cli.flags import Family, add_json_flag, parse_count
from lamella.cli.output import print_json, print_lines, print_table
from lamella.cli.target import parse_ref
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from lamella.archive.outbox import Job
    from lamella.deid.rules import Rule
    from lamella.vcs.repository import Repository

_DETAIL = """\
SRC is DATASET@BRANCH. What it has, and what each commit brings to it from now on, is de-identified
into DST by a server or worker: see `lamella jobs`. The key is settled now; `deid key rotate` does
not change what a rule uses."""


def add_commands(family: Family) -> None:
    """Add the commands."""
    rules = family.add_family("rule", "de-identify whenever a branch changes", "add|list|delete")
    parser = rules.add_command("add", "add a rule", run_add, detail=_DETAIL)
    parser.add_argument("source", metavar="SRC")
    parser.add_argument("destination", metavar="DST")
    add_order_flags(parser)
    add_json_flag(parser)
    add_json_flag(rules.add_command("list", "list rules", run_list))
    parser = rules.add_command("delete", "delete a rule", run_delete)
    parser.add_argument("id", metavar="ID", type=parse_count)


def run_add(arguments: argparse.Namespace, settings: Settings) -> int:
    """Add a rule."""
    order = read_order(arguments)
    dataset, branch = parse_ref(arguments.source, None)

    async def work(repository: Repository) -> tuple[Rule, Job]:
        from lamella.deid.orders import settle
        from lamella.deid.rules import add_rule

        settled = settle(order, settings)

        def add(connection: sa.Connection) -> tuple[Rule, Job]:
            return add_rule(connection, dataset, branch, settled)

        return await repository.archive.database.write(add)

    added, job = run_on_repository(settings, work)
    if arguments.json:
        print_json(added.describe())
    else:
        print_lines([f"Rule {added.id}; job {job.id} begins with what is there."])
    return 0


def run_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """List the rules."""

    async def work(repository: Repository) -> list[Rule]:
        from lamella.deid.rules import list_rules

        return await repository.archive.database.read(list_rules)

    found = run_on_repository(settings, work)
    if arguments.json:
        print_json([rule.describe() for rule in found])
    elif found:
        print_table([_list_cells(rule) for rule in found])
    return 0


def run_delete(arguments: argparse.Namespace, settings: Settings) -> int:
    """Delete a rule."""

    async def work(repository: Repository) -> Rule:
        from lamella.deid.rules import delete_rule

        return await repository.archive.database.write(lambda c: delete_rule(c, arguments.id))

    gone = run_on_repository(settings, work)
    print_lines([f"Rule {gone.id} de-identifies nothing more into {gone.order.dataset}."])
    return 0


def _list_cells(rule: Rule) -> tuple[str, ...]:
    order = rule.order
    into = f"{order.dataset}@{order.branch}" if order.branch else order.dataset
    source = f"{rule.dataset}@{rule.branch}"
    return str(rule.id), source, into, order.profile.name, order.key or ""

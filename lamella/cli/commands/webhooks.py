"""`webhook add`, `list` and `remove`."""

from __future__ import annotations

import argparse
import secrets
from typing import TYPE_CHECKING, Any

from lamella.cli.flags import Family, add_dataset_flag, add_json_flag, parse_count
from lamella.cli.output import print_json, print_lines, print_table
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from lamella.vcs.repository import Repository
    from lamella.vcs.subscriptions import Subscription

Json = dict[str, Any]


def add_commands(family: Family) -> None:
    """Add the commands about webhooks."""
    hooks = family.add_family("webhook", "call a URL for each commit", "add|list|remove")
    parser = hooks.add_command(
        "add",
        "call a URL for each commit from now on",
        run_add,
        detail="Prints the secret that requests are signed with; it is not shown again.",
    )
    parser.add_argument("url", metavar="URL")
    parser.add_argument("-b", "--branch", metavar="BRANCH", default="", help="of this one (all)")
    _add_flags(parser)
    _add_flags(hooks.add_command("list", "list webhooks", run_list))
    parser = hooks.add_command("remove", "call it no more", run_remove)
    parser.add_argument("id", metavar="ID", type=parse_count)
    _add_flags(parser)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add_dataset_flag(parser, "of this dataset (default)")
    add_json_flag(parser)


def run_add(arguments: argparse.Namespace, settings: Settings) -> int:
    """Subscribe a URL to a dataset's commits."""
    secret = secrets.token_hex(32)

    async def work(repository: Repository) -> Json:
        from lamella.jobs.webhooks import NAME, make_arguments
        from lamella.vcs.subscriptions import subscribe

        wanted, name = make_arguments(arguments.url, secret), _name_dataset(arguments)
        made = await repository.archive.database.write(
            lambda c: subscribe(c, name, NAME, wanted, arguments.branch)
        )
        return {**_describe(made), "secret": secret}

    made = run_on_repository(settings, work)
    if arguments.json:
        print_json(made)
    else:
        print_lines([f"Webhook {made['id']}, secret {secret}"])
    return 0


def run_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """List the webhooks of a dataset."""

    async def work(repository: Repository) -> list[Json]:
        from lamella.jobs.webhooks import NAME
        from lamella.vcs.refs import find_dataset
        from lamella.vcs.subscriptions import list_subscriptions

        def read(connection: sa.Connection) -> list[Subscription]:
            owner = find_dataset(connection, _name_dataset(arguments))
            return list_subscriptions(connection, owner.id, NAME)

        return [_describe(one) for one in await repository.archive.database.read(read)]

    found = run_on_repository(settings, work)
    if arguments.json:
        print_json(found)
    elif found:
        print_table([(str(one["id"]), one["url"], one["branch"] or "all") for one in found])
    return 0


def run_remove(arguments: argparse.Namespace, settings: Settings) -> int:
    """Remove a webhook."""

    async def work(repository: Repository) -> Json:
        from lamella.vcs.refs import find_dataset
        from lamella.vcs.subscriptions import unsubscribe

        def write(connection: sa.Connection) -> Subscription:
            owner = find_dataset(connection, _name_dataset(arguments))
            return unsubscribe(connection, owner.id, arguments.id)

        return _describe(await repository.archive.database.write(write))

    gone = run_on_repository(settings, work)
    if arguments.json:
        print_json(gone)
    else:
        print_lines([f"Removed webhook {gone['id']}."])
    return 0


def _name_dataset(arguments: argparse.Namespace) -> str:
    return arguments.dataset or "default"


def _describe(found: Subscription) -> Json:
    return {"id": found.id, "url": found.arguments.get("url", ""), "branch": found.branch}

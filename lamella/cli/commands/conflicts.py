"""`conflicts list`, `accept`, `as-version` and `discard`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from lamella.cli.author import name_author
from lamella.cli.flags import Family, add_dataset_flag, add_json_flag, parse_count
from lamella.cli.output import print_json, print_lines
from lamella.cli.usage import UsageError
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from lamella.vcs.conflicts import ConflictRow
    from lamella.vcs.repository import Repository

Json = dict[str, Any]
_DETAIL = """\
list        what waits for a decision, with its ID (--resolved: what was decided)
accept      the instance takes the place of what the branch has under its UID, in whatever series
as-version  the instance is the next version of the one in its own series
discard     it is not wanted; the branch stays as it is

accept and as-version make one commit for each ID. A decision that is repeated changes nothing."""


def add_commands(family: Family) -> None:
    """Add the commands about conflicts."""
    parser = family.add_command(
        "conflicts",
        "list instances that were refused as conflicts, or decide about them",
        run_conflicts,
        detail=_DETAIL,
    )
    parser.add_argument(
        "action", nargs="?", choices=("list", "accept", "as-version", "discard"), default="list"
    )
    parser.add_argument("ids", metavar="ID", nargs="*", type=parse_count)
    parser.add_argument("-m", dest="message", metavar="MESSAGE", default="", help="of the commits")
    parser.add_argument("--resolved", action="store_true", help="list what was decided")
    add_dataset_flag(parser, "one dataset (all)")
    add_json_flag(parser)


def run_conflicts(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print the conflict queue, or decide about some of it."""
    is_list = arguments.action == "list"
    if is_list and (arguments.ids or arguments.message):
        raise UsageError("conflicts list takes no ID and no message.")
    if not is_list and (not arguments.ids or arguments.resolved):
        raise UsageError(f"conflicts {arguments.action} takes one ID or more.")
    work = _list if is_list else _resolve
    found = run_on_repository(settings, lambda repository: work(repository, arguments))
    if arguments.json:
        print_json(found)
        return 0
    for item in found:
        print_lines(_format(item))
    return 0


async def _list(repository: Repository, arguments: argparse.Namespace) -> list[Json]:
    from lamella.vcs.conflicts import list_conflicts

    def read(connection: sa.Connection) -> list[ConflictRow]:
        dataset_id = _find_dataset_id(connection, arguments)
        return list_conflicts(connection, dataset_id, is_resolved=arguments.resolved)

    return [one.describe() for one in await repository.archive.database.read(read)]


async def _resolve(repository: Repository, arguments: argparse.Namespace) -> list[Json]:
    from lamella.vcs.resolutions import Decision, Resolution, resolve_conflict

    dataset_id = await repository.archive.database.read(lambda c: _find_dataset_id(c, arguments))
    decision = Decision(Resolution(arguments.action), name_author(), arguments.message)
    return [
        (await resolve_conflict(repository, conflict_id, decision, dataset_id)).describe()
        for conflict_id in arguments.ids
    ]


def _find_dataset_id(connection: sa.Connection, arguments: argparse.Namespace) -> int | None:
    from lamella.vcs.refs import find_dataset

    return None if arguments.dataset is None else find_dataset(connection, arguments.dataset).id


def _format(item: Json) -> list[str]:
    path = f"{item['study']}/{item['series']}/{item['instance']}"
    lines = [
        f"{item['id']}  {item['time']}  {item['dataset']}@{item['branch']}  {path}",
        f"    {item['reason']}",
    ]
    if "resolution" in item:
        where = f" in {item['commit']}" if item["commit"] else ""
        lines.append(f"    {item['resolution']} by {item['author']}, {item['resolved']}{where}")
    return lines

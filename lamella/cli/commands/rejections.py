"""`rejections list` and `lift`."""

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

    from lamella.vcs.rejections import Rejection
    from lamella.vcs.repository import Repository

Json = dict[str, Any]
_DETAIL = """\
list  what rejection notes (IHE IOCM) rejected, with its ID, whether in force or lifted
lift  what a note hid can be seen again, and is back at the head of its branch, as one commit"""


def add_commands(family: Family) -> None:
    """Add the commands about rejections."""
    parser = family.add_command(
        "rejections", "list what was rejected, or lift a rejection", run_rejections, detail=_DETAIL
    )
    parser.add_argument("action", nargs="?", choices=("list", "lift"), default="list")
    parser.add_argument("ids", metavar="ID", nargs="*", type=parse_count)
    parser.add_argument("-m", dest="message", metavar="MESSAGE", default="", help="of the commits")
    add_dataset_flag(parser, "one dataset (all)")
    add_json_flag(parser)


def run_rejections(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print rejections, or lift some."""
    is_list = arguments.action == "list"
    if is_list and (arguments.ids or arguments.message):
        raise UsageError("rejections list takes no ID and no message.")
    if not is_list and not arguments.ids:
        raise UsageError("rejections lift takes one ID or more.")
    work = _list if is_list else _lift
    found = run_on_repository(settings, lambda repository: work(repository, arguments))
    if arguments.json:
        print_json(found)
        return 0
    for item in found:
        print_lines(_format(item))
    return 0


async def _list(repository: Repository, arguments: argparse.Namespace) -> list[Json]:
    from lamella.vcs.rejections import list_rejections

    def read(connection: sa.Connection) -> list[Rejection]:
        return list_rejections(connection, _find_dataset_id(connection, arguments))

    return [one.describe() for one in await repository.archive.database.read(read)]


async def _lift(repository: Repository, arguments: argparse.Namespace) -> list[Json]:
    from lamella.vcs.lifts import LiftRequest, lift_rejection

    dataset_id = await repository.archive.database.read(lambda c: _find_dataset_id(c, arguments))
    asked = LiftRequest(name_author(), arguments.message)
    return [
        (await lift_rejection(repository, rejection_id, asked, dataset_id)).describe()
        for rejection_id in arguments.ids
    ]


def _find_dataset_id(connection: sa.Connection, arguments: argparse.Namespace) -> int | None:
    from lamella.vcs.refs import find_dataset

    return None if arguments.dataset is None else find_dataset(connection, arguments.dataset).id


def _format(item: Json) -> list[str]:
    note, n_instances = item["note"], len(item["instances"])
    path = f"{note['study']}/{note['series']}/{note['instance']}"
    lines = [
        f"{item['id']}  {item['time']}  {item['dataset']}@{item['branch']}  {path}",
        f"    {item['code']} {item['meaning']}: {n_instances} hidden at {item['hides']}",
    ]
    if item["lifted"] is not None:
        lines.append(f"    lifted by {item['lifted']['author']}, {item['lifted']['time']}")
    return lines

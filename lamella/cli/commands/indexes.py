"""`index add`, `list` and `remove`: attributes that searches find by an index."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lamella.cli.flags import Family, add_dataset_flag, add_json_flag
from lamella.cli.output import print_json, print_lines, print_table
from lamella.cli.progress import show_count
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    from lamella.archive.attribute_index import AttributeIndex
    from lamella.archive.levels import Level
    from lamella.vcs.repository import Repository

LEVELS = ("study", "series", "instance")
_DETAIL = """ATTRIBUTE is a keyword, a tag, or a path of them through sequences, joined by dots; a
private tag has its creator in brackets: '00091001[ACME 1.1]'.
Works beside a running server, which goes on storing and searching meanwhile."""


def add_commands(family: Family) -> None:
    """Add the commands about indexes."""
    indexes = family.add_family(
        "index", "declare attributes that searches find by an index", "add|list|remove"
    )
    parser = indexes.add_command(
        "add",
        "index an attribute",
        run_add,
        detail=f"{_DETAIL}\nOne that was interrupted goes on where it was.",
    )
    _add_arguments(parser)
    parser = indexes.add_command("list", "list indexes", run_list)
    add_dataset_flag(parser, "of this dataset (default)")
    add_json_flag(parser)
    _add_arguments(indexes.add_command("remove", "remove an index", run_remove, detail=_DETAIL))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("attribute", metavar="ATTRIBUTE")
    add_dataset_flag(parser, "of this dataset (default)")
    parser.add_argument(
        "--level",
        choices=LEVELS,
        help="whose attribute: the level it belongs to, or instance for each instance's own",
    )
    add_json_flag(parser)


def run_add(arguments: argparse.Namespace, settings: Settings) -> int:
    """Declare an index, and build it to its end."""

    async def work(repository: Repository) -> AttributeIndex:
        from lamella.archive.attribute_index import parse_index
        from lamella.vcs.indexing import LEASE_US, declare_index, find_index, finish_index
        from lamella.vcs.refs import find_dataset

        database, name = repository.archive.database, _name_dataset(arguments)
        wanted = parse_index(arguments.attribute, _read_level(arguments))
        made = await database.write(lambda c: declare_index(c, name, wanted, LEASE_US))
        owner = await database.read(lambda c: find_dataset(c, name))
        with show_count(f"indexing {made.name}") as progress:
            await finish_index(repository, owner.id, made.id, progress)
        return await database.read(lambda c: find_index(c, owner.id, made.id))

    made = run_on_repository(settings, work)
    if arguments.json:
        print_json(made.describe())
    else:
        print_lines([f"Indexed {made.name} of {made.done} {_name_targets(made)}."])
    return 0


def run_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """List the indexes of a dataset."""

    async def work(repository: Repository) -> list[AttributeIndex]:
        from lamella.vcs.indexing import list_indexes

        return await repository.archive.database.read(
            lambda c: list_indexes(c, _name_dataset(arguments))
        )

    found = run_on_repository(settings, work)
    if arguments.json:
        print_json([index.describe() for index in found])
    elif found:
        print_table([(one.name, one.level.name.lower(), _show_state(one)) for one in found])
    return 0


def run_remove(arguments: argparse.Namespace, settings: Settings) -> int:
    """Remove an index with its entries."""

    async def work(repository: Repository) -> AttributeIndex:
        from lamella.archive.attribute_index import parse_index
        from lamella.errors import ResourceNotFound
        from lamella.vcs.indexing import LEASE_US, find_same, finish_index, withdraw_index
        from lamella.vcs.refs import find_dataset

        database, name = repository.archive.database, _name_dataset(arguments)
        wanted = parse_index(arguments.attribute, _read_level(arguments))
        owner = await database.read(lambda c: find_dataset(c, name))
        known = await database.read(lambda c: find_same(c, owner.id, wanted))
        if known is None:
            raise ResourceNotFound(f"There is no index of {wanted.name}.")
        await database.write(lambda c: withdraw_index(c, owner.id, known.id, LEASE_US))
        await finish_index(repository, owner.id, known.id)
        return known

    gone = run_on_repository(settings, work)
    if arguments.json:
        print_json(gone.describe())
    else:
        print_lines([f"Removed the index of {gone.name}."])
    return 0


def _name_dataset(arguments: argparse.Namespace) -> str:
    return arguments.dataset or "default"


def _read_level(arguments: argparse.Namespace) -> Level | None:
    from lamella.archive.levels import Level

    return Level[arguments.level.upper()] if arguments.level else None


def _name_targets(index: AttributeIndex) -> str:
    names = {"STUDY": "study rows", "SERIES": "series rows", "INSTANCE": "instances"}
    return names[index.level.name]


def _show_state(index: AttributeIndex) -> str:
    if index.state == "building":
        return f"building {index.done}/{index.total}"
    return index.state

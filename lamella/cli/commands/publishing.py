"""`publish`: an index beside the packs, for clients that have neither server nor database."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lamella.cli.flags import Family, add_dataset_flag, add_json_flag
from lamella.cli.output import print_json, print_lines
from lamella.cli.progress import show_progress
from lamella.cli.target import DEFAULT_DATASET, open_target, parse_target
from lamella.cli.usage import UsageError
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    from lamella.files.publisher import Publication
    from lamella.vcs import publications
    from lamella.vcs.repository import Repository


def add_commands(family: Family) -> None:
    """Add the command that publishes."""
    parser = family.add_command(
        "publish",
        "write an index of a revision beside the packs, which S3Client reads without a server",
        run_publish,
        detail=(
            "The index is published/DATASET/NAME.idx in the storage, in place of an older one of\n"
            "that name. The packs that it names are kept until it is withdrawn."
        ),
    )
    parser.add_argument("target", metavar="TARGET", nargs="?")
    parser.add_argument("--name", help="what the index is called (the revision as typed)")
    parser.add_argument("--list", action="store_true", help="list what is published of a dataset")
    parser.add_argument("--withdraw", metavar="NAME", help="remove a published index")
    add_dataset_flag(parser, "take TARGET as a revision of this dataset")
    add_json_flag(parser)


def run_publish(arguments: argparse.Namespace, settings: Settings) -> int:
    """Publish a revision, or list or withdraw what is published."""
    chosen = [arguments.target is not None, arguments.list, arguments.withdraw is not None]
    if sum(chosen) > 1 or (arguments.name and arguments.target is None):
        raise UsageError("publish takes a TARGET, --list or --withdraw NAME, one of them.")
    if arguments.list:
        return _list(arguments, settings)
    if arguments.withdraw is not None:
        return _withdraw(arguments, settings)
    target = parse_target(arguments.target, arguments.dataset)

    async def work(repository: Repository) -> Publication:
        from lamella.files.exporter import count_instances
        from lamella.files.publisher import publish
        from lamella.vcs.masks import read_shown

        view = await read_shown(repository, lambda c: open_target(c, repository, target))
        n_instances = await count_instances(repository, view)
        with show_progress("Publishing", n_instances, None) as progress:
            return await publish(
                repository, view, arguments.name or view.revision.text, progress.add_many
            )

    made = run_on_repository(settings, work)
    if arguments.json:
        print_json(made.describe())
    else:
        print_lines([str(made)])
    return 0


def _list(arguments: argparse.Namespace, settings: Settings) -> int:
    async def work(repository: Repository) -> list[publications.Publication]:
        from lamella.vcs.publications import list_publications
        from lamella.vcs.refs import find_dataset

        name = arguments.dataset or DEFAULT_DATASET
        return await repository.archive.database.read(
            lambda c: list_publications(c, find_dataset(c, name).id)
        )

    found = run_on_repository(settings, work)
    if arguments.json:
        print_json(
            [{"name": one.name, "commit": one.commit_id, "bytes": one.size_bytes} for one in found]
        )
    else:
        print_lines([f"{one.name} {one.commit_id} bytes={one.size_bytes}" for one in found])
    return 0


def _withdraw(arguments: argparse.Namespace, settings: Settings) -> int:
    async def work(repository: Repository) -> None:
        from lamella.files.publisher import withdraw
        from lamella.vcs.refs import find_dataset

        name = arguments.dataset or DEFAULT_DATASET
        owner = await repository.archive.database.read(lambda c: find_dataset(c, name))
        await withdraw(repository, owner, arguments.withdraw)

    run_on_repository(settings, work)
    if arguments.json:
        print_json({"withdrawn": arguments.withdraw})
    else:
        print_lines([f"Withdrew {arguments.withdraw}."])
    return 0

"""`branch` and `tag`, each with `create`, `list` and `delete`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lamella.cli.flags import Family, Run, add_dataset_flag, add_json_flag
from lamella.cli.output import print_json, print_lines, print_table
from lamella.cli.target import DEFAULT_DATASET, parse_ref, parse_target, resolve_target
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from lamella.vcs.refs import Ref
    from lamella.vcs.repository import Repository

_KINDS = (("branch", "branches"), ("tag", "tags"))


def add_commands(family: Family) -> None:
    """Add the commands about branches and tags."""
    for kind, plural in _KINDS:
        refs = family.add_family(kind, f"make, list and delete {plural}", "create|list|delete")
        parser = refs.add_command("create", f"make a {kind}", _bind(kind, run_create))
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("target", metavar="TARGET", nargs="?")
        add_dataset_flag(parser, "take TARGET as a revision of this dataset (default)")
        add_json_flag(parser)
        parser = refs.add_command("list", f"list {plural}", _bind(kind, run_list))
        parser.add_argument("dataset_name", metavar="DATASET", nargs="?")
        add_dataset_flag(parser, "the same")
        add_json_flag(parser)
        parser = refs.add_command(
            "delete", f"delete a {kind}; its commits stay", _bind(kind, run_delete)
        )
        parser.add_argument("name", metavar="NAME", help="NAME or DATASET@NAME")
        add_dataset_flag(parser, "the dataset (default)")


def run_create(arguments: argparse.Namespace, settings: Settings) -> int:
    """Make a branch or tag at a target, in the target's dataset."""
    target = parse_target(arguments.target, arguments.dataset)

    async def work(repository: Repository) -> Ref:
        from lamella.vcs.refs import create_ref

        def create(connection: sa.Connection) -> Ref:
            owner, commit_id = resolve_target(connection, target)
            return create_ref(connection, owner.id, arguments.kind, arguments.name, commit_id)

        return await repository.archive.database.write(create)

    made = run_on_repository(settings, work)
    if arguments.json:
        print_json(describe_ref(made))
    else:
        print_lines([f"Made {made.kind} {made.name} at {made.commit_id.hex()}."])
    return 0


def run_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """List branches or tags of a dataset by name."""
    name = arguments.dataset_name or arguments.dataset or DEFAULT_DATASET

    async def work(repository: Repository) -> list[Ref]:
        from lamella.vcs.refs import find_dataset, list_refs

        return await repository.archive.database.read(
            lambda c: list_refs(c, find_dataset(c, name).id, arguments.kind)
        )

    found = run_on_repository(settings, work)
    if arguments.json:
        print_json([describe_ref(ref) for ref in found])
    else:
        print_table([(ref.name, ref.commit_id.hex()) for ref in found])
    return 0


def run_delete(arguments: argparse.Namespace, settings: Settings) -> int:
    """Delete a branch or tag."""
    dataset, name = parse_ref(arguments.name, arguments.dataset)

    async def work(repository: Repository) -> None:
        from lamella.vcs.refs import delete_ref, find_dataset

        await repository.archive.database.write(
            lambda c: delete_ref(c, find_dataset(c, dataset).id, arguments.kind, name)
        )

    run_on_repository(settings, work)
    print_lines([f"Deleted {arguments.kind} {name} of {dataset}."])
    return 0


def describe_ref(ref: Ref) -> dict[str, str]:
    """Return a branch or tag as `--json` shows it."""
    from lamella.vcs.commit_object import format_time

    return {
        "name": ref.name,
        "commit": ref.commit_id.hex(),
        "created": format_time(ref.created_us),
    }


def _bind(kind: str, run: Run) -> Run:
    def bound(arguments: argparse.Namespace, settings: Settings) -> int:
        arguments.kind = kind
        return run(arguments, settings)

    return bound

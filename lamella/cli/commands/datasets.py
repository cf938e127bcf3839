"""`dataset create`, `list`, `set` and `delete`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lamella.cli.flags import Family, add_json_flag
from lamella.cli.output import print_json, print_lines, print_table
from lamella.cli.usage import UsageError
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    from lamella.vcs.refs import DatasetRow
    from lamella.vcs.repository import Repository


def add_commands(family: Family) -> None:
    """Add the commands about datasets."""
    datasets = family.add_family(
        "dataset", "make, list, change and delete datasets", "create|list|set|delete"
    )
    parser = datasets.add_command("create", "make a dataset", run_create)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--default-branch", metavar="BRANCH", default="main", help="its first branch (main)"
    )
    parser.add_argument(
        "--duplicates",
        choices=("version", "replace", "reject"),
        default="version",
        help="what a store under a known UID does (version)",
    )
    add_json_flag(parser)
    add_json_flag(datasets.add_command("list", "list datasets", run_list))
    parser = datasets.add_command("set", "change a dataset's policies", run_set)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "policy",
        metavar="POLICY=VALUE",
        help="duplicates=version|replace|reject, or coercion=RULES: JSON, @FILE, or nothing",
    )
    add_json_flag(parser)
    parser = datasets.add_command("delete", "delete a dataset with all of its history", run_delete)
    parser.add_argument("name", metavar="NAME")


def run_create(arguments: argparse.Namespace, settings: Settings) -> int:
    """Make a dataset."""

    async def work(repository: Repository) -> DatasetRow:
        from lamella.vcs.datasets import create_dataset

        return await repository.archive.database.write(
            lambda c: create_dataset(
                c,
                arguments.name,
                default_branch=arguments.default_branch,
                duplicates=arguments.duplicates,
            )
        )

    made = run_on_repository(settings, work)
    if arguments.json:
        print_json(describe_dataset(made))
    else:
        print_lines([f"Made dataset {made.name} with branch {made.default_branch}."])
    return 0


def run_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """List datasets by name."""

    async def work(repository: Repository) -> list[DatasetRow]:
        from lamella.vcs.refs import list_datasets

        return await repository.archive.database.read(list_datasets)

    found = run_on_repository(settings, work)
    if arguments.json:
        print_json([describe_dataset(row) for row in found])
    else:
        print_table([(row.name, row.default_branch, row.duplicates) for row in found])
    return 0


def run_set(arguments: argparse.Namespace, settings: Settings) -> int:
    """Change one of a dataset's policies."""
    policy, mark, value = arguments.policy.partition("=")
    if policy not in ("duplicates", "coercion") or not mark:
        raise UsageError(
            f"{arguments.policy!r} is no policy: write duplicates=VALUE or coercion=RULES."
        )
    if policy == "coercion" and value.startswith("@"):
        value = _read_rules(Path(value[1:]))

    async def work(repository: Repository) -> DatasetRow:
        from lamella.vcs.policies import set_coercion, set_duplicates

        change = set_coercion if policy == "coercion" else set_duplicates
        return await repository.archive.database.write(lambda c: change(c, arguments.name, value))

    changed = run_on_repository(settings, work)
    if arguments.json:
        print_json(describe_dataset(changed))
    else:
        rules = changed.coercion or "none"
        print_lines([f"Dataset {changed.name}: duplicates={changed.duplicates}, coercion={rules}"])
    return 0


def _read_rules(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read.") from error


def run_delete(arguments: argparse.Namespace, settings: Settings) -> int:
    """Delete a dataset."""

    async def work(repository: Repository) -> None:
        from lamella.vcs.datasets import delete_dataset

        await repository.archive.database.write(lambda c: delete_dataset(c, arguments.name))

    run_on_repository(settings, work)
    print_lines([f"Deleted dataset {arguments.name}."])
    return 0


def describe_dataset(row: DatasetRow) -> dict[str, object]:
    """Return a dataset as `--json` shows it."""
    from lamella.vcs.coercion_rules import describe_policy
    from lamella.vcs.commit_object import format_time

    return {
        "name": row.name,
        "default_branch": row.default_branch,
        "duplicates": row.duplicates,
        "coercion": describe_policy(row.coercion),
        "created": format_time(row.created_us),
    }

"""`log`, `show` and `diff`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lamella.cli.flags import Family, add_dataset_flag, add_json_flag, parse_count
from lamella.cli.output import print_json, print_lines
from lamella.cli.target import open_target, parse_target, resolve_target
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from lamella.vcs.repository import Repository

Json = dict[str, Any]
_REVISION_HELP = "take targets as revisions of this dataset"


def add_commands(family: Family) -> None:
    """Add the commands that read history."""
    parser = family.add_command("log", "list commits, newest first", run_log)
    parser.add_argument("target", metavar="TARGET", nargs="?")
    parser.add_argument("-n", dest="limit", metavar="N", type=parse_count, help="at most N commits")
    add_dataset_flag(parser, _REVISION_HELP)
    add_json_flag(parser)

    parser = family.add_command("show", "show a commit and what it changed", run_show)
    parser.add_argument("target", metavar="TARGET")
    add_dataset_flag(parser, _REVISION_HELP)
    add_json_flag(parser)

    parser = family.add_command("diff", "list what differs between two revisions", run_diff)
    parser.add_argument("old", metavar="TARGET")
    parser.add_argument("new", metavar="TARGET")
    add_dataset_flag(parser, _REVISION_HELP)
    add_json_flag(parser)


def run_log(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print the commits of a target along first parents."""
    target = parse_target(arguments.target, arguments.dataset)

    async def work(repository: Repository) -> list[Json]:
        from lamella.vcs.log import read_log

        def read(connection: sa.Connection) -> list[Json]:
            owner, commit_id = resolve_target(connection, target)
            return read_log(connection, owner.id, commit_id, arguments.limit)

        return await repository.archive.database.read(read)

    commits = run_on_repository(settings, work)
    if arguments.json:
        print_json(commits)
        return 0
    for position, commit in enumerate(commits):
        print_lines([""] if position else [])
        print_lines(_format_commit(commit))
    return 0


def run_show(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print one commit and its difference from its first parent."""
    target = parse_target(arguments.target, arguments.dataset)

    async def work(repository: Repository) -> Json:
        from lamella.vcs.differences import describe_commit
        from lamella.vcs.masks import read_shown

        view = await read_shown(repository, lambda c: open_target(c, repository, target))
        return await describe_commit(repository, view)

    commit = run_on_repository(settings, work)
    if arguments.json:
        print_json(commit)
        return 0
    print_lines(_format_commit(commit))
    print_lines([""])
    print_lines(_format_diff(commit["changes"]))
    return 0


def run_diff(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print what differs between two targets."""
    targets = [parse_target(text, arguments.dataset) for text in (arguments.old, arguments.new)]

    async def work(repository: Repository) -> Json:
        from lamella.vcs.differences import describe_differences
        from lamella.vcs.masks import read_shown

        old, new = await read_shown(
            repository, lambda c: [open_target(c, repository, target) for target in targets]
        )
        return await describe_differences(repository, old, new)

    diff = run_on_repository(settings, work)
    if arguments.json:
        print_json(diff)
    else:
        print_lines(_format_diff(diff))
    return 0


def _format_commit(commit: Json) -> list[str]:
    lines = [f"commit {commit['id']}"]
    if len(commit["parents"]) > 1:
        lines.append(f"Merge:  {' '.join(parent[:12] for parent in commit['parents'])}")
    lines += [
        f"Author: {commit['author']}",
        f"Date:   {commit['time']}",
        f"Kind:   {commit['kind']}",
        "",
    ]
    return lines + [f"    {line}" for line in str(commit["message"]).splitlines() or [""]]


def _format_diff(diff: Json) -> Iterator[str]:
    for mark, name in (("A", "added"), ("D", "removed"), ("M", "changed")):
        for item in diff[name]:
            words = [*item.get("attributes", ()), *(["(bulk data)"] if item.get("bulk") else [])]
            path = f"{item['study']}/{item['series']}/{item['instance']}"
            yield f"{mark} {path} {' '.join(words)}".rstrip()

"""`backup` and `restore`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lamella.cli.flags import Family, add_json_flag
from lamella.cli.output import print_json, print_lines, remark
from lamella.cli.progress import is_watched
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    from lamella.upkeep.backup import Saved
    from lamella.upkeep.report import Report
    from lamella.vcs.repository import Repository


def add_commands(family: Family) -> None:
    """Add the commands that copy an installation away and back."""
    parser = family.add_command(
        "backup",
        "copy the installation into a folder; again into the same one: only what is new",
        run_backup,
        detail="Works beside running servers. What it made is an installation itself, which\n"
        "fsck has looked at when it is done.",
    )
    parser.add_argument("folder", metavar="DEST", type=Path)
    _add_options(parser)
    parser = family.add_command(
        "restore",
        "make an installation of a backup",
        run_restore,
        detail="The database that the settings name must be empty, or not there.",
    )
    parser.add_argument("folder", metavar="SRC", type=Path)
    _add_options(parser)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bytes", action="store_true", help="let fsck read all bytes, too")
    add_json_flag(parser)


def run_backup(arguments: argparse.Namespace, settings: Settings) -> int:
    """Copy the installation away, and check the copy."""

    async def work(repository: Repository) -> Saved:
        from lamella.upkeep.backup import back_up

        return await back_up(repository.archive, arguments.folder.absolute(), _show)

    saved = run_on_repository(settings, work)
    copy = Settings(data_dir=arguments.folder.absolute(), log_level=settings.log_level)
    return _conclude(arguments, saved.describe(), copy)


def run_restore(arguments: argparse.Namespace, settings: Settings) -> int:
    """Make an installation of a backup, and check it."""
    from lamella.upkeep.restoring import restore

    restored = asyncio.run(restore(settings, arguments.folder, _show))
    return _conclude(arguments, restored.describe(), settings)


def _conclude(arguments: argparse.Namespace, done: dict[str, int], settings: Settings) -> int:
    """Check what was made; print what was done, and how many problems there are."""

    async def examine(repository: Repository) -> Report:
        from lamella.upkeep.fsck import check

        return await check(repository, bytes=arguments.bytes)

    report = run_on_repository(settings, examine)
    if is_watched():
        sys.stderr.write("\r\x1b[K")
    for finding in report.findings:
        if finding.is_problem:
            remark(f"{finding.kind} {finding.name}: {finding.sentence}")
    found = {**done, "problems": len(report.problems) + report.omitted_problems}
    if arguments.json:
        print_json(found)
    else:
        print_lines([" ".join(f"{name}={value}" for name, value in found.items())])
    return 1 if report.problems else 0


def _show(what: str, done: int, total: int) -> None:
    if is_watched():
        sys.stderr.write(f"\r\x1b[K{what}: {done}/{total}")
        sys.stderr.flush()

"""`migrate`, `fsck`, `gc`, `doctor` and `version`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from lamella.cli.flags import Family, add_json_flag, parse_time
from lamella.cli.output import print_json, print_lines
from lamella.cli.progress import is_watched
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    from lamella.upkeep.report import Finding, Report
    from lamella.vcs.repository import Repository


DAY_S = 86_400


def add_commands(family: Family) -> None:
    """Add the commands that look after a node."""
    parser = family.add_command(
        "migrate",
        "bring the database to this version's schema, or move it to a server",
        run_migrate,
        detail="With --to, no server may run on the data folder; packs stay where they are.",
    )
    parser.add_argument(
        "--to", metavar="URL", help="postgresql://… of an empty database that takes all rows"
    )

    parser = family.add_command(
        "fsck",
        "check that what is stored is whole and agrees with itself",
        run_fsck,
        detail="Works beside a running server. Exits 1 if something is wrong.",
    )
    parser.add_argument("--bytes", action="store_true", help="read all stored bytes, too")
    parser.add_argument("--repair", action="store_true", help="make what is derived again")
    add_json_flag(parser)

    parser = family.add_command(
        "gc",
        "give back the room of bytes that nothing uses",
        run_gc,
        detail="Works beside a running server, but not while a backup is made.",
    )
    parser.add_argument("--dry-run", action="store_true", help="only count what would go")
    parser.add_argument(
        "--repack", action="store_true", help="write small and half-empty packs into large ones"
    )
    parser.add_argument(
        "--older-than",
        metavar="TIME",
        type=parse_time,
        default=DAY_S,
        help="leave alone what is younger, such as 36h or 7d (24h; an hour at least)",
    )
    add_json_flag(parser)

    parser = family.add_command(
        "doctor", "check that this machine and these settings will do", run_doctor, serves=True
    )
    add_json_flag(parser)
    add_json_flag(family.add_command("version", "print the version", run_version))


def run_migrate(arguments: argparse.Namespace, settings: Settings) -> int:
    """Migrate the database; opening it does so. Print the schema's revision."""
    if arguments.to:
        return _move_database(settings, arguments.to)

    async def work(repository: Repository) -> str | None:
        from lamella.archive.migration import read_schema_revision

        return await repository.archive.database.read(read_schema_revision)

    print_lines([str(run_on_repository(settings, work))])
    return 0


def _move_database(settings: Settings, url: str) -> int:
    """Move the database to a server; print how many rows went."""
    from lamella.upkeep.relocation import move_database

    progress = _show_rows if is_watched() else _show_no_rows
    copied = asyncio.run(move_database(settings, url, progress))
    if is_watched():
        _clear_line()
    print_lines([f"tables={len(copied)} rows={sum(copied.values())}"])
    sys.stderr.write("Set LAMELLA_DATABASE_URL to the new URL, and run `lamella fsck`.\n")
    return 0


def run_fsck(arguments: argparse.Namespace, settings: Settings) -> int:
    """Check the installation, and mend what is derived if asked."""
    progress = _show_check if is_watched() else _show_nothing

    async def work(repository: Repository) -> Report:
        from lamella.upkeep.fsck import check

        return await check(
            repository, bytes=arguments.bytes, repair=arguments.repair, progress=progress
        )

    report = run_on_repository(settings, work)
    if is_watched():
        _clear_line()
    if arguments.json:
        print_json(report.to_json())
    else:
        print_lines(_format_finding(finding) for finding in report.findings)
        found = report.to_json()
        print_lines([f"problems={found['problems']} repaired={found['repaired']}"])
    return 1 if report.problems else 0


def run_gc(arguments: argparse.Namespace, settings: Settings) -> int:
    """Give back the room of bytes that nothing uses; print how much that was."""
    progress = _show_check if is_watched() else _show_nothing

    async def work(repository: Repository) -> dict[str, int]:
        from lamella.upkeep.gc import collect
        from lamella.upkeep.repack import repack

        archive, age_s, dry_run = repository.archive, arguments.older_than, arguments.dry_run
        collected = await collect(archive, older_than_s=age_s, dry_run=dry_run, progress=progress)
        if not arguments.repack:
            return collected.describe()
        repacked = await repack(archive, older_than_s=age_s, dry_run=dry_run, progress=progress)
        return collected.describe() | repacked.describe()

    found = run_on_repository(settings, work)
    if is_watched():
        _clear_line()
    if arguments.json:
        print_json(found)
    else:
        print_lines([" ".join(f"{name}={value}" for name, value in found.items())])
    return 0


def run_doctor(arguments: argparse.Namespace, settings: Settings) -> int:
    """Check the machine and the settings."""
    from lamella.upkeep.doctor import examine

    results = asyncio.run(examine(settings))
    if arguments.json:
        print_json(
            [
                {"name": result.name, "status": str(result.status), "sentence": result.sentence}
                for result in results
            ]
        )
    else:
        print_lines(f"{result.status!s:4}  {result.name}: {result.sentence}" for result in results)
    return 1 if any(str(result.status) == "fail" for result in results) else 0


def run_version(arguments: argparse.Namespace, _settings: Settings) -> int:
    """Print the version."""
    from importlib.metadata import version

    number = version("lamella")
    if arguments.json:
        print_json({"version": number})
    else:
        print_lines([f"lamella {number}"])
    return 0


def _format_finding(finding: Finding) -> str:
    mark = "repaired" if finding.repaired else "problem" if finding.is_problem else "note"
    return f"{mark}: {finding.kind} {finding.name}: {finding.sentence}"


def _show_check(name: str, count: int) -> None:
    sys.stderr.write(f"\r\x1b[K{name}: {count}")
    sys.stderr.flush()


def _show_rows(table: str, n_copied: int, n_rows: int) -> None:
    sys.stderr.write(f"\r\x1b[K{table}: {n_copied}/{n_rows}")
    sys.stderr.flush()


def _show_no_rows(_table: str, _n_copied: int, _n_rows: int) -> None:
    return


def _show_nothing(_name: str, _count: int) -> None:
    return


def _clear_line() -> None:
    sys.stderr.write("\r\x1b[K")

"""`jobs list`, `show`, `cancel` and `retry`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lamella.cli.flags import Family, add_json_flag, parse_count
from lamella.cli.output import print_json, print_lines, print_table
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from lamella.archive.outbox import Job
    from lamella.vcs.repository import Repository

Json = dict[str, Any]
STATES = ("waiting", "running", "done", "dead", "cancelled")


def add_commands(family: Family) -> None:
    """Add the commands about work in the background."""
    jobs = family.add_family("jobs", "see and steer work in the background", "list|show|…")
    parser = jobs.add_command("list", "list jobs, newest first", run_list)
    parser.add_argument("--state", choices=STATES, help="only these")
    parser.add_argument("--kind", metavar="KIND", help="only of this kind")
    parser.add_argument("-n", dest="limit", metavar="N", type=parse_count, default=20)
    add_json_flag(parser)
    _add_command(jobs, "show", "show a job", run_show)
    _add_command(jobs, "cancel", "cancel a job; one that runs ends as soon as it can", run_cancel)
    _add_command(jobs, "retry", "let a job that failed or waits begin now", run_retry)


def _add_command(
    jobs: Family, name: str, summary: str, run: Callable[[argparse.Namespace, Settings], int]
) -> None:
    parser = jobs.add_command(name, summary, run)
    parser.add_argument("id", metavar="ID", type=parse_count)
    add_json_flag(parser)


def run_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print jobs, newest first."""

    async def work(repository: Repository) -> list[Json]:
        from lamella.archive.outbox import State, list_jobs
        from lamella.vcs.work import describe_job

        state = State(arguments.state) if arguments.state else None
        found = await repository.archive.database.read(
            lambda c: list_jobs(c, state=state, kind=arguments.kind, limit=arguments.limit)
        )
        return [describe_job(job) for job in found]

    found = run_on_repository(settings, work)
    if arguments.json:
        print_json(found)
    elif found:
        print_table([_list_cells(job) for job in found])
    return 0


def run_show(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print one job."""

    async def work(repository: Repository) -> Json:
        from lamella.archive.outbox import find_job
        from lamella.vcs.work import describe_job

        read = repository.archive.database.read
        return describe_job(await read(lambda c: find_job(c, arguments.id)))

    return _print(arguments, run_on_repository(settings, work))


def run_cancel(arguments: argparse.Namespace, settings: Settings) -> int:
    """Cancel a job."""
    from lamella.archive.outbox import cancel

    return _change(arguments, settings, cancel)


def run_retry(arguments: argparse.Namespace, settings: Settings) -> int:
    """Let a job begin now."""
    from lamella.archive.outbox import retry

    return _change(arguments, settings, retry)


def _change(
    arguments: argparse.Namespace,
    settings: Settings,
    change: Callable[[sa.Connection, int], Job],
) -> int:
    async def work(repository: Repository) -> Json:
        from lamella.vcs.work import describe_job

        write = repository.archive.database.write
        return describe_job(await write(lambda c: change(c, arguments.id)))

    return _print(arguments, run_on_repository(settings, work))


def _print(arguments: argparse.Namespace, job: Json) -> int:
    if arguments.json:
        print_json(job)
    else:
        shown = ((name, value) for name, value in job.items() if value not in (None, "", {}))
        print_lines(f"{name}: {value}" for name, value in shown)
    return 0


def _list_cells(job: Json) -> list[str]:
    total = "" if job["total"] is None else f"/{job['total']}"
    said = job["error"] if job["state"] in ("dead", "waiting") else job["note"]
    done = f"{job['done']}{total}"
    return [str(job["id"]), job["kind"], job["state"], done, job["created"], said]

"""`serve`, `worker` and `demo`."""

from __future__ import annotations

import argparse

from lamella.cli.flags import Family, parse_count
from lamella.settings import Settings


def add_commands(family: Family) -> None:
    """Add the commands that run a server."""
    family.add_command(
        "serve",
        "run the archive: HTTP and DIMSE until it is stopped",
        run_serve,
        serves=True,
        detail="Prints `lamella ready http=… dimse=… aet=…` once both doors accept connections.",
    )
    parser = family.add_command(
        "worker",
        "do work in the background until it is stopped, beside servers",
        run_worker,
        serves=True,
        detail="Prints `lamella worker ready` once it works. Jobs come by Redis if\n"
        "LAMELLA_REDIS_URL is set, else from the database.",
    )
    parser.add_argument(
        "--jobs", metavar="N", type=parse_count, default=2, help="jobs at a time (2)"
    )
    family.add_command(
        "demo", "serve from a throw-away folder with a few studies in it", run_demo, serves=True
    )


def run_serve(_arguments: argparse.Namespace, settings: Settings) -> int:
    """Run the server until it is told to stop."""
    from lamella.app.server import run_server

    return run_server(settings)


def run_worker(arguments: argparse.Namespace, settings: Settings) -> int:
    """Do work in the background until it is told to stop."""
    from lamella.app.job_worker import run_worker as run

    return run(settings, arguments.jobs)


def run_demo(_arguments: argparse.Namespace, settings: Settings) -> int:
    """Run the demonstration."""
    from lamella.app.demo import run_demo as run

    return run(settings)

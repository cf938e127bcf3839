"""`serve` and `demo`."""

from __future__ import annotations

import argparse

from lamella.cli.flags import Family
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
    family.add_command(
        "demo", "serve from a throw-away folder with a few studies in it", run_demo, serves=True
    )


def run_serve(_arguments: argparse.Namespace, settings: Settings) -> int:
    """Run the server until it is told to stop."""
    from lamella.app.server import run_server

    return run_server(settings)


def run_demo(_arguments: argparse.Namespace, settings: Settings) -> int:
    """Run the demonstration."""
    from lamella.app.demo import run_demo as run

    return run(settings)

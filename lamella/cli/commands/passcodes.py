"""`passcode`: lines of the file of users at the DIMSE door."""

from __future__ import annotations

import argparse
import getpass
import sys

from lamella.cli.flags import Family
from lamella.cli.usage import UsageError
from lamella.settings import Settings


def add_commands(family: Family) -> None:
    """Add the command."""
    parser = family.add_command(
        "passcode",
        "make a line for the file of LAMELLA_DIMSE_USERS",
        run_passcode,
        detail="The passcode is read from the terminal, or one line from stdin.",
    )
    parser.add_argument("name", metavar="NAME", help="the user's name")


def run_passcode(arguments: argparse.Namespace, _settings: Settings) -> int:
    """Read a passcode and print the line that stands for it."""
    from lamella.dimse_gateway.identity import hash_passcode

    if ":" in arguments.name or arguments.name.startswith("#") or not arguments.name.strip():
        raise UsageError("A user's name is not empty, has no colon and begins with no #.")
    passcode = _read_passcode()
    if not passcode:
        raise UsageError("A passcode is not empty.")
    print(f"{arguments.name.strip()}:{hash_passcode(passcode)}")
    return 0


def _read_passcode() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("Passcode: ")
    return sys.stdin.readline().rstrip("\n")

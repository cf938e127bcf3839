"""The entry point: parses the command line, runs a command, turns errors into one sentence.

Exit status: 0 done, 1 the command failed or found problems, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version

from lamella.cli.commands import (
    backups,
    conflicts,
    conformance,
    datasets,
    deid,
    exchange,
    forwarding,
    history,
    indexes,
    jobs,
    network,
    passcodes,
    publishing,
    refs,
    rejections,
    serving,
    transfer,
    upkeep,
    webhooks,
)
from lamella.cli.flags import Family, Parser, add_settings_flags, read_settings_flags
from lamella.cli.usage import UsageError
from lamella.errors import InvalidRequest, LamellaError
from lamella.settings import load_settings

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
_GROUPS = (
    serving,
    transfer,
    publishing,
    datasets,
    indexes,
    network,
    exchange,
    forwarding,
    refs,
    history,
    conflicts,
    rejections,
    deid,
    jobs,
    webhooks,
    passcodes,
    upkeep,
    backups,
    conformance,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: The arguments without the program's name; those of the process when None.
    """
    arguments = build_parser().parse_args(argv)
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        return _leave_broken_pipe()
    except KeyboardInterrupt:
        print("lamella: Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except LamellaError as error:
        _show_traceback(arguments)
        print(f"lamella: {_make_line(error.detail)}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, UsageError) else FAILED
    except Exception as error:  # noqa: BLE001 - the last resort: a sentence, never a traceback
        _show_traceback(arguments)
        print(
            f"lamella: An unexpected error ({type(error).__name__}) stopped the command; "
            "run it with --debug for the traceback.",
            file=sys.stderr,
        )
        return FAILED


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="lamella",
        description="A DICOMweb-first imaging archive with versioning.",
        epilog="A TARGET is DATASET@REVISION, a DATASET, or a REVISION of dataset default.",
    )
    parser.add_argument("--version", action="version", version=f"lamella {version('lamella')}")
    add_settings_flags(parser, serves=False)
    family = Family(parser)
    for group in _GROUPS:
        group.add_commands(family)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    try:
        settings = load_settings(read_settings_flags(arguments))
    except InvalidRequest as error:
        raise UsageError(error.detail) from error
    if _is_debug(arguments):
        logging.basicConfig(level=logging.DEBUG)
    return int(arguments.run(arguments, settings))


def _is_debug(arguments: argparse.Namespace) -> bool:
    level = getattr(arguments, "log_level", None) or os.environ.get("LAMELLA_LOG_LEVEL", "")
    return getattr(arguments, "debug", False) or level.lower() == "debug"


def _show_traceback(arguments: argparse.Namespace) -> None:
    if _is_debug(arguments):
        traceback.print_exc()


def _make_line(text: str) -> str:
    return " ".join(text.split()) or "The command failed."


def _leave_broken_pipe() -> int:
    """Let nobody flush to a reader that is gone (`lamella log | head`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED

"""`conformance URL`: examine any DICOMweb server. `conformance statement`: Lamella's own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lamella.cli.flags import Family
from lamella.cli.output import print_lines
from lamella.cli.progress import is_watched
from lamella.cli.usage import UsageError
from lamella.settings import Settings

if TYPE_CHECKING:
    from lamella.conformance.campaign import Record, Result

STATEMENT = "statement"
_FORMATS = ("markdown", "html")
_REPORTS = (("json", "JSON"), ("junit", "JUnit XML"), ("html", "HTML"), ("md", "Markdown"))


def add_commands(family: Family) -> None:
    """Add the command."""
    parser = family.add_command(
        "conformance",
        "examine a DICOMweb server, any server; or print Lamella's statement",
        run_conformance,
        detail=(
            "Stores samples of its own, under UIDs that nobody else has, and deletes them at the\n"
            "end if the server can. Exits 1 if the server does not do what the standard demands.\n"
            "\n'lamella conformance statement' prints the DICOM Conformance Statement of this\n"
            "version, with the sections of PS3.2 Annex N."
        ),
    )
    parser.add_argument(
        "url", metavar="URL", help=f"DICOMweb root, as http://host/dicom-web; or {STATEMENT}"
    )
    _add_statement(parser)
    _add_choices(parser)
    _add_reports(parser)


def run_conformance(arguments: argparse.Namespace, _settings: Settings) -> int:
    """Examine a server; print a table; write reports. Or write the statement."""
    if arguments.url == STATEMENT:
        return _write_statement(arguments)
    if arguments.format is not None or arguments.output is not None:
        raise UsageError(f"--format and --output are of 'lamella conformance {STATEMENT}'.")
    from lamella.conformance import reports
    from lamella.conformance.catalogue import list_checks

    checks = list_checks(arguments.only)
    if not checks:
        raise UsageError(f"No check fits {' or '.join(arguments.only)}; --list shows them all.")
    if arguments.list:
        reports.print_checks(checks)
        return 0
    paths = _list_reports(arguments)
    record = _examine(arguments)
    reports.print_record(record, verbose=arguments.verbose)
    for kind, path in paths.items():
        path.write_text(reports.WRITERS[kind](record), encoding="utf-8")
    return 0 if record.is_conformant else 1


def _write_statement(arguments: argparse.Namespace) -> int:
    from lamella.cli.statement.statement import build_statement
    from lamella.cli.statement.writers import WRITERS

    text = WRITERS[arguments.format or _FORMATS[0]](build_statement())
    if arguments.output is None:
        print_lines(text.splitlines())
        return 0
    _check_file(arguments.output)
    arguments.output.write_text(text, encoding="utf-8")
    return 0


def _list_reports(arguments: argparse.Namespace) -> dict[str, Path]:
    """Return which reports go where; refuse before the run what cannot be written after it."""
    asked = {kind: getattr(arguments, kind) for kind, _ in _REPORTS}
    paths = {kind: path for kind, path in asked.items() if path is not None}
    for path in paths.values():
        _check_file(path)
    return paths


def _check_file(path: Path) -> None:
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{path} is no file that can be written.")


def _add_statement(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(STATEMENT)
    group.add_argument("--format", choices=_FORMATS, help=f"({_FORMATS[0]})")
    group.add_argument("--output", type=Path, metavar="FILE", help="(stdout)")


def _add_choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="checks whose id, group or level fits (repeatable; * and ?)",
    )
    parser.add_argument("--read-only", action="store_true", help="store nothing, delete nothing")
    parser.add_argument("--keep", action="store_true", help="leave the samples on the server")
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="send a header field, such as Authorization (repeatable)",
    )
    parser.add_argument("--uri-service", metavar="URL", help="WADO-URI service (URL/wado)")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="(60)")


def _add_reports(parser: argparse.ArgumentParser) -> None:
    for kind, text in _REPORTS:
        parser.add_argument(f"--{kind}", type=Path, metavar="FILE", help=f"write {text}")
    parser.add_argument("--list", action="store_true", help="list the checks, ask no server")
    parser.add_argument(
        "--verbose", action="store_true", help="show every check, not failures alone"
    )


def _examine(arguments: argparse.Namespace) -> Record:
    from lamella.conformance.campaign import run_campaign
    from lamella.conformance.catalogue import list_checks
    from lamella.conformance.client import Client
    from lamella.conformance.probe import Probe
    from lamella.conformance.samples import SampleSet

    client = Client(_read_headers(arguments.header), arguments.timeout)
    run = None if arguments.read_only else SampleSet()
    probe = Probe(_check_url(arguments.url), client, run, arguments.uri_service)
    watch = _show if is_watched() else None
    try:
        checks = list_checks(arguments.only)
        return run_campaign(probe, checks, keep=arguments.keep, watch=watch)
    finally:
        client.close()
        if watch is not None:
            sys.stderr.write("\r\x1b[K")


def _show(result: Result) -> None:
    sys.stderr.write(f"\r\x1b[K{result.check.id}")
    sys.stderr.flush()


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise UsageError(f"{url} is no URL of a DICOMweb root, such as http://host/dicom-web.")
    return url


def _read_headers(lines: list[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise UsageError(f"--header takes 'Name: value', not {line!r}.")
        headers[name.strip()] = value.strip()
    return headers

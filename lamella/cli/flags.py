"""Flags that every command takes, and the family of parsers that share them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Container
from typing import Any, NoReturn, cast

from lamella.errors import InvalidRequest
from lamella.settings import Settings, parse_duration

Run = Callable[[argparse.Namespace, Settings], int]

STORAGE_FLAGS = (
    ("data_dir", "FOLDER", "where the embedded default keeps everything (./lamella-data)"),
    ("database_url", "URL", "sqlite:///… or postgresql://… (SQLite in the data folder)"),
    ("storage_url", "URL", "file:///… or s3://BUCKET/PREFIX (a folder in the data folder)"),
    ("s3_endpoint_url", "URL", "of an S3-compatible store (AWS)"),
    ("s3_cache", "SIZE", "how much of S3's packs to keep in the data folder (4GiB)"),
    ("max_instance", "SIZE", "longest instance, such as 500MB (no bound)"),
    ("deid_dir", "FOLDER", "where keys and maps of de-identification are (DATA_DIR/deid)"),
    ("log_level", "LEVEL", "debug, info, warning or error (info)"),
)
SERVER_FLAGS = (
    ("http", "HOST:PORT", "HTTP bind (127.0.0.1:8042)"),
    ("dimse", "HOST:PORT", "DIMSE bind, or off (127.0.0.1:11112)"),
    ("aet", "TITLE", "AE title of default@main (LAMELLA)"),
    ("workers", "N", "HTTP worker processes (1)"),
    ("dimse_processes", "N", "DIMSE processes (1)"),
    ("dimse_associations", "N", "associations at a time, of all DIMSE processes (250)"),
    ("dimse_peer_associations", "N", "the same of one address (no bound)"),
    ("dimse_peer_rate", "N", "association requests a minute of one address (no bound)"),
    ("dimse_timeout", "SECONDS", "silence after which an association is aborted (60)"),
    ("dimse_transfer_syntaxes", "UIDS", "private transfer syntaxes that C-STORE takes (none)"),
    ("dimse_tls_cert", "FILE", "certificate of the DIMSE door: associations need TLS (none)"),
    ("dimse_tls_key", "FILE", "its private key (in the certificate's file)"),
    ("dimse_tls_ca", "FILE", "certificates that peers' have to be signed by (no peer needs one)"),
    ("dimse_users", "FILE", "users of peers, by lines of `lamella passcode` (not asked for)"),
    ("dimse_jwt", "FILE", "secret or JWK Set of the tokens of peers' users (not asked for)"),
    ("dimse_jwt_audience", "NAME", "whom these tokens have to be for (anybody)"),
    ("auth", "KIND", "none, token or oidc (none)"),
    ("public_url", "URL", "base of every absolute URL that is emitted"),
    ("trusted_proxies", "HOSTS", "peers whose X-Forwarded-* headers are believed"),
    ("cors_origins", "ORIGINS", "whose pages may read answers: off, local, * or a list (local)"),
    ("max_request", "SIZE", "longest body of a store, such as 2GiB (no bound)"),
    ("calling_aets", "TITLES", "calling AE titles that may associate (any)"),
    ("redis_url", "URL", "Redis for jobs"),
    ("gc_every", "TIME", "how often to give room back: off, or such as 24h (off)"),
    ("warm_up", "WHEN", "make metadata and thumbnails after each commit: on or off (off)"),
)
SETTINGS_FLAGS = (*(name for name, _, _ in (*STORAGE_FLAGS, *SERVER_FLAGS)), "insecure")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence; long options are never abbreviated."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)
        self._default = ""
        self._names: Container[str] = ()

    def assume(self, default: str, names: Container[str]) -> None:
        """Take a command of its own as named where the first word is none of its names."""
        self._default, self._names = default, names

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, with the command that is meant where none is named."""
        if self._default and args and args[0] not in ("-h", "--help"):
            begins_with_flag = args[0].startswith("-")
            if not any(word in self._names for word in (args if begins_with_flag else args[:1])):
                args = [self._default, *args]
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print one line on stderr and exit with status 2."""
        print(f"lamella: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(2)


class Family:
    """Parsers of commands under one parent.

    Settings flags may stand before or after any command: each parser knows them all, with no
    default, so that the innermost one given wins and the absent ones leave no trace.
    """

    def __init__(self, parser: argparse.ArgumentParser, what: str = "COMMAND") -> None:
        self._branch = parser.add_subparsers(
            metavar=what, required=True, title="commands", parser_class=Parser
        )

    def add_command(
        self, name: str, summary: str, run: Run, *, serves: bool = False, detail: str = ""
    ) -> argparse.ArgumentParser:
        """Add a command.

        Args:
            name: How it is called.
            summary: One line for the list of commands.
            run: What it does; returns the exit status.
            serves: Whether its help shows the server's flags.
            detail: More for its own help.
        """
        text = f"{summary[0].upper()}{summary[1:]}.\n\n{detail}".strip()
        parser = self._branch.add_parser(
            name,
            help=summary,
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_settings_flags(parser, serves=serves)
        parser.set_defaults(run=run)
        return parser

    def add_family(self, name: str, summary: str, what: str, default: str = "") -> Family:
        """Add a command that has commands of its own, such as `branch create`.

        Args:
            name: How it is called.
            summary: One line for the list of commands.
            what: What stands for its own commands in the usage line.
            default: The command of its own that is meant where none is named.
        """
        text = f"{summary[0].upper()}{summary[1:]}."
        parser = self._branch.add_parser(name, help=summary, description=text)
        add_settings_flags(parser, serves=False)
        family = Family(parser, what)
        if default:
            parser.assume(default, family.names)
        return family

    @property
    def names(self) -> Container[str]:
        """The commands that there are, those that come later included."""
        return cast("Container[str]", self._branch.choices)  # a dict, still empty


def add_settings_flags(parser: argparse.ArgumentParser, *, serves: bool) -> None:
    """Add a flag for every setting, and `--debug`; the server's are hidden unless it serves."""
    group = parser.add_argument_group("settings")
    for name, metavar, text in STORAGE_FLAGS:
        _add_flag(group, name, metavar, text)
    for name, metavar, text in SERVER_FLAGS:
        _add_flag(group, name, metavar, text if serves else argparse.SUPPRESS)
    group.add_argument(
        "--insecure",
        action="store_const",
        const="1",
        default=argparse.SUPPRESS,
        help="open doors to the network although nothing guards them"
        if serves
        else argparse.SUPPRESS,
    )
    group.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show tracebacks (also by LAMELLA_LOG_LEVEL=debug)",
    )


def read_settings_flags(arguments: argparse.Namespace) -> dict[str, str | None]:
    """Return the settings that were given as flags."""
    return {name: getattr(arguments, name, None) for name in SETTINGS_FLAGS}


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def add_dataset_flag(parser: argparse.ArgumentParser, text: str) -> None:
    """Add `-d DATASET`."""
    parser.add_argument("-d", "--dataset", metavar="DATASET", help=text)


def parse_count(text: str) -> int:
    """Return a positive number given on the command line.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def parse_time(text: str) -> int:
    """Return a time such as `90m`, `36h` or `7d` in seconds.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        return parse_duration(text, "It")
    except InvalidRequest as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 36h or 7d") from error


def _add_flag(group: argparse._ArgumentGroup, name: str, metavar: str, text: str) -> None:
    group.add_argument(
        f"--{name.replace('_', '-')}",
        dest=name,
        metavar=metavar,
        default=argparse.SUPPRESS,
        help=text,
    )

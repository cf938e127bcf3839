"""A throw-away PostgreSQL server for tests, from the machine's own binaries."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class PostgreSQLServer:
    """A running server.

    Attributes:
        url: Of an empty database.
    """

    url: str
    _control: Sequence[str]
    _options: str
    _user: str | None

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        _run([*self._control, "-o", self._options, "start"], self._user)

    def end(self) -> None:
        """End it as a crash would: every connection is cut, and it recovers when it starts."""
        _run([*self._control, "-m", "immediate", "stop"], self._user)


@contextmanager
def run_postgresql() -> Iterator[str]:
    """Yield the URL of an empty database; the server goes when the block ends.

    Skips the test where there is no PostgreSQL, except in CI, which installs one.
    """
    with run_postgresql_server() as server:
        yield server.url


@contextmanager
def run_postgresql_server(*settings: str) -> Iterator[PostgreSQLServer]:
    """Run a server for the time of a block, with settings of its own (`name=value`).

    Skips as `run_postgresql` does.
    """
    binaries = _find_binaries()
    if binaries is None:
        assert not os.environ.get("CI"), "CI has no PostgreSQL: see .ci/services"
        pytest.skip("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory(prefix="lamella-postgresql-") as name:
        folder = Path(name)
        user = _choose_user(folder)
        port = _find_port()
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
        options += "".join(f" -c {setting}" for setting in settings)
        data = str(folder / "data")
        control = [str(binaries / "pg_ctl"), "-D", data, "-w", "-l", str(folder / "log")]
        _run([str(binaries / "initdb"), "-D", data, "-U", "lamella", "-A", "trust"], user)
        url = f"postgresql://lamella@127.0.0.1:{port}/postgres"
        server = PostgreSQLServer(url, control, options, user)
        server.start()
        try:
            yield server
        finally:
            server.end()


def make_database(url: str, name: str) -> str:
    """Make an empty database beside another of the same server; return its URL."""
    binaries = _find_binaries()
    assert binaries is not None
    base = url.rpartition("/")[0]
    _run([str(binaries / "createdb"), f"--maintenance-db={url}", name], None)
    return f"{base}/{name}"


def _find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _find_binaries() -> Path | None:
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(DEBIAN.glob("*/bin"), reverse=True)
    return next((one for one in folders if (one / "initdb").exists()), None)


def _choose_user(folder: Path) -> str | None:
    """Return whom to run as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    account = pwd.getpwnam("postgres")
    os.chown(folder, account.pw_uid, account.pw_gid)
    return "postgres"


def _run(command: list[str], user: str | None) -> None:
    subprocess.run(command, user=user, check=True, stdout=subprocess.DEVNULL, cwd="/")

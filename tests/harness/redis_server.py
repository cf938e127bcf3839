"""A throw-away Redis server for tests, from the machine's own binary."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

import pytest
import redis

START_TIMEOUT_S = 30
DATABASES = 4096  # one a data folder


@dataclass
class RedisServer:
    """A server that can be killed and started again, with nothing in it.

    Attributes:
        port: On 127.0.0.1.
    """

    binary: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def url_of(self, database: int = 0) -> str:
        """Return the URL of one of its databases."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "dir": self.folder}
        options["databases"] = DATABASES
        command = [self.binary]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until = monotonic() + START_TIMEOUT_S
        with redis.Redis.from_url(self.url_of()) as client:
            while not _answers(client):
                assert monotonic() < until, "Redis did not start"
                sleep(0.05)

    def kill(self) -> None:
        """Kill it: all that it had is lost."""
        self.process.kill()
        self.process.wait()


@contextmanager
def run_redis() -> Iterator[RedisServer]:
    """Run a server for the time of a block.

    Skips the test where there is no Redis, except in CI, which installs one.
    """
    binary = shutil.which("redis-server")
    if binary is None:
        assert not os.environ.get("CI"), "CI has no Redis: see .ci/services"
        pytest.skip("Redis is not installed")
    with TemporaryDirectory(prefix="lamella-redis-") as folder:
        server = RedisServer(binary, Path(folder), _find_port())
        try:
            yield server
        finally:
            server.kill()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def _find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

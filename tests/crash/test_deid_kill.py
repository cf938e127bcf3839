"""kill -9 in the middle of a de-identification: the branch stays, the next run goes on."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.harness.samples import make_instance
from tests.harness.server import list_children, run_cli

COUNT = 260
WAIT_S = 120

pytestmark = pytest.mark.embedded


def count_made(data_dir: Path) -> int:
    """Return how many results are durable."""
    with sqlite3.connect(data_dir / "lamella.db") as database:
        return int(database.execute("SELECT count(*) FROM deid_made").fetchone()[0])


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for something that is sure to come."""
    until = monotonic() + WAIT_S
    while not holds():
        assert monotonic() < until, "it never came"
        sleep(0.02)


def is_running(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_run_is_gone_on_with(tmp_path: Path) -> None:
    folder, data_dir = tmp_path / "in", tmp_path / "data"
    folder.mkdir()
    for number in range(COUNT):
        data = make_instance(sop=f"1.2.3.1.{number}", PatientName="Kilroy^Was", fill=number % 250)
        (folder / f"{number}.dcm").write_bytes(data)
    assert run_cli(data_dir, "import", str(folder)).returncode == 0
    assert run_cli(data_dir, "dataset", "create", "public").returncode == 0
    profile = tmp_path / "headers.toml"
    profile.write_text('[pixels]\ntext = "none"\n')
    options = ["default@main", "public", "--profile", str(profile), "--processes", "1"]
    environ = os.environ | {"LAMELLA_DATA_DIR": str(data_dir)}
    command = [sys.executable, "-m", "lamella", "deid", *options]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: count_made(data_dir) > 0)
        children = list_children(process.pid)
        process.send_signal(signal.SIGKILL)
    assert children
    wait_until(lambda: not any(map(is_running, children)))
    made = count_made(data_dir)
    assert 0 < made < COUNT
    log = json.loads(run_cli(data_dir, "log", "public", "--json").stdout)
    assert [commit["kind"] for commit in log] == ["initial"]
    report = json.loads(run_cli(data_dir, "deid", *options, "--json").stdout)
    assert (report["made"], report["released"]) == (COUNT - made, COUNT)
    assert run_cli(data_dir, "fsck", "--bytes").returncode == 0

"""10,000 instances: progress, cancel, kill -9, and going on, with one commit at the end."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
from pydicom import DataElement

from tests.harness.samples import make_instance
from tests.harness.server import list_children, read_peak_kib, run_cli, serve
from tests.unit.deid.pixels.pictured import burn, draw_noise

COUNT = int(os.environ.get("LAMELLA_DEID_INSTANCES", "10000"))
WITH_PIXELS = COUNT // 100
PER_SERIES = 100
PATIENCE_S = 3 * 3600
MOST_KIB = 250 << 10
"""Of the process that reads, stores and commits; engines have processes of their own."""

pytestmark = [pytest.mark.soak, pytest.mark.embedded, pytest.mark.timeout(4 * PATIENCE_S)]


def make_sources(folder: Path) -> None:
    """Write small instances; some have a line burned in."""
    folder.mkdir()
    picture = draw_noise(96, 320)
    burn(picture, "FEATHERSTONEHAUGH 1931", 8, 20)
    pixels = np.asarray(picture, "u1").astype("<u2").tobytes()
    made = pydicom.dcmread(io.BytesIO(make_instance(rows=96, columns=320, Modality="OT")))
    made.BitsStored, made.HighBit = 8, 7
    for number in range(COUNT):
        study, series = number // (5 * PER_SERIES), number // PER_SERIES
        made.StudyInstanceUID, made.SeriesInstanceUID = f"1.2.3.{study}", f"1.2.4.{series}"
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.5.{number}"
        made.PatientName, made.PatientID = f"Featherstonehaugh^Patient{study}", f"MRN{study:06}"
        made.InstanceNumber = number
        if number % 100 == 50:
            made["PixelData"] = DataElement(0x7FE00010, "OW", pixels)
        elif "PixelData" in made:
            del made.PixelData
        made.save_as(folder / f"{number}.dcm", enforce_file_format=True)


def count_made(data_dir: Path) -> int:
    """Return how many results are durable."""
    with sqlite3.connect(data_dir / "lamella.db") as database:
        return int(database.execute("SELECT count(*) FROM deid_made").fetchone()[0])


def list_kinds(data_dir: Path) -> list[str]:
    """Return the kinds of the commits of the destination, newest first."""
    log = run_cli(data_dir, "log", "public", "--json")
    return [commit["kind"] for commit in json.loads(log.stdout)]


def test_many_instances(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    make_sources(tmp_path / "in")
    assert run_cli(data_dir, "import", str(tmp_path / "in")).returncode == 0
    assert run_cli(data_dir, "dataset", "create", "public").returncode == 0
    cancel_job(data_dir)
    assert list_kinds(data_dir) == ["initial"]
    kill_run(data_dir)
    assert list_kinds(data_dir) == ["initial"]
    made, (peak_kib, report) = count_made(data_dir), run_to_end(data_dir)
    assert (report["made"], report["released"]) == (COUNT - made, COUNT)
    assert report["boxes"] >= WITH_PIXELS
    assert list_kinds(data_dir) == ["deid", "initial"]
    peak_again_kib, again = run_to_end(data_dir)
    assert (again["made"], again["created"]) == (0, False)
    print(f"peaks: {peak_kib >> 10} and {peak_again_kib >> 10} MiB")
    assert max(peak_kib, peak_again_kib) < MOST_KIB
    assert run_cli(data_dir, "fsck", "--bytes").returncode == 0


def cancel_job(data_dir: Path) -> None:
    """Let a server begin; cancel when a fifth is done."""
    with serve(data_dir, dimse="off") as server, httpx.Client(timeout=60) as client:
        api = f"{server.http}/api/v1"
        asked = client.post(f"{api}/datasets/default/deid", json={"destination": "public"})
        job = f"{api}/jobs/{asked.json()['id']}"
        seen = set()
        until = time.monotonic() + PATIENCE_S
        while (found := client.get(job).json())["done"] < COUNT // 5:
            assert found["state"] in ("waiting", "running"), found
            assert time.monotonic() < until
            seen.add(found["done"])
            time.sleep(0.2)
        assert found["total"] == COUNT
        assert len(seen) > 1  # it was seen to get on
        client.post(f"{job}/cancel")
        while (found := client.get(job).json())["state"] != "cancelled":
            assert time.monotonic() < until, found
            time.sleep(0.1)
    assert COUNT // 5 <= count_made(data_dir) < COUNT


def kill_run(data_dir: Path) -> None:
    """Kill a run with all its might when half is done."""
    with start_run(data_dir) as process:
        until = time.monotonic() + PATIENCE_S
        while count_made(data_dir) < COUNT // 2:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.2)
        children = list_children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert COUNT // 2 <= count_made(data_dir) < COUNT


def run_to_end(data_dir: Path) -> tuple[int, dict[str, object]]:
    """Run to the end; return the peak of its memory in KiB, and its report."""
    peak_kib = 0
    with start_run(data_dir) as process:
        while process.poll() is None:
            peak_kib = max(peak_kib, read_peak_kib(process.pid))
            time.sleep(0.1)
        out, _ = process.communicate()
    assert process.returncode == 0
    report: dict[str, object] = json.loads(out)
    return peak_kib, report


def start_run(data_dir: Path) -> subprocess.Popen[str]:
    """Start the command."""
    environ = {name: value for name, value in os.environ.items() if name[:8] != "LAMELLA_"}
    return subprocess.Popen(
        [sys.executable, "-m", "lamella", "deid", "default@main", "public", "--json"],
        env=environ | {"LAMELLA_DATA_DIR": str(data_dir)},
        stdout=subprocess.PIPE,
        text=True,
    )

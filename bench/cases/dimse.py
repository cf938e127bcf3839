"""C-STORE by DCMTK's storescu, one process an association."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter, sleep

from bench.answers import SOP_UID, read_uids
from bench.client import build_get, send_once
from bench.measure import Bench, Case, Goal, Measure, Mismatch, Sample
from bench.servers import Runner, Server
from bench.workload import CtSeries

VISIBLE_TIMEOUT_S = 60


def find_dcmtk(name: str) -> str | None:
    """Return a tool of DCMTK; pynetdicom's scripts of the same names lie in the environment."""
    mine = Path(sys.executable).parent
    path = os.pathsep.join(
        p for p in os.environ.get("PATH", "").split(os.pathsep) if Path(p) != mine
    )
    return shutil.which(name, path=path + os.pathsep + "/usr/bin")


def _measure(associations: int) -> Measure:
    def measure(bench: Bench, server: Runner, turn: int) -> Sample:
        assert isinstance(server, Server)
        series = CtSeries(bench.next_copy(), bench.sizes.dimse_instances, bench.series.side)
        folders = _write(bench.folder / "dimse", series, associations)
        try:
            sample = _push(server, folders, series.n_slices)
            _wait_until_visible(server, series)
        finally:
            shutil.rmtree(bench.folder / "dimse")
        return sample

    return measure


def _write(folder: Path, series: CtSeries, associations: int) -> list[Path]:
    folders = [folder / str(index) for index in range(associations)]
    for one in folders:
        one.mkdir(parents=True)
    for index, instance in enumerate(series):
        (folders[index % associations] / f"{index:05d}.dcm").write_bytes(instance.data)
    return folders


def _push(server: Server, folders: list[Path], count: int) -> Sample:
    command = find_dcmtk("storescu")
    assert command is not None
    call = [command, "-xe", "-aec", server.aet, "127.0.0.1", str(server.dimse_port), "+sd"]
    cpu_s = server.cpu_s()
    begun = perf_counter()
    pushes = [
        subprocess.Popen([*call, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for folder in folders
    ]
    for push in pushes:
        output, _ = push.communicate()
        if push.returncode:
            raise Mismatch(f"storescu to {server.name}: {output[-500:]!r}")
    seconds = perf_counter() - begun
    cpu_s = server.cpu_s() - cpu_s
    each_ms = seconds * 1000 * len(folders) / count
    return Sample(count / seconds, each_ms, each_ms, cpu_s * 1000 / count, 0.0, {"stored": count})


def _wait_until_visible(server: Server, series: CtSeries) -> None:
    """Return once a search finds all that was pushed.

    Raises:
        Mismatch: It does not, for a minute.
    """
    target = f"{server.root}/studies/{series.study_uid}/series/{series.series_uid}/instances"
    request = build_get(target, "application/dicom+json")
    for _ in range(VISIBLE_TIMEOUT_S * 4):
        if len(read_uids(send_once(server.port, request), SOP_UID)) == series.n_slices:
            return
        sleep(0.25)
    raise Mismatch(f"{server.name} does not show all {series.n_slices} instances")


CASES = (
    Case(
        "cstore-1",
        "dimse",
        "C-STORE of CT slices by storescu, 1 association",
        "inst/s",
        _measure(1),
        (Goal("orthanc", 4),),
    ),
    Case(
        "cstore-4",
        "dimse",
        "C-STORE of CT slices by storescu, 4 associations",
        "inst/s",
        _measure(4),
        (Goal("orthanc", 2),),
    ),
    Case(
        "cstore-8",
        "dimse",
        "C-STORE of CT slices by storescu, 8 associations",
        "inst/s",
        _measure(8),
        (Goal("orthanc", 2),),
    ),
)

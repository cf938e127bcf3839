"""C-GET of a series by DCMTK's getscu, which drops what it gets."""

from __future__ import annotations

import re
import subprocess
from time import perf_counter

from bench.cases.dimse import find_dcmtk
from bench.measure import Bench, Case, Goal, Mismatch, Sample
from bench.servers import Runner, Server

_COMPLETED = re.compile(r"Number of Completed Suboperations\s*:\s*(\d+)")


def measure(bench: Bench, server: Runner, turn: int) -> Sample:
    """Get the series of the frames' cases once.

    Raises:
        Mismatch: It did not come whole.
    """
    assert isinstance(server, Server)
    series, command = bench.series, find_dcmtk("getscu")
    assert command is not None
    keys = {
        "QueryRetrieveLevel": "SERIES",
        "StudyInstanceUID": series.study_uid,
        "SeriesInstanceUID": series.series_uid,
    }
    flags = [word for key, value in keys.items() for word in ("-k", f"{key}={value}")]
    call = [command, "-v", "-S", "--ignore", "-aec", server.aet, *flags]
    cpu_s = server.cpu_s()
    begun = perf_counter()
    got = subprocess.run(
        [*call, "127.0.0.1", str(server.dimse_port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    seconds = perf_counter() - begun
    cpu_s = server.cpu_s() - cpu_s
    counts = _COMPLETED.findall(got.stdout.decode(errors="replace"))
    count = series.n_slices
    if got.returncode or not counts or int(counts[-1]) != count:
        raise Mismatch(f"getscu from {server.name}: {got.stdout[-500:]!r}")
    each_ms = seconds * 1000 / count
    return Sample(count / seconds, each_ms, each_ms, cpu_s * 1000 / count, 0.0, {"got": count})


CASES = (
    Case(
        "cget-1",
        "retrieve",
        "C-GET of the CT series by getscu, 1 association",
        "inst/s",
        measure,
        (Goal("orthanc", 2),),
    ),
)

"""What a server's processes hold: memory, open files, threads; and whether it grows."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic

from tests.harness.server import list_children, read_peak_kib

POINTS = 240  # of a series that a slope is taken of: all pairs of them are looked at


@dataclass(frozen=True)
class Reading:
    """All processes of a server at one moment.

    Attributes:
        at_s: Since the first reading.
        anonymous_kib: Memory of their own (PSS of anonymous pages): what a leak would fill.
        resident_kib: PSS in all, with what they map of files.
        open_files: Besides packs, of which each process keeps some open on purpose.
        most_packs: Open packs of the process that has the most.
    """

    at_s: float
    processes: int
    anonymous_kib: int
    resident_kib: int
    open_files: int
    threads: int
    most_packs: int


@dataclass
class Gauge:
    """Reads a process and its children now and then, in a thread of its own.

    Attributes:
        peaks_kib: The highest VmHWM by process id, of processes that ended, too.
    """

    pid: int
    every_s: float
    readings: list[Reading] = field(default_factory=list)
    peaks_kib: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gauge")

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def finish(self) -> None:
        """Read no more."""
        self._stop.set()
        self._thread.join()

    def after(self, warm_up_s: float) -> list[Reading]:
        """Return the readings after a time of warming up."""
        return [one for one in self.readings if one.at_s >= warm_up_s]

    def _run(self) -> None:
        begun = monotonic()
        while not self._stop.wait(self.every_s):
            pids = [self.pid, *list_children(self.pid)]
            for pid in pids:
                peak = max(read_peak_kib(pid), self.peaks_kib.get(pid, 0))
                self.peaks_kib[pid] = peak
            self.readings.append(_read_all(pids, monotonic() - begun))


def grow_per_hour(points: Sequence[tuple[float, float]]) -> float:
    """Return how much a quantity grows in an hour, by Theil and Sen.

    The median of the slopes of all pairs: a third of the points may be outliers.

    Args:
        points: (seconds, quantity), in order.
    """
    step = max(1, len(points) // POINTS)
    thin = points[::step]
    slopes = [
        (b - a) / (t - s) * 3600 for i, (s, a) in enumerate(thin) for t, b in thin[i + 1 :] if t > s
    ]
    return median(slopes) if slopes else 0.0


def _read_all(pids: Sequence[int], at_s: float) -> Reading:
    parts = [part for pid in pids if (part := _read_one(pid)) is not None]
    *sums, most_packs = (list(column) for column in zip(*parts, strict=True))
    return Reading(at_s, len(parts), *(sum(column) for column in sums), max(most_packs))


def _read_one(pid: int) -> tuple[int, int, int, int, int] | None:
    """Return the parts of a reading that one process has; None if it has just ended."""
    folder = Path(f"/proc/{pid}")
    try:
        rollup = (folder / "smaps_rollup").read_text()
        status = (folder / "status").read_text()
        open_files, packs = _count_files(folder / "fd")
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = [
        re.search(pattern, text, re.MULTILINE)
        for pattern, text in (
            (r"^Pss_Anon:\s+(\d+)", rollup),
            (r"^Pss:\s+(\d+)", rollup),
            (r"^Threads:\s+(\d+)", status),
        )
    ]
    if not all(found):
        return None  # a process that ends has no memory any more
    anonymous, resident, threads = (int(match[1]) for match in found if match is not None)
    return anonymous, resident, open_files, threads, packs


def _count_files(folder: Path) -> tuple[int, int]:
    """Return how many descriptors a process has open: others, and packs or chunks of S3's."""
    packs = others = 0
    for descriptor in folder.iterdir():
        try:
            path = descriptor.readlink()
        except FileNotFoundError:
            continue  # closed meanwhile
        is_pack = path.suffix == ".pack" or path.match("cache/packs/*/*")
        packs, others = packs + is_pack, others + (not is_pack)
    return others, packs

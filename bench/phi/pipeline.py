"""A folder through the library of de-identification, instance by instance, without an archive.

What the benchmark scores. A quarantined instance, and one that waits for review, are not written.
"""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom import config, dcmread

if TYPE_CHECKING:
    from lamella.deid.keys import ProjectKey
    from lamella.deid.pixels.engines import BurnedInTextFinder
    from lamella.deid.profiles import Profile
    from lamella.deid.results import Reason
    from lamella.deid.texts import TextFinder

_SECRET = b"the key of a benchmark is no secret"


@dataclass
class Outcome:
    """What became of some instances.

    Attributes:
        cpu_s: Of the pipeline, reading and writing included.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    uids: dict[str, str] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)
    cpu_s: float = 0.0

    def add(self, other: Outcome) -> None:
        """Count another's in."""
        self.verdicts += other.verdicts
        self.reasons += other.reasons
        self.uids |= other.uids
        self.patients |= other.patients
        self.cpu_s += other.cpu_s


def deidentify(
    source: Path, dest: Path, profile: str, *, reads_pixels: bool = True, processes: int = 2
) -> Outcome:
    """De-identify a folder; write `DEST/output`, `DEST/uids.csv` and `DEST/patients.csv`."""
    (dest / "output").mkdir(parents=True)
    paths = sorted(source.rglob("*.dcm"))
    parts = [paths[start : start + 8] for start in range(0, len(paths), 8)]
    total = Outcome()
    with ProcessPoolExecutor(processes) as pool:
        jobs = [pool.submit(_work, part, dest / "output", profile, reads_pixels) for part in parts]
        for job in jobs:
            total.add(job.result())
    for name, pairs in (("uids", total.uids), ("patients", total.patients)):
        _write_map(dest / f"{name}.csv", pairs)
    return total


def _work(paths: Iterable[Path], output: Path, profile: str, reads_pixels: bool) -> Outcome:
    # values that do not fit their VR are what the benchmark is full of
    config.settings.reading_validation_mode = config.IGNORE
    tools = _open_tools(profile, reads_pixels)
    outcome = Outcome()
    for path in paths:
        started = time.process_time()
        _clean(path, output, tools, outcome)
        outcome.cpu_s += time.process_time() - started
    return outcome


@dataclass
class _Tools:
    profile: Profile
    key: ProjectKey
    texts: TextFinder
    pixels: BurnedInTextFinder | None


@cache
def _open_tools(profile: str, reads_pixels: bool) -> _Tools:
    """Load engines once in a process."""
    from lamella.deid.keys import ProjectKey
    from lamella.deid.pixels.cleaning import find_engine as find_pixel_engine
    from lamella.deid.profiles import BUILT_IN
    from lamella.deid.texts import find_engine

    chosen = BUILT_IN[profile]
    pixels = find_pixel_engine(chosen) if reads_pixels else None
    return _Tools(chosen, ProjectKey("benchmark", _SECRET), find_engine(chosen), pixels)


def _clean(path: Path, output: Path, tools: _Tools, outcome: Outcome) -> None:
    from lamella.deid import headers, identifiers, verification, writing
    from lamella.deid.pixels.cleaning import clean_pixels
    from lamella.deid.results import Verdict

    source = dcmread(path)
    known = identifiers.collect(source, tools.profile)
    pixels = clean_pixels(source, tools.profile, known, tools.pixels)
    cleaned = headers.clean(
        pixels.attributes,
        tools.profile,
        tools.key,
        finder=tools.texts,
        applied=pixels.codes,
        reasons=pixels.reasons,
    )
    written = writing.write(cleaned)
    reasons: tuple[Reason, ...] = (*cleaned.reasons, *verification.verify(written, cleaned))
    verdict = Verdict.worst(cleaned.verdict, *(reason.verdict for reason in reasons))
    outcome.verdicts[verdict.name] += 1
    outcome.reasons.update(reason.code for reason in reasons)
    outcome.uids |= cleaned.uids
    outcome.patients |= cleaned.patients
    if verdict is Verdict.PASS:
        (output / path.name).write_bytes(written)


def _write_map(path: Path, pairs: Mapping[str, str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id_old", "id_new"])
        writer.writerows(sorted(pairs.items()))

"""Every DICOM file at hand through the built-in profiles.

None may break it, nothing of its header may be left in the bytes that are written, and dciodvfy
(Debian's dicom3tools) may find no error in a copy that its original lacked.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import FileDataset, dcmread

from lamella.deid.headers import clean
from lamella.deid.keys import ProjectKey
from lamella.deid.profiles import BUILT_IN, Profile
from lamella.deid.results import Verdict
from lamella.deid.texts import find_engine
from lamella.deid.verification import verify
from lamella.deid.writing import write
from tests.integration.corpus import ROOTS, quiet_pydicom

KEY = ProjectKey("corpus", bytes(range(32)))
SOME = 2
"""Files of a folder that are looked at in the short form: neighbours are of one kind."""
LARGEST_BYTES = 20_000_000
_VARYING = re.compile(r"UID [\d.]+|\d+(?:\.\d+)+|\d{5,}|'[^']*'")
BLIND = "Error - Dicom dataset read failed"
"""What dciodvfy says of deflated data sets, which it cannot inflate."""


def _read_files(most_in_folder: int) -> Iterator[tuple[Path, FileDataset]]:
    seen: Counter[Path] = Counter()
    for root in ROOTS:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            seen[path.parent] += 1
            if seen[path.parent] > most_in_folder:
                continue
            try:
                attributes = dcmread(path)
            except Exception:  # noqa: BLE001 (no DICOM file, whatever else it is)
                continue
            if len(attributes):
                yield path, attributes


def _clean(attributes: FileDataset, profile: Profile) -> tuple[bytes, Verdict, list[str]]:
    cleaned = clean(attributes, profile, KEY, finder=find_engine(profile))
    written = write(cleaned)
    return written, cleaned.verdict, [reason.code for reason in verify(written, cleaned)]


def _examine_all(name: str, most_in_folder: int) -> None:
    verdicts: Counter[str] = Counter()
    wrong = []
    with quiet_pydicom():
        for path, attributes in _read_files(most_in_folder):
            written, verdict, left = _clean(attributes, BUILT_IN[name])
            again, _, _ = _clean(dcmread(path), BUILT_IN[name])
            verdicts[verdict] += 1
            if left or again != written:
                wrong.append((path.name, left))
    assert wrong == []
    assert verdicts["PASS"] > 50 > verdicts["QUARANTINE"] > 0


@pytest.mark.parametrize("name", BUILT_IN)
def test_nothing_breaks_it_and_nothing_is_left(name: str) -> None:
    _examine_all(name, SOME)


@pytest.mark.soak
@pytest.mark.parametrize("name", BUILT_IN)
def test_no_file_at_all_breaks_it_or_has_something_left(name: str) -> None:
    _examine_all(name, 10_000)


def find_errors(path: Path) -> set[str]:
    """Return what dciodvfy calls errors, without values."""
    run = subprocess.run(["dciodvfy", str(path)], capture_output=True, timeout=60)
    lines = (run.stdout + run.stderr).decode("latin-1").splitlines()
    return {_VARYING.sub("#", line) for line in lines if line.startswith("Error")}


def _compare(most_in_folder: int, folder: Path) -> tuple[int, list[tuple[str, list[str]]]]:
    wrong = []
    compared = 0
    copy = folder / "copy.dcm"
    with quiet_pydicom():
        for path, attributes in _read_files(most_in_folder):
            # of a file that ends too early dciodvfy says nothing after its end
            if path.stat().st_size > LARGEST_BYTES or "truncated" in path.name:
                continue
            written, verdict, _ = _clean(attributes, BUILT_IN["basic"])
            before = find_errors(path)
            if verdict is Verdict.QUARANTINE or BLIND in before:
                continue
            copy.write_bytes(written)
            compared += 1
            new = sorted(find_errors(copy) - before)
            if new:
                wrong.append((path.name, new))
    return compared, wrong


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_copies_have_no_error_that_their_originals_lacked(tmp_path: Path) -> None:
    compared, wrong = _compare(SOME, tmp_path)
    assert wrong == []
    assert compared > 50


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_no_copy_at_all_has_an_error_that_its_original_lacked(tmp_path: Path) -> None:
    compared, wrong = _compare(10_000, tmp_path)
    assert wrong == []
    assert compared > 50

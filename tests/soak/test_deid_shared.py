"""All of the shared collection through `lamella deid --profile basic`, pixels and all, twice."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.harness.server import run_cli
from tests.integration.corpus import ROOTS, quiet_pydicom
from tests.integration.test_deid_corpus import BLIND, LARGEST_BYTES, find_errors

SHARED = ROOTS[0]
FEWEST_RELEASED = 300

pytestmark = [
    pytest.mark.soak,
    pytest.mark.embedded,
    pytest.mark.timeout(3 * 3600),
    pytest.mark.skipif(not SHARED.is_dir(), reason="the shared collection is not here"),
    pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed"),
]


def test_the_shared_collection(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    imported = run_cli(data_dir, "import", str(SHARED))
    assert imported.returncode in (0, 1), imported.stderr  # some are refused, or in conflict
    reports = [deidentify(data_dir, name) for name in ("one", "two")]
    assert reports[0]["released"] > FEWEST_RELEASED
    assert reports[0]["boxes"] > 0
    trees = [read_tree(data_dir, name) for name in ("one", "two")]
    assert trees[0] == trees[1]

    originals = export(data_dir, "default@main", tmp_path / "originals")
    copies = export(data_dir, "one@main", tmp_path / "copies")
    assert len(copies) == reports[0]["released"]
    wrong = {}
    for old, new in read_map(data_dir).items():
        if new not in copies or copies[new].stat().st_size > LARGEST_BYTES:
            continue
        before = find_errors(originals[old])
        if BLIND not in before and (errors := sorted(find_errors(copies[new]) - before)):
            wrong[originals[old].name] = errors
    assert wrong == {}
    assert run_cli(data_dir, "fsck", "--bytes").returncode == 0


def deidentify(data_dir: Path, name: str) -> dict[str, Any]:
    """Run the command into a dataset of its own; return its report."""
    run = run_cli(data_dir, "deid", "default@main", f"{name}@main", "--profile", "basic", "--json")
    assert run.returncode in (0, 1), run.stderr  # 1: some were held back
    report: dict[str, Any] = json.loads(run.stdout)
    print({key: value for key, value in report.items() if isinstance(value, int)})
    return report


def read_tree(data_dir: Path, name: str) -> str:
    """Return the tree at the head of a dataset."""
    log = json.loads(run_cli(data_dir, "log", f"{name}@main", "--json").stdout)
    return str(log[0]["tree"])


def export(data_dir: Path, target: str, folder: Path) -> dict[str, Path]:
    """Write the files of a revision; return them by SOP Instance UID."""
    run = run_cli(data_dir, "export", target, str(folder))
    assert run.returncode == 0, run.stderr
    found = {}
    with quiet_pydicom():
        for parent, _, names in os.walk(folder):
            for path in (Path(parent, name) for name in names if name.endswith(".dcm")):
                uid = pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID
                found[str(uid)] = path
    return found


def read_map(data_dir: Path) -> dict[str, str]:
    """Return the new SOP Instance UIDs (and others) by the old ones."""
    run = run_cli(data_dir, "deid", "key", "export-map", "one", "--reason", "test")
    assert run.returncode == 0, run.stderr
    return {row["id_old"]: row["id_new"] for row in csv.DictReader(run.stdout.splitlines())}

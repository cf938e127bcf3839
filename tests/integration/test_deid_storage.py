"""What a de-identification of headers costs: in bytes, and in work where little is new."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bench.workload import CtSeries
from tests.harness.server import run_cli

HEADERS_ONLY = 'extends = "basic"\n[pixels]\ntext = "none"\nfaces = "pass"\n'
MOST_ADDED = 0.03
"""Of a dataset's bytes: what its copy without identifiers may add to storage."""


def _store(data_dir: Path, folder: Path, series: CtSeries, numbers: Iterable[int]) -> int:
    """Import slices; return how many bytes they have."""
    folder.mkdir()
    n_bytes = 0
    for number in numbers:
        data = series.make(number).data
        (folder / f"{number}.dcm").write_bytes(data)
        n_bytes += len(data)
    done = run_cli(data_dir, "import", str(folder))
    assert done.returncode == 0, done.stderr
    for path in folder.iterdir():
        path.unlink()
    return n_bytes


def _deidentify(data_dir: Path) -> dict[str, Any]:
    profile = data_dir.parent / "headers.toml"
    profile.write_text(HEADERS_ONLY)
    done = run_cli(data_dir, "deid", "default@main", "public", "--profile", str(profile), "--json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _count_bytes(folder: Path) -> int:
    """Return the bytes of all files: packs, database, maps, logs."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _examine(tmp_path: Path, n_instances: int, n_new: int) -> None:
    data_dir, series = tmp_path / "data", CtSeries(1, n_instances + n_new)
    stored = _store(data_dir, tmp_path / "first", series, range(n_instances))
    before = _count_bytes(data_dir)
    first = _deidentify(data_dir)
    share = (_count_bytes(data_dir) - before) / stored
    print(f"{n_instances} instances, {stored} bytes: the copy adds {share:.2%}")
    assert (first["made"], first["released"]) == (n_instances, n_instances)
    assert share < MOST_ADDED
    _store(data_dir, tmp_path / "more", series, range(n_instances, n_instances + n_new))
    more = _deidentify(data_dir)
    assert (more["made"], more["released"]) == (n_new, n_instances + n_new)
    again = _deidentify(data_dir)
    assert (again["made"], again["created"], again["commit"]) == (0, False, more["commit"])


@pytest.mark.embedded
def test_a_copy_adds_little_and_new_instances_cost_their_own_work(tmp_path: Path) -> None:
    _examine(tmp_path, 40, 10)


@pytest.mark.soak
@pytest.mark.embedded
def test_a_copy_of_a_gigabyte_adds_little(tmp_path: Path) -> None:
    _examine(tmp_path, 2000, 10)

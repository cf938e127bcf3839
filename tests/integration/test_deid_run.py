"""`lamella deid SRC DST`: one commit of what passes, nothing of the source within reach."""

from __future__ import annotations

import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from tests.harness.samples import make_instance
from tests.harness.server import run_cli
from tests.unit.deid.pixels.pictured import burn, draw_noise

NAME, MRN, STUDY = "Featherstonehaugh", "MRN8842197", "1.2.826.0.1.3680043.2.1125.77.1"


def make_sources(folder: Path, count: int = 3, **attributes: object) -> None:
    """Write a few CT slices of one patient."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        data = make_instance(
            STUDY,
            f"{STUDY}.1",
            f"{STUDY}.1.{number}",
            patient_id=MRN,
            rows=256,
            columns=256,
            fill=number + 1,
            PatientName=f"{NAME}^Mary",
            InstitutionName="St. Elsewhere General",
            StudyDescription=f"CT chest of {NAME}",
            InstanceNumber=number + 1,
            **attributes,
        )
        (folder / f"{number}.dcm").write_bytes(data)


HEADERS_ONLY = 'extends = "basic"\n[pixels]\ntext = "none"\n'


def run_deid(
    data_dir: Path, *arguments: str, status: int = 0, reads_pixels: bool = False
) -> dict[str, Any]:
    """Run `lamella deid … --json`; return its report."""
    profile = data_dir.parent / "headers.toml"
    profile.write_text(HEADERS_ONLY)
    named = "basic" if reads_pixels else str(profile)
    options = ("--profile", named, "--processes", "1", "--json")
    done = run_cli(data_dir, "deid", *arguments, *options)
    assert done.returncode == status, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def export(data_dir: Path, target: str, folder: Path) -> list[pydicom.FileDataset]:
    """Export a target; return its data sets."""
    done = run_cli(data_dir, "export", target, str(folder))
    assert done.returncode == 0, done.stderr
    return [pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    make_sources(tmp_path / "in")
    done = run_cli(tmp_path / "data", "import", str(tmp_path / "in"))
    assert done.returncode == 0, done.stderr
    return tmp_path / "data"


def test_a_branch_becomes_another(data_dir: Path, tmp_path: Path) -> None:
    html = tmp_path / "report.html"
    report = run_deid(data_dir, "default@main", "public@main", "--report", str(html))
    assert report["verdicts"] == {"PASS": 3, "REVIEW": 0, "QUARANTINE": 0}
    assert report["created"]
    outputs = export(data_dir, "public@main", tmp_path / "out")
    assert len(outputs) == 3
    for one in outputs:
        assert one.PatientIdentityRemoved == "YES"
        assert {code.CodeValue for code in one.DeidentificationMethodCodeSequence} >= {"113100"}
    assert len({one.StudyInstanceUID for one in outputs}) == 1
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm"))
    told = (json.dumps(report) + html.read_text()).encode()
    log = run_cli(data_dir, "log", "public@main", "--json").stdout.encode()
    for secret in (NAME, MRN, STUDY, "Elsewhere"):
        for text in (written, told, log):
            assert secret.encode() not in text
    (commit, _) = json.loads(log)
    assert commit["kind"] == "deid"
    assert commit["provenance"]["source"] == report["source"]
    assert commit["provenance"]["profile_digest"] == report["profile"]["digest"]
    assert run_cli(data_dir, "fsck", "--bytes").returncode == 0


def test_a_second_run_makes_only_what_is_new(data_dir: Path, tmp_path: Path) -> None:
    first = run_deid(data_dir, "default@main", "public")
    again = run_deid(data_dir, "default@main", "public")
    assert (again["made"], again["created"], again["commit"]) == (0, False, first["commit"])
    make_sources(tmp_path / "in", 5)
    assert run_cli(data_dir, "import", str(tmp_path / "in")).returncode == 0
    more = run_deid(data_dir, "default@main", "public")
    assert (more["made"], more["released"], more["created"]) == (2, 5, True)
    back = run_deid(data_dir, f"default@{first['source']}", "public")
    assert (back["made"], back["released"], back["removed"]) == (0, 3, 2)
    trees = {
        entry["id"]: entry["tree"]
        for entry in json.loads(run_cli(data_dir, "log", "public", "--json").stdout)
    }
    assert trees[back["commit"]] == trees[first["commit"]]


@pytest.mark.embedded
def test_pixels_that_stay_are_not_kept_twice(data_dir: Path) -> None:
    def count_bytes() -> int:
        return sum(path.stat().st_size for path in (data_dir / "packs").rglob("*.pack"))

    before = count_bytes()
    run_deid(data_dir, "default@main", "public")
    assert count_bytes() - before < 3 * 8192
    with sqlite3.connect(data_dir / "lamella.db") as database:
        (packed,) = database.execute("SELECT sum(length_bytes) FROM location").fetchone()
    assert packed < 3 * (256 * 256 * 2 + 8192)


def test_burned_in_text_goes(data_dir: Path, tmp_path: Path) -> None:
    picture = draw_noise(256, 320)
    letters = burn(picture, f"{NAME.upper()} {MRN}", 8, 20)
    source = pydicom.dcmread(io.BytesIO(make_instance(sop="1.2.3.1.77", study="1.2.4")))
    source.Modality, source.Rows, source.Columns = "OT", 256, 320
    source.BitsAllocated = source.BitsStored = 8
    source.HighBit = 7
    source.PixelData = picture.tobytes()
    source.save_as(tmp_path / "in" / "shown.dcm")
    assert run_cli(data_dir, "import", str(tmp_path / "in" / "shown.dcm")).returncode == 0
    report = run_deid(data_dir, "default@main", "public", reads_pixels=True)
    assert report["boxes"] >= 1
    (shown,) = [one for one in export(data_dir, "public", tmp_path / "out") if one.Modality == "OT"]
    pixels = np.frombuffer(shown.PixelData, "u1").reshape(256, 320)
    inside = pixels[letters.top : letters.bottom, letters.left : letters.right]
    assert inside.max() == inside.min()
    assert shown.BurnedInAnnotation == "NO"
    assert "113101" in {code.CodeValue for code in shown.DeidentificationMethodCodeSequence}


def test_what_is_held_back_waits_for_a_person(data_dir: Path, tmp_path: Path) -> None:
    make_sources(tmp_path / "head", 24, BodyPartExamined="HEAD", SliceThickness="1.0")
    assert run_cli(data_dir, "dataset", "create", "heads").returncode == 0
    assert run_cli(data_dir, "import", str(tmp_path / "head"), "-d", "heads").returncode == 0
    report = run_deid(data_dir, "heads@main", "public", status=1)
    assert report["verdicts"]["REVIEW"] == 24
    assert report["reasons"] == {"face": 24}
    assert (report["released"], report["created"]) == (0, False)
    waiting = json.loads(run_cli(data_dir, "deid", "review", "list", "public", "--json").stdout)
    numbers = [str(one["number"]) for one in waiting]
    assert run_cli(data_dir, "deid", "review", "accept", "public", *numbers[:2]).returncode == 0
    assert run_cli(data_dir, "deid", "review", "reject", "public", *numbers[2:]).returncode == 0
    decided = run_deid(data_dir, "heads@main", "public", status=1)
    assert (decided["made"], decided["released"]) == (0, 2)
    refused = run_cli(data_dir, "deid", "review", "accept", "public", numbers[0])
    assert refused.returncode == 1


def test_source_and_destination_are_two_datasets(data_dir: Path) -> None:
    same = run_cli(data_dir, "deid", "default@main", "default@clean")
    assert same.returncode == 2
    assert len(same.stderr.splitlines()) == 1
    unknown = run_cli(data_dir, "deid", "default@main", "public", "--profile", "nosuch")
    assert unknown.returncode in (1, 2)
    assert len(unknown.stderr.splitlines()) == 1

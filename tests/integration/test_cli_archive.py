"""The command line from outside: a study's way in, its history, and its way out."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file

from lamella.archive.installation import ServerLock
from lamella.cli.main import main

SUM = re.compile(
    r"stored=(\d+) unchanged=(\d+) conflicts=(\d+) refused=(\d+) ignored=(\d+) "
    r"commit=([0-9a-f]{64})"
)
BUNDLED = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm")


class Shell:
    """Runs commands on one data folder: in this process, and where it matters in one of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys
        self.environment = dict(os.environ)

    def run(self, *argv: object, status: int = 0) -> str:
        """Run a command and return stdout; its exit status and the form of stderr are checked."""
        self.capsys.readouterr()
        found = main([str(word) for word in argv])
        captured = self.capsys.readouterr()
        assert found == status, captured.err
        assert "Traceback" not in captured.err
        return captured.out

    def start(self, *argv: object) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "lamella", *map(str, argv)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def load(self, *argv: object, status: int = 0) -> Any:
        """Run a command with `--json` and return the document."""
        return json.loads(self.run(*argv, "--json", status=status))


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    for name in [name for name in os.environ if name.startswith("LAMELLA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LAMELLA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, capsys)


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    folder = tmp_path / "studies"
    folder.mkdir()
    for name in BUNDLED:
        source = Path(str(get_testdata_file(name, download=False)))
        (folder / name).write_bytes(source.read_bytes())
    (folder / "notes.txt").write_text("not DICOM")
    return folder


def read_sum(stdout: str) -> tuple[list[int], str]:
    match = SUM.fullmatch(stdout.splitlines()[-1])
    assert match is not None, stdout
    *counts, commit_id = match.groups()
    return [int(count) for count in counts], commit_id


def test_a_release_and_what_came_after(shell: Shell, studies: Path, tmp_path: Path) -> None:
    counts, first = read_sum(shell.run("import", "studies", "-m", "First light"))
    assert counts == [3, 0, 0, 0, 1]
    counts, again = read_sum(shell.run("import", "studies"))
    assert (counts, again) == ([0, 3, 0, 0, 1], first)
    assert first in shell.run("tag", "create", "v1")
    shell.run("tag", "create", "v1", status=1)

    ds = pydicom.dcmread(studies / "CT_small.dcm")
    ds.StudyDescription = "Changed"
    ds.save_as(studies / "CT_small.dcm")
    counts, second = read_sum(shell.run("import", "studies/CT_small.dcm"))
    assert counts == [1, 0, 0, 0, 0]

    log = shell.load("log")
    assert [commit["id"] for commit in log][:2] == [second, first]
    assert (log[1]["message"], log[1]["kind"]) == ("First light", "import")
    assert shell.load("log", "v1", "-n", 1)[0]["id"] == first
    diff = shell.load("diff", "v1", "main")
    assert (diff["from"], diff["to"], diff["added"], diff["removed"]) == (first, second, [], [])
    assert [(c["attributes"], c["bulk"]) for c in diff["changed"]] == [
        (["StudyDescription"], False)
    ]
    assert "StudyDescription" in shell.run("show", "main")
    assert shell.load("show", f"default@{second[:12]}")["changes"]["from"] == first

    line = shell.run("export", "v1", "out").splitlines()[-1]
    assert line.startswith("exported=3 failed=0 ")
    exported = {path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")}
    sources = {Path(str(get_testdata_file(name, download=False))).read_bytes() for name in BUNDLED}
    assert exported == sources
    shell.run("export", "v1", "out", status=2)


def test_outcomes_of_each_file(shell: Shell, studies: Path) -> None:
    shell.run("import", "studies")
    ds = pydicom.dcmread(studies / "CT_small.dcm")
    ds.PixelData = b"\1" * len(ds.PixelData)
    ds.save_as(studies / "CT_small.dcm")
    (studies / "rtplan.dcm").write_bytes((studies / "rtplan.dcm").read_bytes()[:400])
    with zipfile.ZipFile(studies / "more.zip", "w") as archive:
        archive.write(str(get_testdata_file("JPEG2000.dcm", download=False)), "one.dcm")
    results = shell.load("import", "studies", status=1)
    assert {os.path.relpath(r["path"], "studies"): r["outcome"] for r in results} == {
        "CT_small.dcm": "conflict",
        "MR_small.dcm": "unchanged",
        "more.zip/one.dcm": "stored",
        "notes.txt": "ignored",
        "rtplan.dcm": "refused",
    }
    assert all((r["reason"] is None) == (r["outcome"] in ("stored", "unchanged")) for r in results)
    (conflict,) = shell.load("conflicts")
    assert set(conflict) == {
        "id",
        "dataset",
        "branch",
        "study",
        "series",
        "instance",
        "reason",
        "time",
    }
    assert conflict["instance"] == ds.SOPInstanceUID
    assert conflict["reason"] in shell.run("conflicts", "list", "-d", "default")


def test_datasets_and_branches(shell: Shell, studies: Path) -> None:
    shell.run("dataset", "create", "trial")
    shell.run("dataset", "create", "trial", status=1)
    assert [d["name"] for d in shell.load("dataset", "list")] == ["default", "trial"]
    shell.run("branch", "create", "work", "trial")
    shell.run("import", "studies", "-d", "trial", "-b", "work")
    shell.run("import", "studies", "-d", "trial", "-b", "nope", status=1)
    assert [b["name"] for b in shell.load("branch", "list", "trial")] == ["main", "work"]
    assert len(shell.load("diff", "trial@main", "trial@work")["added"]) == 3
    assert len(shell.load("log", "-d", "trial", "work")) == 2
    shell.run("branch", "delete", "trial@work")
    shell.run("branch", "delete", "main", "-d", "trial", status=1)
    shell.run("dataset", "delete", "trial")
    shell.run("log", "trial", status=1)
    assert shell.run("migrate").strip()


def test_commands_work_beside_a_server(shell: Shell, studies: Path) -> None:
    shell.run("log")
    lock = ServerLock(shell.folder / "data")
    try:
        counts, _ = read_sum(shell.run("import", "studies"))
    finally:
        lock.release()
    assert counts[0] == 3


def test_a_reader_that_leaves_early_is_no_traceback(shell: Shell) -> None:
    shell.run("log")
    process = shell.start("log")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as stderr:
        assert stderr.read() == ""
    process.wait(60)


def test_an_interrupted_import_leaves_a_sound_archive(shell: Shell, tmp_path: Path) -> None:
    """The signal comes once the first unit is durable; what is staged then is committed."""
    folder = tmp_path / "many"
    folder.mkdir()
    ds = pydicom.dcmread(str(get_testdata_file("MR_small.dcm", download=False)))
    total = 1500
    for number in range(total):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.{number}"
        ds.save_as(folder / f"{number:05d}.dcm")
    process = shell.start("import", folder)
    packs = tmp_path / "data" / "packs"
    while process.poll() is None and not list(packs.rglob("*.pack")):
        time.sleep(0.01)  # until the first unit is durable
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert "Traceback" not in stderr
    assert process.returncode in (0, 130)  # 0 where it was faster than the signal
    counts, _ = read_sum(stdout)
    again, _ = read_sum(shell.run("import", str(folder)))
    assert again[:2] == [total - counts[0], counts[0]]

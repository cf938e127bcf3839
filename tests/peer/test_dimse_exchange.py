"""`push-dicom` and `pull-dicom` between two Lamellas: what is missing moves, and no more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lamella.cli.main import main
from tests.harness.server import RunningServer, serve
from tests.harness.stack import list_flags
from tests.peer.instances import make_instance, save_instance, save_series


@pytest.fixture
def far(tmp_path: Path) -> Iterator[RunningServer]:
    """A peer that is a Lamella too."""
    with serve(tmp_path / "far") as server:
        yield server


class Here:
    """An installation without a server, whose peer is `far`."""

    def __init__(self, folder: Path, far: RunningServer, capsys: pytest.CaptureFixture[str]):
        self._flags = list_flags(folder)
        self._capsys = capsys
        self.run("peer", "add", "far", far.dimse, far.aet)

    def run(self, *words: str, status: int = 0) -> str:
        self._capsys.readouterr()
        assert main([*words, *self._flags]) == status
        return self._capsys.readouterr().out

    def ask(self, *words: str, status: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", status=status))


@pytest.fixture
def here(tmp_path: Path, far: RunningServer, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(tmp_path / "here", far, capsys)


def list_uids(server: RunningServer) -> set[str]:
    found = httpx.get(f"{server.root()}/instances").json() or []
    return {one["00080018"]["Value"][0] for one in found}


def test_a_push_sends_what_is_missing(here: Here, far: RunningServer, tmp_path: Path) -> None:
    first = save_series(tmp_path / "one", 3)
    here.run("import", str(tmp_path / "one"))
    pushed = here.ask("push-dicom", "main", "far")
    assert (pushed["sent"], pushed["unchanged"], pushed["failed"]) == (3, 0, [])
    assert list_uids(far) == set(first)
    second = save_series(tmp_path / "two", 2)
    here.run("import", str(tmp_path / "two"))
    line = here.run("push-dicom", "main", "far")
    assert line.startswith("sent=2 unchanged=3 failed=0 commit=")
    assert list_uids(far) == set(first + second)
    assert here.ask("push-dicom", "main~1", "far", "--all")["sent"] == 3
    here.run("peer", "delete", "far")
    here.run("push-dicom", "main", "far", status=1)


def test_a_push_of_some_studies(here: Here, far: RunningServer, tmp_path: Path) -> None:
    ds = make_instance()
    save_instance(ds, tmp_path / "files" / "1.dcm")
    save_series(tmp_path / "files", 2)
    here.run("import", str(tmp_path / "files"))
    pushed = here.ask("push-dicom", "main", "far", "--study", str(ds.StudyInstanceUID))
    assert pushed["sent"] == 1
    assert list_uids(far) == {str(ds.SOPInstanceUID)}


def test_a_refused_push_names_what_failed(here: Here, far: RunningServer, tmp_path: Path) -> None:
    assert main(["aet", "add", "FROZEN", "main@2100", *list_flags(far.data_dir)]) == 1
    assert main(["tag", "create", "v0", *list_flags(far.data_dir)]) == 0
    assert main(["aet", "add", "FROZEN", "v0", *list_flags(far.data_dir)]) == 0
    (uid,) = save_series(tmp_path / "one", 1)
    here.run("import", str(tmp_path / "one"))
    here.run("peer", "add", "frozen", far.dimse, "FROZEN")
    pushed = here.ask("push-dicom", "main", "frozen", status=1)
    assert [(one["instance"], one["status"]) for one in pushed["failed"]] == [(uid, "0124")]
    here.run("peer", "add", "unknown", far.dimse, "NOBODY")
    here.run("push-dicom", "main", "unknown", status=1)


def test_a_pull_brings_what_is_missing(here: Here, far: RunningServer, tmp_path: Path) -> None:
    flags = list_flags(far.data_dir)
    uids = save_series(tmp_path / "one", 5)
    assert main(["import", str(tmp_path / "one" / "00001.dcm"), *flags]) == 0
    here.run("dataset", "create", "trial")
    pull = ("pull-dicom", "far", "PatientID=P1", "-d", "trial")
    assert here.ask(*pull) == {"studies": 1, "stored": 1, "unchanged": 0, "failed": 0}
    assert main(["import", str(tmp_path / "one"), *flags]) == 0
    assert here.ask(*pull) == {"studies": 1, "stored": 4, "unchanged": 1, "failed": 0}
    assert here.run(*pull) == "studies=1 stored=0 unchanged=5 failed=0\n"
    log = here.ask("log", "trial@main")
    assert [one["author"] for one in log[:2]] == ["dimse:LAMELLA"] * 2
    here.run("export", "trial@main", str(tmp_path / "out"))
    came = {path.stem for path in (tmp_path / "out").rglob("*.dcm")}
    assert came == set(uids)
    here.run("pull-dicom", "far", "PatientID", status=2)
    here.run("pull-dicom", "far", "Nonsense=1", status=2)


def test_a_pull_by_move_to_a_server_of_ours(
    far: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uids = save_series(tmp_path / "one", 3)
    far_flags = list_flags(far.data_dir)
    assert main(["import", str(tmp_path / "one"), *far_flags]) == 0
    with serve(tmp_path / "here") as near:
        assert main(["peer", "add", "near", near.dimse, near.aet, *far_flags]) == 0
        here = Here(near.data_dir, far, capsys)
        pulled = here.ask("pull-dicom", "far", "PatientID=P1", "--move", near.aet)
        assert pulled == {"studies": 1, "stored": 3, "unchanged": 0, "failed": 0}
        assert list_uids(near) == set(uids)

"""Orthanc as a peer in both directions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lamella.cli.main import main
from tests.harness.server import RunningServer, serve
from tests.harness.stack import list_flags
from tests.peer.instances import save_series
from tests.peer.orthanc import Orthanc, run_orthanc


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with serve(tmp_path / "data") as running:
        yield running


@pytest.fixture
def orthanc(server: RunningServer, tmp_path: Path) -> Iterator[Orthanc]:
    modalities: dict[str, list[object]] = {
        "lamella": [server.aet, "127.0.0.1", server.dimse_port],
    }
    with run_orthanc(tmp_path / "orthanc", modalities) as running:
        peer = ["peer", "add", "orthanc", f"127.0.0.1:{running.dimse_port}", "ORTHANC"]
        assert main([*peer, *list_flags(server.data_dir)]) == 0
        yield running


def run(server: RunningServer, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main([*words, *list_flags(server.data_dir)]) == 0
    return capsys.readouterr().out


def test_orthanc_finds_and_moves_what_lamella_has(
    server: RunningServer, orthanc: Orthanc, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uids = save_series(tmp_path / "files", 4)
    run(server, capsys, "import", str(tmp_path / "files"))
    modality = f"{orthanc.http}/modalities/lamella"
    assert httpx.post(f"{modality}/echo", json={}).status_code == 200
    query = {"Level": "Study", "Query": {"PatientID": "P1"}}
    found = httpx.post(f"{modality}/query", json=query)
    answer = f"{orthanc.http}/queries/{found.json()['ID']}"
    assert httpx.get(f"{answer}/answers").json() == ["0"]
    moved = httpx.post(f"{answer}/retrieve", content="ORTHANC", timeout=60)
    assert moved.status_code == 200, moved.text
    assert orthanc.list_uids() == set(uids)


def test_orthanc_stores_to_lamella(server: RunningServer, orthanc: Orthanc, tmp_path: Path) -> None:
    uids = save_series(tmp_path / "files", 3)
    for path in sorted((tmp_path / "files").iterdir()):
        assert httpx.post(f"{orthanc.http}/instances", content=path.read_bytes()).is_success
    study = httpx.get(f"{orthanc.http}/studies").json()[0]
    sent = httpx.post(f"{orthanc.http}/modalities/lamella/store", content=study, timeout=60)
    assert sent.json()["FailedInstancesCount"] == 0
    found = httpx.get(f"{server.root()}/instances").json()
    assert {one["00080018"]["Value"][0] for one in found} == set(uids)


def test_lamella_pushes_to_and_pulls_from_orthanc(
    server: RunningServer, orthanc: Orthanc, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uids = save_series(tmp_path / "files", 3)
    run(server, capsys, "import", str(tmp_path / "files"))
    run(server, capsys, "peer", "echo", "orthanc")
    pushed = json.loads(run(server, capsys, "push-dicom", "main", "orthanc", "--json"))
    assert (pushed["sent"], orthanc.list_uids()) == (3, set(uids))
    run(server, capsys, "dataset", "create", "trial")
    pull = ("pull-dicom", "orthanc", "PatientID=P*", "-d", "trial", "--json")
    pulled = json.loads(run(server, capsys, *pull))
    assert pulled == {"studies": 1, "stored": 3, "unchanged": 0, "failed": 0}
    assert json.loads(run(server, capsys, *pull))["unchanged"] == 3

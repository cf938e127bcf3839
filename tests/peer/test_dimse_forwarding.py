"""Rules by which commits go on to a peer, here one of pynetdicom's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from pynetdicom import AE, evt

from lamella.dimse_gateway.forwarding import parse_keys
from lamella.errors import InvalidRequest
from tests.harness.server import RunningServer, run_cli, serve
from tests.peer.instances import make_instance

WAIT_S = 90


@contextmanager
def receive(port: int, received: list[str], status: int = 0x0000) -> Iterator[int]:
    """Take instances at a port, and note their SOP Instance UIDs; yields the port."""
    entity = AE(ae_title="NEXT")
    entity.add_supported_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian)

    def take(event: Any) -> int:
        if status == 0x0000:
            received.append(str(event.request.AffectedSOPInstanceUID))
        return status

    handlers = [(evt.EVT_C_STORE, take)]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def push(server: RunningServer, *sent: Dataset) -> None:
    """Store instances in one association."""
    entity = AE(ae_title="MODALITY")
    entity.add_requested_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", server.dimse_port, ae_title="LAMELLA")
    for ds in sent:
        assert association.send_c_store(ds).Status == 0x0000
    association.release()


def make_series(modality: str, count: int) -> list[Dataset]:
    """Return instances of one series."""
    study_uid, series_uid = generate_uid(), generate_uid()
    made = [make_instance(study_uid, series_uid) for _ in range(count)]
    for ds in made:
        ds.Modality = modality
    return made


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once a condition holds."""
    deadline = monotonic() + WAIT_S
    while not condition():
        assert monotonic() < deadline, "What was waited for did not happen."
        sleep(0.1)


def list_jobs(server: RunningServer) -> list[dict[str, Any]]:
    """Return the work that there is and was, newest first."""
    listed = json.loads(run_cli(server.data_dir, "jobs", "list", "--json").stdout)
    return sorted(listed, key=lambda job: -job["id"])


def test_commits_go_on_to_a_peer(tmp_path: Path) -> None:
    received: list[str] = []
    ct, mr, later = make_series("CT", 3), make_series("MR", 2), make_series("CT", 1)
    with receive(0, received) as port:
        pass  # the peer has an address, and is down
    with serve(tmp_path / "data") as server:
        push(server, *make_series("CT", 1))  # before there is a rule
        run_cli(server.data_dir, "peer", "add", "next", f"127.0.0.1:{port}", "NEXT")
        added = run_cli(server.data_dir, "forward", "add", "next", "Modality=CT", "--json")
        rule = json.loads(added.stdout)
        assert rule | {"id": 0} == {
            "id": 0,
            "dataset": "default",
            "branch": None,
            "peer": "next",
            "keys": ["Modality=CT"],
        }
        assert json.loads(run_cli(server.data_dir, "forward", "list", "--json").stdout) == [rule]

        push(server, *ct, *mr)
        wait_for(lambda: "cannot be reached" in list_jobs(server)[0]["error"])
        with receive(port, received):
            wait_for(lambda: list_jobs(server)[0]["state"] == "done")
            assert sorted(received) == sorted(str(ds.SOPInstanceUID) for ds in ct)

            ct[0].SeriesDescription = "looked at again"
            push(server, ct[0])
            wait_for(lambda: len(received) == 4)
            assert received[3] == ct[0].SOPInstanceUID

            gone = run_cli(server.data_dir, "forward", "delete", str(rule["id"]))
            assert gone.returncode == 0, gone.stderr
            push(server, *later)
            wait_for(lambda: {job["state"] for job in list_jobs(server)} == {"done"})
            assert len(received) == 4
        assert len(list_jobs(server)) == 2


@pytest.mark.parametrize("text", ["CT", "Nothing=CT", "InstanceNumber=1", "StudyDate=yesterday"])
def test_keys_that_are_none(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_keys([text])


def test_a_rule_needs_a_peer(tmp_path: Path) -> None:
    refused = run_cli(tmp_path, "forward", "add", "nobody")
    assert refused.returncode == 1
    assert "nobody" in refused.stderr

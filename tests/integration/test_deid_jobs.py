"""De-identification asked for over the API and by rules, and what a person decides about it."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, run_cli, serve

NAME, MRN, STUDY = "Featherstonehaugh", "MRN8842197", "1.2.826.0.1.3680043.2.1125.77.1"
HEADERS = {"extends": "basic", "name": "headers", "pixels": {"text": "none"}}
PATIENCE_S = 240
MANY = 500


class Office:
    """A server as a privacy officer uses it."""

    def __init__(self, server: RunningServer, client: httpx.Client) -> None:
        self.server = server
        self.client = client
        self.api = f"{server.http}/api/v1"

    def ask(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        """Make a request of the API; return its JSON."""
        answer = self.client.request(method, f"{self.api}/{path}", **options)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def store(self, dataset: str, *files: bytes) -> None:
        """Store instances into the default branch."""
        for data in files:
            answer = self.client.post(
                f"{self.server.root(None, dataset)}/studies",
                content=data,
                headers={"Content-Type": "application/dicom"},
            )
            assert answer.status_code == 200, answer.text

    def wait(self, job: int) -> Any:
        """Wait until a job has ended; return it."""
        until = time.monotonic() + PATIENCE_S
        while (found := self.ask("GET", f"jobs/{job}"))["state"] in (
            "waiting",
            "running",
            "stopping",
        ):
            assert time.monotonic() < until, found
            time.sleep(0.2)
        return found

    def wait_for_rule(self, count: int) -> list[Any]:
        """Wait until so many jobs of rules have ended; return them, newest first."""
        jobs = self.ask("GET", "jobs?kind=deid")
        until = time.monotonic() + PATIENCE_S
        while len(jobs) < count:
            assert time.monotonic() < until, jobs
            time.sleep(0.2)
            jobs = self.ask("GET", "jobs?kind=deid")
        return [self.wait(job["id"]) for job in jobs]

    def list_names(self, dataset: str) -> list[str]:
        """Return the SOP Instance UIDs of a dataset."""
        answer = self.client.get(f"{self.server.root(None, dataset)}/instances")
        return [one["00080018"]["Value"][0] for one in answer.json()] if answer.content else []


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with (
        serve(tmp_path / "data", dimse="off") as server,
        httpx.Client(timeout=PATIENCE_S) as client,
    ):
        yield Office(server, client)


def make_slice(number: int, **attributes: object) -> bytes:
    """Return a CT slice of one patient."""
    return make_instance(
        STUDY,
        f"{STUDY}.1",
        f"{STUDY}.1.{number}",
        patient_id=MRN,
        rows=256,
        columns=256,
        fill=number,
        PatientName=f"{NAME}^Mary",
        InstanceNumber=number,
        **attributes,
    )


def make_head(number: int) -> bytes:
    """Return one of the thin slices of which a face could be rebuilt."""
    tissue = np.random.default_rng(number).integers(100, 1000, (256, 256)).astype("<u2")
    return make_slice(
        number, BodyPartExamined="HEAD", SliceThickness="1.0", PixelData=tissue.tobytes()
    )


def test_a_run_by_the_api(office: Office) -> None:
    office.store("default", make_slice(1), make_slice(2))
    wanted = {"destination": "public", "profile": HEADERS, "message": "First release"}
    answer = office.client.post(f"{office.api}/datasets/default/deid", json=wanted)
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"{office.api}/jobs/{answer.json()['id']}"
    job = office.wait(answer.json()["id"])
    assert (job["state"], job["done"], job["total"]) == ("done", 2, 2)
    assert job["result"]["verdicts"] == {"PASS": 2, "REVIEW": 0, "QUARANTINE": 0}
    (commit, _) = office.ask("GET", "datasets/public/commits")
    assert (commit["message"], commit["id"]) == ("First release", job["result"]["commit"])
    (run,) = office.ask("GET", "datasets/public/deid/runs")
    shown = office.ask("GET", f"datasets/public/deid/runs/{run['run']}")
    assert shown == {**run, "report": job["result"]}
    page = office.client.get(f"{office.api}/datasets/public/deid/runs/{run['run']}/report")
    assert page.headers["content-type"].startswith("text/html")
    told = page.text + json.dumps([job, shown, commit]) + "".join(office.server.errors)
    assert not any(secret in told for secret in (NAME, MRN, STUDY))


def test_a_job_is_cancelled_and_goes_on(tmp_path: Path) -> None:
    folder, data_dir = tmp_path / "in", tmp_path / "data"
    folder.mkdir()
    for number in range(MANY):
        data = make_instance(sop=f"1.2.3.1.{number}", InstanceNumber=number)
        (folder / f"{number}.dcm").write_bytes(data)
    assert run_cli(data_dir, "import", str(folder)).returncode == 0
    assert run_cli(data_dir, "dataset", "create", "public").returncode == 0
    with serve(data_dir, dimse="off") as server, httpx.Client(timeout=PATIENCE_S) as client:
        office = Office(server, client)
        wanted = {"destination": "public", "profile": HEADERS}
        job = office.ask("POST", "datasets/default/deid", 202, json=wanted)["id"]
        until = time.monotonic() + PATIENCE_S
        while office.ask("GET", f"jobs/{job}")["done"] == 0:
            assert time.monotonic() < until
            time.sleep(0.05)
        office.ask("POST", f"jobs/{job}/cancel")
        stopped = office.wait(job)
        assert stopped["state"] == "cancelled"
        assert [one["kind"] for one in office.ask("GET", "datasets/public/commits")] == ["initial"]
        office.ask("POST", f"jobs/{job}/retry")
        ended = office.wait(job)
        assert (ended["state"], ended["done"], ended["total"]) == ("done", MANY, MANY)
        assert ended["result"]["released"] == MANY
        assert 0 < ended["result"]["made"] < MANY
        runs = office.ask("GET", "datasets/public/deid/runs")
        assert [run["ended"] is not None for run in runs] == [True]


def test_what_is_asked_wrongly_is_refused_at_once(office: Office) -> None:
    office.store("default", make_slice(1))
    asks = "datasets/default/deid"
    for status, wanted in (
        (400, {"destination": "default"}),
        (400, {"destination": "default@other"}),
        (400, {"destination": "no name"}),
        (400, {"destination": "public", "profile": "nosuch"}),
        (400, {"destination": "public", "profile": {"options": ["nosuch"]}}),
        (400, {"destination": "public", "profile": {"edition": "1066"}}),
        (400, {"destination": "public", "unknown": 1}),
        (404, {"destination": "public", "key": "nosuch"}),
        (404, {"destination": "public", "revision": "nosuch"}),
    ):
        office.ask("POST", asks, status, json=wanted)
    office.ask("POST", "datasets/nosuch/deid", 404, json={"destination": "public"})
    office.ask("GET", "datasets/default/deid/runs/1", 404)
    office.ask("GET", "datasets/default/deid/reviews/1", 404)
    office.ask("DELETE", "datasets/default/deid/rules/1", 404)
    assert office.ask("GET", "jobs?kind=deid") == []


def test_a_rule_follows_a_branch(office: Office) -> None:
    office.store("default", make_slice(1))
    wanted = {"destination": "public", "profile": HEADERS, "map": False}
    rule = office.ask("POST", "datasets/default/deid/rules", 201, json=wanted)
    assert office.ask("GET", "datasets/default/deid/rules") == [rule]
    (first,) = office.wait_for_rule(1)
    assert first["result"]["released"] == 1
    office.store("default", make_slice(2))
    second, _ = office.wait_for_rule(2)
    assert (second["result"]["made"], second["result"]["released"]) == (1, 2)
    assert len(office.list_names("public")) == 2
    back = {"destination": "default", "profile": HEADERS}
    office.ask("POST", "datasets/public/deid/rules", 400, json=back)
    office.ask("DELETE", f"datasets/default/deid/rules/{rule['id']}", 204)
    office.store("default", make_slice(3))
    assert len(office.ask("GET", "jobs?kind=deid")) == 2
    assert len(office.list_names("public")) == 2


def test_a_person_decides(office: Office) -> None:
    heads = [make_head(number) for number in range(1, 25)]
    office.store("default", *heads)
    wanted = {"destination": "public", "profile": HEADERS}
    job = office.wait(office.ask("POST", "datasets/default/deid", 202, json=wanted)["id"])
    assert job["result"]["reasons"] == {"face": 24}
    assert office.list_names("public") == []
    reviews = "datasets/public/deid/reviews"
    page = office.ask("GET", f"{reviews}?limit=10")
    waiting = [*page, *office.ask("GET", f"{reviews}?after={page[-1]['number']}")]
    assert [len(page), len(waiting)] == [10, 24]
    assert not any(secret in json.dumps(waiting) for secret in (NAME, MRN, STUDY))
    first, second, third = (one["number"] for one in waiting[:3])

    accepted = office.ask("POST", f"{reviews}/{first}/accept")
    assert accepted["later"] == 0
    assert office.list_names("public") == [waiting[0]["instance"]]
    office.ask("POST", f"{reviews}/{first}/accept", 409)
    office.ask("POST", f"{reviews}/{second}/reject")
    office.ask("POST", f"{reviews}/{second}/redact", 409, json={"boxes": [make_box(1, 1, 1, 1)]})

    for status, box in (
        (400, make_box(250, 0, 10, 10)),
        (400, make_box(0, 0, 5, 5) | {"frame": 2}),
    ):
        office.ask("POST", f"{reviews}/{third}/redact", status, json={"boxes": [box]})
    redacted = office.ask(
        "POST", f"{reviews}/{third}/redact", json={"boxes": [make_box(10, 20, 30, 5)]}
    )
    assert (redacted["decision"], redacted["later"]) == ("redacted", 0)
    shown = office.ask("GET", f"{reviews}/{third}")
    assert shown["boxes"] == [make_box(10, 20, 30, 5) | {"frame": 1}]
    assert (shown["decision"], shown["author"]) == ("redacted", "anonymous")
    copy = read_instance(office, waiting[2]["instance"])
    original = pydicom.dcmread(io.BytesIO(heads[copy.InstanceNumber - 1])).pixel_array
    expected = original.copy()
    expected[20:25, 10:40] = original.min()
    assert (copy.pixel_array == expected).all()
    codes = [code.CodeValue for code in copy.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113101"]

    again = office.wait(office.ask("POST", "datasets/default/deid", 202, json=wanted)["id"])
    assert (again["result"]["made"], again["result"]["created"]) == (0, False)
    assert again["result"]["decisions"] == {"accepted": 1, "redacted": 1, "rejected": 1}
    assert len(office.list_names("public")) == 2


def test_pictures_for_those_who_decide(office: Office) -> None:
    heads = [make_head(number) for number in range(1, 25)]
    document = make_instance("1.2.9", "1.2.9.1", "1.2.9.1.1", EncapsulatedDocument=b"%PDF")
    office.store("default", *heads, document)
    wanted = {"destination": "public", "profile": HEADERS}
    office.wait(office.ask("POST", "datasets/default/deid", 202, json=wanted)["id"])
    waiting = office.ask("GET", "datasets/public/deid/reviews")
    number = next(one["number"] for one in waiting if one["has_result"])
    url = f"{office.api}/datasets/public/deid/reviews/{number}/picture"
    picture = office.client.get(url)
    assert picture.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(picture.content)).size == (256, 256)
    assert office.client.get(f"{url}?frame=2").status_code == 404
    originals = f"deid/originals/public/{number}/picture"
    shown = office.client.get(f"{office.api}/datasets/default/{originals}")
    assert shown.status_code == 200
    assert Image.open(io.BytesIO(shown.content)).size == (256, 256)
    office.ask("POST", "datasets", 201, json={"name": "other"})
    assert office.client.get(f"{office.api}/datasets/other/{originals}").status_code == 404
    (held,) = (one for one in waiting if not one["has_result"])
    office.ask("GET", f"datasets/public/deid/reviews/{held['number']}/picture", 409)
    office.ask("POST", f"datasets/public/deid/reviews/{held['number']}/accept", 409)


def make_box(x: int, y: int, width: int, height: int) -> dict[str, int]:
    """Return a box as the API takes it."""
    return {"x": x, "y": y, "width": width, "height": height}


def read_instance(office: Office, sop_uid: str) -> pydicom.FileDataset:
    """Return an instance of the destination."""
    answer = office.client.get(f"{office.api}/datasets/public/instances/{sop_uid}/file")
    assert answer.status_code == 200
    return pydicom.dcmread(io.BytesIO(answer.content))

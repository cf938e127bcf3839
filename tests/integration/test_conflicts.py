"""What a person decides about instances in conflict, over the API and the command line."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pydicom
import pytest

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, run_cli, serve

STUDY, SERIES, SOP = "1.2.3", "1.2.3.1", "1.2.3.1.1"
OTHER_PIXELS: dict[str, Any] = {"fill": 9}
OTHER_PATIENT: dict[str, Any] = {"patient_id": "SOMEONE-ELSE"}
OTHER_SERIES: dict[str, Any] = {"series": "1.2.3.77"}
NEIGHBOUR: dict[str, Any] = {"sop": "1.2.3.1.555", "patient_id": "SOMEONE-ELSE"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("conflicts") / "data", dimse="off") as running:
        yield running
    checked = run_cli(running.data_dir, "fsck", "--bytes")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture
def collection(server: RunningServer) -> Iterator[Collection]:
    with open_client() as client:
        made = make_collection(client, server)
        made.store_well(make_instance())
        yield made


def refuse(collection: Collection, **attributes: Any) -> tuple[int, bytes]:
    """Store what is in conflict; return the id in the queue, and the file."""
    data = make_instance(**attributes)
    assert collection.store(data).status_code == 409
    return collection.call("GET", "/conflicts")[-1]["id"], data


def decide(
    collection: Collection, conflict_id: int, resolution: str, **headers: str
) -> httpx.Response:
    url = f"{collection.api}/conflicts/{conflict_id}/{resolution}"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return collection.client.post(url, headers=sent)


def list_held(collection: Collection, revision: str = "main") -> list[tuple[str, str]]:
    found = collection.get("/instances", revision).json()
    return sorted((one["0020000E"]["Value"][0], one["00080018"]["Value"][0]) for one in found)


@pytest.mark.parametrize(
    "attributes", [OTHER_PIXELS, OTHER_PATIENT, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}]
)
@pytest.mark.parametrize("resolution", ["accept", "as-version"])
def test_the_new_one_in_place_of_the_old(
    collection: Collection, attributes: dict[str, Any], resolution: str
) -> None:
    old_head, old_file = collection.head(), collection.read_file(SOP)
    conflict_id, new_file = refuse(collection, **attributes)
    answer = decide(collection, conflict_id, resolution)
    assert answer.status_code == 200, answer.text
    made = answer.headers["lamella-commit"]
    assert answer.json()["commit"] == made == collection.head() != old_head
    log = collection.log()
    assert (log[0]["kind"], log[0]["parents"]) == ("resolve", [old_head])
    assert (collection.read_file(SOP), collection.read_file(SOP, old_head)) == (new_file, old_file)
    assert list_held(collection) == list_held(collection, old_head) == [(SERIES, SOP)]
    assert collection.call("GET", "/conflicts") == []


def test_accept_moves_an_instance_between_series(collection: Collection) -> None:
    old_head = collection.head()
    conflict_id, new_file = refuse(collection, **OTHER_SERIES)
    assert decide(collection, conflict_id, "as-version").status_code == 409
    assert collection.head() == old_head
    assert decide(collection, conflict_id, "accept").status_code == 200
    assert list_held(collection) == [("1.2.3.77", SOP)]
    assert list_held(collection, old_head) == [(SERIES, SOP)]
    assert collection.read_file(SOP) == new_file


def test_accept_takes_an_instance_into_a_known_study(collection: Collection) -> None:
    conflict_id, _ = refuse(collection, **NEIGHBOUR)
    refused = decide(collection, conflict_id, "as-version")
    assert (refused.status_code, set(refused.json())) == (409, {"title", "status", "detail"})
    assert decide(collection, conflict_id, "accept").status_code == 200
    assert list_held(collection) == [(SERIES, SOP), (SERIES, "1.2.3.1.555")]


def test_discard(collection: Collection) -> None:
    head = collection.head()
    conflict_id, data = refuse(collection, **OTHER_PIXELS)
    answer = decide(collection, conflict_id, "discard")
    assert (answer.status_code, answer.json()["commit"]) == (200, None)
    assert "lamella-commit" not in answer.headers
    assert collection.call("GET", "/conflicts") == []
    assert collection.head() == head
    assert collection.store(data).status_code == 409, "the same may be queued again"
    (waiting,) = collection.call("GET", "/conflicts")
    assert waiting["id"] > conflict_id


@pytest.mark.parametrize("resolution", ["accept", "as-version", "discard"])
def test_a_decision_is_taken_once(collection: Collection, resolution: str) -> None:
    conflict_id, _ = refuse(collection, **OTHER_PIXELS)
    before = collection.head()
    first = decide(collection, conflict_id, resolution, If_Match=f'"{before}"')
    again = decide(collection, conflict_id, resolution, If_Match=f'"{before}"')
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert len(collection.log()) == (2 if resolution == "discard" else 3)
    for other in {"accept", "as-version", "discard"} - {resolution}:
        assert decide(collection, conflict_id, other).status_code == 409
    (kept,) = collection.call("GET", "/conflicts?resolved=true")
    assert kept == collection.call("GET", f"/conflicts/{conflict_id}") == first.json()
    assert (kept["resolution"], kept["author"]) == (resolution, "anonymous")


def test_on_condition(collection: Collection) -> None:
    conflict_id, _ = refuse(collection, **OTHER_PIXELS)
    stale = collection.head()
    head = collection.store_well(make_instance(sop="1.2.3.1.2"))
    assert decide(collection, conflict_id, "accept", If_Match=f'"{stale}"').status_code == 412
    assert decide(collection, conflict_id, "accept", If_Match="x").status_code == 400
    assert len(collection.call("GET", "/conflicts")) == 1
    answer = decide(
        collection, conflict_id, "accept", If_Match=f'"{head}"', Lamella_Message="The right one"
    )
    assert answer.status_code == 200
    assert collection.log()[0]["message"] == "The right one"
    assert list_held(collection) == [(SERIES, SOP), (SERIES, "1.2.3.1.2")]


def test_what_the_branch_holds_by_now_needs_no_commit(collection: Collection) -> None:
    conflict_id, data = refuse(collection, **OTHER_PIXELS)
    collection.client.delete(f"{collection.root()}/studies/{STUDY}")
    head = collection.store_well(data)
    answer = decide(collection, conflict_id, "accept")
    assert (answer.status_code, answer.headers["lamella-commit"]) == (200, head)


def test_the_refused_file_can_be_looked_at(collection: Collection) -> None:
    conflict_id, data = refuse(collection, **OTHER_PIXELS)
    url = f"{collection.api}/conflicts/{conflict_id}/file"
    answer = collection.client.get(url)
    assert answer.content == data
    assert answer.headers["content-type"].startswith("application/dicom")
    assert decide(collection, conflict_id, "discard").status_code == 200
    assert collection.client.get(url).content == data
    assert pydicom.dcmread(io.BytesIO(data)).SOPInstanceUID == SOP


@pytest.mark.parametrize("number", ["0", "999999", "9" * 30])
def test_what_is_not_there(collection: Collection, number: str) -> None:
    url = f"{collection.api}/conflicts/{number}"
    assert collection.client.get(url).status_code == 404
    assert collection.client.get(f"{url}/file").status_code == 404
    for resolution in ("accept", "as-version", "discard"):
        assert collection.client.post(f"{url}/{resolution}").status_code == 404


def test_a_conflict_of_another_dataset_is_not_there(collection: Collection) -> None:
    conflict_id, _ = refuse(collection, **OTHER_PIXELS)
    other = make_collection(collection.client, collection.server)
    assert decide(other, conflict_id, "discard").status_code == 404
    assert len(collection.call("GET", "/conflicts")) == 1


def test_a_branch_that_is_gone_takes_nothing(collection: Collection) -> None:
    collection.make_ref("branches", "draft")
    assert collection.store(make_instance(fill=9), revision="draft").status_code == 409
    (waiting,) = collection.call("GET", "/conflicts")
    assert collection.client.delete(f"{collection.api}/branches/draft").status_code == 204
    assert decide(collection, waiting["id"], "accept").status_code == 404
    assert decide(collection, waiting["id"], "discard").status_code == 200


def test_the_command_line(collection: Collection) -> None:
    ids = [refuse(collection, fill=fill)[0] for fill in (7, 8, 9)]

    def run(*arguments: str, status: int = 0) -> str:
        done = run_cli(collection.server.data_dir, "conflicts", *arguments)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    listed = json.loads(run("-d", collection.name, "--json"))
    assert [one["id"] for one in listed] == ids
    accepted = json.loads(run("accept", str(ids[0]), "-m", "Seven", "--json"))
    assert [one["commit"] for one in accepted] == [collection.head()]
    assert collection.log()[0]["message"] == "Seven"
    assert f"as-version by {collection.log()[0]['author']}" in run("as-version", str(ids[1]))
    assert "discard by" in run("discard", str(ids[2]), "-d", collection.name)
    assert run("discard", str(ids[2]))
    run("accept", str(ids[2]), status=1)
    run("accept", "999999", status=1)
    run("accept", status=2)
    run("list", "1", status=2)
    assert run("list", "-d", collection.name) == ""
    assert len(run("list", "--resolved", "-d", collection.name).splitlines()) == 9
    assert collection.read_file(SOP) == make_instance(fill=8)

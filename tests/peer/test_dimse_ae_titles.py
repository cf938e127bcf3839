"""AE titles that stand for branches and frozen releases, as peers meet them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from lamella.cli.main import main
from lamella.dimse_gateway.ae_titles import add_ae_title, delete_ae_title
from lamella.dimse_gateway.routes import add_route
from lamella.vcs.datasets import create_dataset
from lamella.vcs.refs import BRANCH, TAG, create_ref, find_dataset, read_head
from lamella.vcs.view import open_view
from tests.harness.server import serve
from tests.harness.stack import list_flags
from tests.peer.dcmtk import run_tool
from tests.peer.door import Door, open_door
from tests.peer.instances import make_instance, save_instance, save_series

CALLED_UNKNOWN, CALLING_UNKNOWN = (1, 1, 7), (1, 1, 3)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path / "data", calling_aets="STORESCU,FINDSCU") as opened:
        yield opened


async def add(door: Door, title: str, revision: str, *callers: str) -> None:
    await door.repository.archive.database.write(
        lambda c: add_ae_title(c, title, "default", revision, callers)
    )


async def make_ref(door: Door, kind: str, name: str) -> None:
    def make(connection: Any) -> None:
        owner = find_dataset(connection, "default")
        head = read_head(connection, owner.id, "main")
        create_ref(connection, owner.id, kind, name, head)

    await door.repository.archive.database.write(make)


def knock(port: int, calling: str, called: str) -> tuple[int, int, int] | None:
    """Return how an association is rejected; None if it is not."""
    entity = AE(ae_title=calling)
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if association.is_established:
        association.release()
        return None
    answer = association.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


async def count_studies(door: Door, called: str) -> int:
    found = await run_tool(
        "findscu", "-S", "-aec", called, "-k", "QueryRetrieveLevel=STUDY",
        "-k", "StudyInstanceUID", "127.0.0.1", str(door.port),
    )  # fmt: skip
    assert found.exit_status == 0, found.output
    return found.output.count("Find Response:")


async def test_a_tag_is_found_as_it_was_and_takes_no_stores(door: Door, tmp_path: Path) -> None:
    save_series(tmp_path / "one", 2)
    assert (await door.storescu(tmp_path / "one")).exit_status == 0
    await make_ref(door, TAG, "v1")
    await add(door, "FROZEN", "v1")
    path = save_instance(make_instance(), tmp_path / "two" / "1.dcm")
    refused = await door.storescu(path.parent, called="FROZEN")
    assert "0x124" in refused.output
    assert (await door.storescu(path.parent)).exit_status == 0
    assert await count_studies(door, "LAMELLA") == 2
    assert await count_studies(door, "FROZEN") == 1


async def test_a_branch_takes_stores_and_is_found_at_its_head(door: Door, tmp_path: Path) -> None:
    await make_ref(door, BRANCH, "trial")
    await add(door, "TRIAL", "trial")
    save_series(tmp_path / "one", 2)
    assert (await door.storescu(tmp_path / "one", called="TRIAL")).exit_status == 0
    assert await count_studies(door, "TRIAL") == 1
    assert await count_studies(door, "LAMELLA") == 0


async def test_callers_are_those_of_the_title_or_else_of_the_settings(door: Door) -> None:
    await add(door, "OPEN", "main")
    await add(door, "CLOSED", "main", "FRIEND", "OTHER")
    expected = {
        ("STORESCU", "LAMELLA"): None,
        ("STORESCU", "OPEN"): None,
        ("STORESCU", "CLOSED"): CALLING_UNKNOWN,
        ("FRIEND", "CLOSED"): None,
        ("FRIEND", "OPEN"): CALLING_UNKNOWN,
        ("STORESCU", "NOBODY"): CALLED_UNKNOWN,
        ("FRIEND", "NOBODY"): CALLING_UNKNOWN,
    }
    met = {names: await asyncio.to_thread(knock, door.port, *names) for names in expected}
    assert met == expected
    await door.repository.archive.database.write(lambda c: delete_ae_title(c, "OPEN"))
    assert await asyncio.to_thread(knock, door.port, "STORESCU", "OPEN") == CALLED_UNKNOWN


def test_a_running_server_knows_titles_and_peers_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    flags = list_flags(folder)
    with serve(folder) as server:
        assert knock(server.dimse_port, "ANY", "CHEST-V1") == CALLED_UNKNOWN
        assert main(["aet", "add", "CHEST-V1", "default@main", *flags]) == 0
        assert knock(server.dimse_port, "ANY", "CHEST-V1") is None
        assert main(["aet", "add", "CHEST-V1", "main", *flags]) == 1
        assert main(["aet", "add", "BAD/ONE", "main", *flags]) == 1
        assert main(["aet", "add", "OTHER", "default@nowhere", *flags]) == 1
        aets = f"{server.http}/api/v1/aets"
        made = httpx.post(aets, json={"title": "WEB", "dataset": "default", "callers": ["CT1"]})
        assert made.status_code == 201
        assert {k: made.json()[k] for k in ("revision", "callers")} == {
            "revision": "main",
            "callers": ["CT1"],
        }
        assert [one["title"] for one in httpx.get(aets).json()] == ["CHEST-V1", "WEB"]
        assert knock(server.dimse_port, "MR1", "WEB") == CALLING_UNKNOWN
        assert httpx.delete(f"{aets}/WEB").status_code == 204
        assert httpx.delete(f"{aets}/WEB").status_code == 404
        assert main(["aet", "delete", "CHEST-V1", *flags]) == 0
        assert knock(server.dimse_port, "ANY", "CHEST-V1") == CALLED_UNKNOWN

        assert main(["peer", "add", "self", server.dimse, "LAMELLA", *flags]) == 0
        assert main(["peer", "add", "lost", "127.0.0.1:1", "LOST", *flags]) == 0
        assert main(["peer", "add", "self", "127.0.0.1:2", "TWICE", *flags]) == 1
        capsys.readouterr()
        assert main(["peer", "echo", "self", *flags]) == 0
        assert main(["peer", "echo", "lost", *flags]) == 1
        assert main(["peer", "echo", "nobody", *flags]) == 1
        told = capsys.readouterr()
        assert told.out == "Peer self answers.\n"
        assert "cannot be reached" in told.err
        peers = f"{server.http}/api/v1/peers"
        new = {"name": "pacs", "host": "10.0.0.5", "port": 104, "title": "PACS", "tls": True}
        assert httpx.post(peers, json=new).status_code == 201
        assert httpx.post(peers, json=new).status_code == 409
        assert httpx.post(peers, json={**new, "name": "p2", "title": "P2", "port": 0}).is_error
        assert [one["name"] for one in httpx.get(peers).json()] == ["lost", "pacs", "self"]
        check_rules(server.http)
        assert httpx.delete(f"{peers}/pacs").status_code == 204


def check_rules(http: str) -> None:
    """Add, list and delete the rules of both directions by the API; peer `pacs` is known."""
    routes, forwarding = f"{http}/api/v1/routes", f"{http}/api/v1/forwarding"
    added = httpx.post(
        routes, json={"dataset": "default", "calling": "CT*", "match": "Modality=CT"}
    )
    assert (added.status_code, added.json()["branch"]) == (201, "main")
    assert httpx.post(routes, json={"dataset": "default", "match": "Nonsense=1"}).status_code == 400
    assert httpx.post(routes, json={"dataset": "nowhere"}).status_code == 404
    assert httpx.get(routes).json() == [added.json()]
    assert [httpx.delete(f"{routes}/1").status_code for _ in range(2)] == [204, 404]

    added = httpx.post(
        forwarding, json={"dataset": "default", "peer": "pacs", "keys": ["Modality=CT"]}
    )
    assert (added.status_code, added.json()["branch"]) == (201, None)
    for wrong, status in (({"peer": "nobody"}, 404), ({"peer": "pacs", "keys": ["CT"]}, 400)):
        assert httpx.post(forwarding, json={"dataset": "default", **wrong}).status_code == status
    assert httpx.get(forwarding).json() == [added.json()]
    here = f"{forwarding}/{added.json()['id']}"
    assert [httpx.delete(here).status_code for _ in range(2)] == [204, 404]


async def test_stores_follow_the_first_route_that_fits(door: Door, tmp_path: Path) -> None:
    def prepare(connection: Any) -> None:
        create_dataset(connection, "head")
        create_dataset(connection, "rest")
        add_route(connection, "head", None, match="BodyPartExamined=HE?D", calling="STORE*")
        add_route(connection, "rest", "main", called="OTHER")
        add_ae_title(connection, "OTHER", "default", "main")

    await door.repository.archive.database.write(prepare)
    made = [make_instance() for _ in range(3)]
    made[0].BodyPartExamined, made[1].BodyPartExamined = "HEAD", "CHEST"
    for number, ds in enumerate(made):
        save_instance(ds, tmp_path / "files" / f"{number}.dcm")
    uids = [str(ds.SOPInstanceUID) for ds in made]
    assert (await door.storescu(tmp_path / "files")).exit_status == 0
    assert await list_uids(door, "head") == {uids[0]}
    assert await list_uids(door, "default") == {uids[1], uids[2]}
    assert (await door.storescu(tmp_path / "files", called="OTHER")).exit_status == 0
    assert await list_uids(door, "rest") == {uids[1], uids[2]}
    assert await count_studies(door, "OTHER") == 2


async def list_uids(door: Door, dataset: str) -> set[str]:
    def read(connection: Any) -> set[str]:
        view = open_view(connection, door.repository, dataset, None)
        return {uid for _, _, uid, _ in view.tree(connection, door.repository).walk()}

    return await door.repository.archive.database.read(read)


def test_routes_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = list_flags(tmp_path / "data")
    words = ["aet", "route", "add", "default@main", "--calling", "CT1", "--match", "Modality=CT"]
    assert main([*words, *flags]) == 0
    assert main(["aet", "route", "add", "main", "--match", "Nonsense=1", *flags]) == 1
    assert main(["aet", "route", "add", "nowhere", *flags]) == 1
    capsys.readouterr()
    assert main(["aet", "route", "list", *flags]) == 0
    assert capsys.readouterr().out.split() == ["1", "CT1", "to", "*", "Modality=CT", "default@main"]
    assert main(["aet", "route", "delete", "1", *flags]) == 0
    assert main(["aet", "route", "delete", "1", *flags]) == 1

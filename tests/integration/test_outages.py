"""Several nodes on PostgreSQL when something goes wrong: a restart, a death, a clock."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pynetdicom import AE

from lamella.archive.database import open_database
from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.postgresql import PostgreSQLServer, run_postgresql_server
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, launch_server, serve

CLIENTS = 4
SKEWED_BY_S = -3600
SKEW = f"""
import time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + {SKEWED_BY_S}
time.time_ns = lambda: _time_ns() + {SKEWED_BY_S} * 10**9
"""


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSQLServer]:
    with run_postgresql_server() as server:
        yield server


@pytest.fixture(scope="module")
def shared(database: PostgreSQLServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What all nodes have in common."""
    packs = tmp_path_factory.mktemp("shared") / "packs"
    return {"database_url": database.url, "storage_url": f"file://{packs}"}


@pytest.fixture(scope="module")
def node(
    shared: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("node") / "data", **shared) as running:
        yield running


class Caller(threading.Thread):
    """Calls again and again until it is told to stop; keeps all answers."""

    def __init__(self, call: Callable[[], httpx.Response]) -> None:
        super().__init__()
        self.answers: list[httpx.Response] = []
        self.told = threading.Event()
        self._call = call

    def run(self) -> None:
        while not self.told.is_set():
            self.answers.append(self._call())


def test_a_restart_of_the_database_in_mid_request(
    node: RunningServer, database: PostgreSQLServer
) -> None:
    """What was under way is refused with 503, to be tried again; then service goes on."""
    stored: list[str] = []
    with open_client() as client:
        collection = make_collection(client, node)

        def store() -> httpx.Response:
            sop_uid = f"1.2.3.1.{threading.get_ident()}.{len(stored)}"
            answer = collection.store(make_instance(sop=sop_uid))
            stored.extend([sop_uid] * (answer.status_code == 200))
            return answer

        def search() -> httpx.Response:
            return collection.get("/studies?PatientID=PAT1")

        def look() -> httpx.Response:  # at what was looked at before, which is known
            return collection.get("/studies/1.7/series/1.7.1/metadata", revision=known)

        known = collection.store_well(make_instance("1.7", "1.7.1", "1.7.1.1"))
        callers = [Caller(call) for call in (store, search, look) for _ in range(CLIENTS)]
        for caller in callers:
            caller.start()
        _wait_for(callers, 200)
        database.end()
        _wait_for(callers, 503)
        assert client.get(f"{node.http}/readyz").status_code == 503
        database.start()
        _wait_for(callers, 200)
        for caller in callers:
            caller.told.set()
            caller.join()
        answers = [answer for caller in callers for answer in caller.answers]
        assert {answer.status_code for answer in answers} == {200, 503}
        refused = [answer for answer in answers if answer.status_code == 503]
        assert {answer.headers.get("retry-after") for answer in refused} == {"5"}
        for sop_uid in stored:
            assert collection.read_file(sop_uid) == make_instance(sop=sop_uid)
        assert client.get(f"{node.http}/readyz").json()["status"] == "ready"


def test_what_a_dead_node_acknowledged_is_committed_by_another(
    database: PostgreSQLServer, shared: dict[str, str], tmp_path: Path
) -> None:
    file = make_instance("1.9", "1.9.1", "1.9.1.1")
    gateway = launch_server(tmp_path / "gateway", **shared)
    try:
        entity = AE("TEST")
        entity.add_requested_context("1.2.840.10008.5.1.4.1.1.2")
        association = entity.associate("127.0.0.1", gateway.dimse_port, ae_title=gateway.aet)
        connection = association.dul.socket.socket
        assert association.send_c_store(dcmread(BytesIO(file))).Status == 0
    finally:
        gateway.kill()
    association.dul.join()
    connection.close()
    with serve(tmp_path / "early", dimse="off", **shared) as other, open_client() as client:
        default = Collection(client, other, "default")
        assert default.get("/studies/1.9/metadata").status_code == 404  # its lease still runs
    end_leases(database.url)
    with serve(tmp_path / "late", dimse="off", **shared) as other, open_client() as client:
        default = Collection(client, other, "default")
        (found,) = default.get("/studies/1.9/metadata").json()
        assert found["00080018"]["Value"] == ["1.9.1.1"]


def test_a_node_whose_clock_is_wrong(
    node: RunningServer, shared: dict[str, str], tmp_path: Path
) -> None:
    """Times and leases are the database's, so commits stand in order and none is from before."""
    (tmp_path / "sitecustomize.py").write_text(SKEW)
    root = Path(__file__).parents[2]
    slow = launch_server(
        tmp_path / "slow", prefix=("env", f"PYTHONPATH={tmp_path}:{root}"), dimse="off", **shared
    )
    try:
        with open_client() as client:
            collection = make_collection(client, node)
            twin = Collection(client, slow, collection.name)
            begun = datetime.now(UTC) - timedelta(seconds=1)
            for n in range(6):
                (collection, twin)[n % 2].store_well(make_instance(sop=f"1.2.3.1.{n}"))
            times = [datetime.fromisoformat(one["time"]) for one in collection.log()[:6]]
            assert all(later > earlier for later, earlier in pairwise(times))
            assert times[-1] >= begun
            now = times[0].isoformat().replace("+00:00", "Z")
            assert len(twin.get("/instances", f"main@{now}").json()) == 6
        assert slow.stop() == 0
    finally:
        if slow.process.poll() is None:
            slow.kill()
        slow.close_streams()


def end_leases(url: str) -> None:
    """Let the lease of every session run out."""

    async def run() -> None:
        database = open_database(url)
        await database.write(lambda c: c.execute(sa.text("UPDATE session SET lease_us = 0")))
        await database.close()

    asyncio.run(run())


def _wait_for(callers: list[Caller], status: int) -> None:
    """Wait until each caller has one more answer with a status."""
    counts = [len(caller.answers) for caller in callers]
    for caller, count in zip(callers, counts, strict=True):
        while caller.is_alive():
            if any(answer.status_code == status for answer in caller.answers[count:]):
                break
            threading.Event().wait(0.05)
        else:
            raise AssertionError("a caller got no answer")

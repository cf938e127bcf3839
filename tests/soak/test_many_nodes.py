"""Nodes are killed and services go away under load: nothing acknowledged is lost, nothing wrong.

Two API nodes, two workers and a gateway on one PostgreSQL, S3 and Redis server. `make soak` runs it
for `LAMELLA_SOAK_S` seconds (ten minutes), in which nodes are killed (SIGKILL) and each service is
away for 20 s, again and again; `make test` runs each outage once, for less long.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle, pairwise
from pathlib import Path
from random import Random
from time import monotonic, sleep

import pytest

from tests.crash.ledger import Fate, Ledger, digest_file
from tests.crash.load import Source
from tests.harness.postgresql import PostgreSQLServer, run_postgresql_server
from tests.harness.redis_server import RedisServer, run_redis
from tests.harness.s3_server import CREDENTIALS, S3Server
from tests.harness.server import launch_worker, run_command
from tests.harness.web import fetch_file, send
from tests.soak.journal import Journal
from tests.soak.nodes import Node
from tests.soak.senders import JOB_KIND, MIXTURE, Sender, Site, StoredBatch

LONG_S = 600.0
LEASES_S = 180.0
"""How long to wait for what dead nodes left: its leases run out within 60 s."""

START_S = 300.0
UNEXPECTED = ("unexpected error", "Traceback")

# pynetdicom's requestor leaves its sockets to the garbage collector when a server dies.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@dataclass(frozen=True)
class Pace:
    """How a run goes.

    Attributes:
        outage_s: How long each service is away.
        calm_s: Between what is done.
        least_s: How long to go on; each thing is done once at least.
    """

    outage_s: float
    calm_s: float
    least_s: float


SHORT = Pace(outage_s=3, calm_s=2, least_s=0)


def read_long_pace() -> Pace:
    """Return how the long form goes."""
    return Pace(outage_s=20, calm_s=15, least_s=float(os.environ.get("LAMELLA_SOAK_S", LONG_S)))


@pytest.fixture(autouse=True)
def quiet_requestor(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let pynetdicom not report each connection that a kill cuts; tell where S3 takes us from."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    logger = logging.getLogger("pynetdicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)


@pytest.mark.parametrize(
    "is_long",
    [
        pytest.param(False, id="short", marks=pytest.mark.timeout(900)),
        pytest.param(True, id="long", marks=[pytest.mark.soak, pytest.mark.timeout(7200)]),
    ],
)
def test_many_nodes(tmp_path: Path, s3_server: S3Server, is_long: bool) -> None:
    pace = read_long_pace() if is_long else SHORT
    ledger, journal, stored = Ledger(), Journal(), list[StoredBatch]()
    with run_postgresql_server() as postgresql, run_redis() as redis:
        shared = {
            "database_url": postgresql.url,
            "storage_url": f"s3://{s3_server.make_bucket()}/nodes",
            "s3_endpoint_url": s3_server.url,
            "redis_url": redis.url_of(),
            "log_level": "warning",
        }
        with run_nodes(tmp_path, shared) as nodes:
            sites = [
                Site(
                    *(postgresql.url, nodes[:2], nodes[2], ledger, journal, stored),
                    Random(name),
                    source,
                )
                for name, source in make_sources()
            ]
            senders = make_senders(sites)
            for sender in senders:
                sender.start()
            trouble = Trouble(journal, nodes, make_outages(postgresql, s3_server, redis))
            try:
                trouble.make(pace)
            finally:
                for sender in senders:
                    sender.finish()
            wait_for_sessions(nodes[0], ledger)
            wait_for_jobs(nodes[0])
            check_stored(nodes[:2], ledger)
            check_history(nodes[0])
        tell(journal, ledger, trouble)
        assert ledger.troubles == []
        assert [line for node in nodes for line in node.log if is_unexpected(line)] == []
        fsck = run_command(tmp_path / nodes[0].name, "fsck", "--bytes", **shared)
        assert fsck.returncode == 0, fsck.stdout + fsck.stderr
    gc.collect()


Outage = Callable[[], AbstractContextManager[None]]


class Trouble:
    """Kills nodes and takes services away, by turns."""

    def __init__(self, journal: Journal, nodes: Sequence[Node], outages: dict[str, Outage]) -> None:
        self.seconds = 0.0
        self._journal = journal
        self._nodes = nodes
        self._outages = outages

    def make(self, pace: Pace) -> None:
        """Do all of it, again and again for the time that the pace says."""
        begun_s = monotonic()
        victims = cycle(self._nodes)
        sleep(pace.calm_s)
        while True:
            for name, outage in self._outages.items():
                self._kill(next(victims))
                sleep(pace.calm_s)
                self._take_away(name, outage, next(victims), pace)
                sleep(pace.calm_s)
            self.seconds = monotonic() - begun_s
            if self.seconds >= pace.least_s:
                return

    def _kill(self, node: Node) -> None:
        with self._journal.event(f"{node.name} killed"):
            node.kill()
            node.wait_until_up(START_S)

    def _take_away(self, name: str, outage: Outage, victim: Node, pace: Pace) -> None:
        """Let a service be away, and kill a node meanwhile."""
        with self._journal.event(f"{name} away {pace.outage_s:g} s, {victim.name} killed"):
            with outage():
                sleep(pace.outage_s / 2)
                victim.kill()
                sleep(pace.outage_s / 2)
            for node in self._nodes:
                node.wait_until_up(START_S)


def make_outages(
    postgresql: PostgreSQLServer, s3_server: S3Server, redis: RedisServer
) -> dict[str, Outage]:
    """Return what can be away, by name."""

    @contextmanager
    def without_postgresql() -> Iterator[None]:
        postgresql.end()
        try:
            yield
        finally:
            postgresql.start()

    @contextmanager
    def without_redis() -> Iterator[None]:
        redis.kill()
        try:
            yield
        finally:
            redis.start()

    return {"PostgreSQL": without_postgresql, "S3": s3_server.stopped, "Redis": without_redis}


@contextmanager
def run_nodes(folder: Path, shared: dict[str, str]) -> Iterator[list[Node]]:
    """Run two API nodes, a gateway and two workers, which start at once on an empty database."""
    nodes = [
        Node("api-1", folder / "api-1", {**shared, "dimse": "off"}),
        Node("api-2", folder / "api-2", {**shared, "dimse": "off"}),
        Node("gateway", folder / "gateway", shared),
        Node("worker-1", folder / "worker-1", shared, launch_worker),
        Node("worker-2", folder / "worker-2", shared, launch_worker),
    ]
    with ExitStack() as stack:
        for node in nodes:
            node.start()
            stack.callback(node.abandon)
        for node in nodes:
            node.wait_until_up(START_S)
        yield nodes
        for node in nodes:
            node.stop()
        stack.pop_all()


def make_sources() -> Iterator[tuple[str, Source]]:
    """Yield a name and a source for each client: an instance is sent by one of them alone."""
    seed = os.environ.get("LAMELLA_TEST_SEED") or str(Random().getrandbits(32))
    print(f"seed {seed} (LAMELLA_TEST_SEED repeats it)")
    for number in range(sum(count for _, count, _ in MIXTURE)):
        yield f"{seed} {number}", Source(f"{seed} {number}", f"P-{number}")


def make_senders(sites: Sequence[Site]) -> list[Sender]:
    """Return the clients of the mixture."""
    left = iter(sites)
    return [Sender(work, next(left), pause_s) for work, n, pause_s in MIXTURE for _ in range(n)]


def wait_for_sessions(node: Node, ledger: Ledger) -> None:
    """Wait until what a dead gateway had acknowledged is in commits."""
    must = [uid for uid, (_, _, is_there) in ledger.list_acceptable().items() if is_there]
    end = monotonic() + LEASES_S
    while any(fetch_file(node.http, uid).status == 404 for uid in must[-200:]):
        assert monotonic() < end, "what was acknowledged is in no commit"
        threading.Event().wait(1)


def wait_for_jobs(node: Node) -> None:
    """Wait until all work that was asked for is done."""
    end = monotonic() + LEASES_S
    while True:
        jobs = json.loads(send(f"{node.http}/api/v1/jobs?kind={JOB_KIND}&limit=1000").body)
        states = {job["state"] for job in jobs}
        assert jobs
        assert states <= {"waiting", "running", "done"}, jobs
        if states == {"done"}:
            return
        assert monotonic() < end, f"work is not done: {states}"
        sleep(1)


def check_stored(nodes: Sequence[Node], ledger: Ledger) -> None:
    """See that each instance is there as it was acknowledged, or as a later request has it."""
    for number, (uid, (door, digests, is_there)) in enumerate(ledger.list_acceptable().items()):
        reply = fetch_file(nodes[number % len(nodes)].http, uid)
        if reply.status == 404 and not is_there:
            continue
        assert reply.status == 200, f"{uid}: {reply.status}"
        assert digest_file(reply.body, door) in digests, uid


def check_history(node: Node) -> None:
    """See that the branch is one line of commits, in the order of their times."""
    commits = list(read_history(node))
    assert len({one["id"] for one in commits}) == len(commits)
    for newer, older in pairwise(commits):
        assert newer["parents"] == [older["id"]]
        assert newer["time"] > older["time"]
    assert commits[-1]["parents"] == []


def read_history(node: Node) -> Iterator[dict[str, object]]:
    """Yield all commits of the branch, newest first."""
    url, last = f"{node.http}/api/v1/datasets/default/commits?revision=main&limit=500", ""
    while page := json.loads(send(url + last).body):
        yield from page
        last = f"&before={page[-1]['id']}"


def is_unexpected(line: str) -> bool:
    """Tell whether a node logged what it did not foresee."""
    return any(word in line for word in UNEXPECTED)


def tell(journal: Journal, ledger: Ledger, trouble: Trouble) -> None:
    """Print the report."""
    fates = [request.fate for request in ledger.requests]
    instances = sum(is_there for _, _, is_there in ledger.list_acceptable().values())
    print(f"{trouble.seconds:.0f} s of trouble; {fates.count(Fate.ACKNOWLEDGED)} stores ", end="")
    print(f"acknowledged, {fates.count(Fate.CUT)} not; {instances} instances acknowledged")
    print("\n".join(journal.report()))
    kinds = Counter((one.split(":")[0], one.strip().rpartition("\n")[2]) for one in ledger.troubles)
    for (sender, error), count in kinds.most_common():
        print(f"{count} times, {sender}: {error}")

"""Several DIMSE processes on one port: they share the work, and one that is killed loses none."""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from tests.crash import load
from tests.crash.ledger import Fate, Ledger
from tests.crash.load import Load, Source, associate
from tests.harness.server import RunningServer, launch_server, list_children, run_cli, serve
from tests.harness.web import fetch_file, send

WAIT_S = 40  # shorter than a lease: what a dead process left must not wait for that
SENDERS = ("dimse-1", "dimse-2", "dimse-3", "dimse-4")

# pynetdicom's requestor leaves its sockets to the garbage collector when a server dies.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def quiet_requestor() -> Iterator[None]:
    """Let pynetdicom not report each connection that a kill cuts."""
    logger = logging.getLogger("pynetdicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)


def test_associations_are_spread_over_the_processes(tmp_path: Path) -> None:
    with serve(tmp_path, dimse_processes="2") as server, ExitStack() as held:
        entity = AE()
        entity.add_requested_context(Verification)
        for _ in range(4):
            association = held.enter_context(associate(entity, server))
            assert association.send_c_echo().Status == 0x0000

        spread = read_associations(server)

        assert len(list_children(server.process.pid)) == 1
        assert sum(spread) == 4
        assert min(spread) >= 1
        assert len(spread) == 2


def test_associations_beyond_the_limit_of_all_are_rejected(tmp_path: Path) -> None:
    with serve(tmp_path, dimse_processes="2", dimse_associations="4") as server:
        entity = AE()
        entity.add_requested_context(Verification)
        with ExitStack() as held:
            for _ in range(4):
                assert held.enter_context(associate(entity, server)).is_established
            assert read_rejection(held.enter_context(associate(entity, server))) == (2, 3, 2)
        wait_for(lambda: sum(read_associations(server)) == 0, "the associations do not end")
        with associate(entity, server) as again:
            assert again.is_established


def test_a_killed_process_loses_nothing_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # associations that last: the kill meets each in the middle, with much that is not committed
    monkeypatch.setattr(load, "STORES_AN_ASSOCIATION", 100_000)
    ledger = Ledger()
    server = launch_server(tmp_path, dimse_processes="2")
    try:
        (killed,) = list_children(server.process.pid)
        senders = Load(server, ledger, {name: Source(name, name) for name in SENDERS})
        senders.start()
        wait_for(lambda: count(ledger, Fate.ACKNOWLEDGED) >= 20, "the associations do not get on")
        assert min(read_associations(server)) >= 1

        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: count(ledger, Fate.CUT) >= 1, "nobody was cut off")
        before = count(ledger, Fate.ACKNOWLEDGED)
        wait_for(lambda: count(ledger, Fate.ACKNOWLEDGED) >= before + 10, "the others were stopped")
        senders.finish()

        assert ledger.troubles == []
        acknowledged = [uid for uid, (_, _, must) in ledger.list_acceptable().items() if must]
        wait_for(lambda: all_visible(server, acknowledged), "acknowledged instances are missing")
        wait_for(lambda: has_replacement(server, killed), "no process took the dead one's place")
        assert server.stop() == 0
    finally:
        if server.process.poll() is None:
            server.kill()
        server.close_streams()
    assert not list((tmp_path / "packs" / "spool").glob("*.spool"))
    report = run_cli(tmp_path, "fsck", "--bytes")
    assert report.returncode == 0, report.stdout + report.stderr


def read_associations(server: RunningServer) -> list[int]:
    """Return how many associations each process has."""
    text = send(f"{server.http}/metrics").body.decode()
    found = re.findall(r"^lamella_dimse_associations\{pid=\"\d+\"\} (\d+)", text, re.MULTILINE)
    return [int(value) for value in found]


def read_rejection(association: Association) -> tuple[int, int, int]:
    """Return result, source and reason of a rejected association."""
    assert association.is_rejected
    primitive = association.acceptor.primitive
    return primitive.result, primitive.result_source, primitive.diagnostic


def has_replacement(server: RunningServer, killed: int) -> bool:
    """Tell whether there is another process, which accepts."""
    children = list_children(server.process.pid)
    return bool(children) and killed not in children and len(read_associations(server)) == 2


def all_visible(server: RunningServer, sop_uids: list[str]) -> bool:
    """Tell whether all of these are in the head."""
    return all(fetch_file(server.http, sop_uid).status == 200 for sop_uid in sop_uids)


def count(ledger: Ledger, fate: Fate) -> int:
    """Return how many requests ended so."""
    return sum(request.fate is fate for request in ledger.since(0))


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Return once a condition holds; fail if it does not come to."""
    deadline = monotonic() + WAIT_S
    while monotonic() < deadline:
        if condition():
            return
        sleep(0.1)
    pytest.fail(what)

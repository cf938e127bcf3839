"""SIGKILL under load, again and again: what was acknowledged stays, nothing is half there."""

from __future__ import annotations

import gc
import io
import logging
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from pydicom import dcmread

from tests.crash.ledger import Door, Fate, Ledger, Request, digest_file
from tests.crash.load import LAMELLA, ROOT, Import, Load, Source, make_environ
from tests.harness.server import RunningServer, launch_server, run_cli, serve
from tests.harness.stack import choose_stack
from tests.harness.web import fetch_file, send

SENDERS = ("stow-1", "stow-2", "dimse-1", "dimse-2")
LONGEST_LOAD_S = 1.2
SHARE_WITH_IMPORT = 0.4
SHARE_KILLED_AT_START = 0.2
START_S = (0.8, 2.5)
SHARE_IN_FLIGHT = 0.8
REQUESTS = (Door.STOW, Door.C_STORE)

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


@pytest.mark.parametrize(
    "n_kills",
    [
        pytest.param(10, id="10-kills", marks=pytest.mark.timeout(900)),
        pytest.param(200, id="200-kills", marks=[pytest.mark.soak, pytest.mark.timeout(7200)]),
    ],
)
def test_nothing_acknowledged_is_lost(tmp_path: Path, n_kills: int) -> None:
    seed = os.environ.get("LAMELLA_TEST_SEED") or str(Random().getrandbits(32))
    print(f"seed {seed} (LAMELLA_TEST_SEED repeats it)")
    crash = Crash(tmp_path, seed)

    try:
        for _ in range(n_kills):
            crash.run_and_kill()
    except BaseException:
        crash.kill_import()
        raise

    print(f"kills with requests in flight: {crash.n_cut_kills} of {n_kills}")
    assert crash.n_cut_kills >= SHARE_IN_FLIGHT * n_kills
    with serve(crash.data_dir) as server:
        crash.finish_import()
        crash.check_answered(server, 0)
        crash.check_listing(server)
    assert crash.ledger.troubles == []
    assert crash.list_spool() == set()
    report = run_cli(crash.data_dir, "fsck", "--bytes")
    assert report.returncode == 0, report.stdout + report.stderr
    fates = [request.fate for request in crash.ledger.requests]
    gc.collect()
    print(f"acknowledged {fates.count(Fate.ACKNOWLEDGED)}, cut {fates.count(Fate.CUT)}")


class Crash:
    """One data folder whose server is killed over and over.

    Attributes:
        n_cut_kills: How many kills left a sender without its answer.
    """

    def __init__(self, folder: Path, seed: str) -> None:
        self.data_dir = folder / "data"
        self.ledger = Ledger()
        self.n_cut_kills = 0
        self._folder = folder
        self._random = Random(f"{seed} times")
        self._sources = {name: Source(f"{seed} {name}", f"P-{name}") for name in SENDERS}
        self._import_source = Source(f"{seed} import", "P-import")
        self._import: Import | None = None
        self._n_imports = 0
        self._checked = 0

    def run_and_kill(self) -> None:
        """Start the server, look at what the last kill left, load it, kill it."""
        leftovers = self.list_spool() if self._import is None else set()
        if self._random.random() < SHARE_KILLED_AT_START:
            self._kill_while_it_starts()
        server = launch_server(self.data_dir)
        try:
            assert leftovers.isdisjoint(self.list_spool())
            self._checked = self.check_answered(server, self._checked)
            load = Load(server, self.ledger, self._sources)
            load.start()
            self._begin_import()
            time.sleep(self._random.uniform(0.05, LONGEST_LOAD_S))
            under_way = self.ledger.list_open(*REQUESTS)
        finally:
            server.kill()
            for stream in (server.process.stdout, server.process.stderr):
                assert stream is not None
                stream.close()
        load.finish()
        self.n_cut_kills += any(request.fate is Fate.CUT for request in under_way)
        self._end_import()

    def finish_import(self) -> None:
        """Let the last import end by itself."""
        if self._import is not None:
            self._import.finish()
            self._import = None

    def kill_import(self) -> None:
        """Kill the import that runs, if one does."""
        if self._import is not None:
            self._import.kill()
            self._import = None

    def check_answered(self, server: RunningServer, first: int) -> int:
        """Compare requests from number `first` on with the archive.

        Returns:
            The number of the first request that is still under way.
        """
        requests = self.ledger.since(first)
        acceptable = self.ledger.list_acceptable()
        for request in requests:
            if request.fate is not Fate.OPEN:
                _check_request(server, request, acceptable)
        open_numbers = [one.number for one in requests if one.fate is Fate.OPEN]
        return min(open_numbers, default=first + len(requests))

    def check_listing(self, server: RunningServer) -> None:
        """See that all that is listed can be had, is whole, and is counted right."""
        acceptable = self.ledger.list_acceptable()
        seen = set()
        for study_uid, n_instances in _list_studies(server):
            listed = _list_instances(server, study_uid)
            assert len(listed) == n_instances
            for sop_uid in listed:
                file = fetch_file(server.http, sop_uid)
                assert file.status == 200
                door, digests, _ = acceptable[sop_uid]
                assert digest_file(file.body, door) in digests
                ds = dcmread(io.BytesIO(file.body))
                assert ds.SOPInstanceUID == sop_uid
                assert len(ds.PixelData) == 2 * ds.Rows * ds.Columns
            seen.update(listed)
        assert seen >= {sop_uid for sop_uid, (_, _, must) in acceptable.items() if must}

    def list_spool(self) -> set[str]:
        """Return the names of the spool files that there are."""
        return {path.name for path in (self.data_dir / "packs" / "spool").glob("*.spool")}

    def _kill_while_it_starts(self) -> None:
        """Kill a server before, within or after its recovery."""
        settings = {"data_dir": str(self.data_dir), "http": "127.0.0.1:0", "dimse": "off"}
        settings |= choose_stack(self.data_dir)
        process = subprocess.Popen(
            [*LAMELLA, "serve"],
            env=make_environ(**settings),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )
        time.sleep(self._random.uniform(*START_S))
        process.kill()
        process.wait()

    def _begin_import(self) -> None:
        if self._import is None and self._random.random() < SHARE_WITH_IMPORT:
            self._n_imports += 1
            folder = self._folder / f"import-{self._n_imports}"
            self._import = Import(self.data_dir, folder, self._import_source, self.ledger)

    def _end_import(self) -> None:
        """Take leave of an import that has ended, or kill it with the server, or let it run on."""
        if self._import is None:
            return
        if not self._import.is_running:
            self.finish_import()
        elif self._random.random() < 0.3:
            self.kill_import()


def _check_request(
    server: RunningServer, request: Request, acceptable: dict[str, tuple[Door, list[str], bool]]
) -> None:
    present = []
    for sample in request.samples:
        reply = fetch_file(server.http, sample.sop_uid)
        door, digests, must = acceptable[sample.sop_uid]
        assert reply.status in (200, 404), reply.body
        assert reply.status == 200 or not must, f"{request.door} lost {sample.sop_uid}"
        if reply.status == 200:
            assert digest_file(reply.body, door) in digests
        present.append(reply.status == 200)
    if request.door is Door.STOW:
        assert len(set(present)) == 1, "half of a request is there"


def _list_studies(server: RunningServer) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    while True:
        query = f"limit=100&offset={len(found)}&includefield=00201208"
        reply = send(f"{server.root()}/studies?{query}")
        page = reply.json if reply.status == 200 else []
        found += [(one["0020000D"]["Value"][0], one["00201208"]["Value"][0]) for one in page]
        if len(page) < 100:
            return found


def _list_instances(server: RunningServer, study_uid: str) -> list[str]:
    reply = send(f"{server.root()}/studies/{study_uid}/instances")
    assert reply.status == 200, reply.body
    return [one["00080018"]["Value"][0] for one in reply.json]

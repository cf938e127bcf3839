"""A stop that is asked for, and starts that must not be."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pynetdicom import AE

from tests.crash.ledger import Door, Fate, Ledger
from tests.crash.load import LAMELLA, ROOT, Load, Source, make_environ
from tests.harness.multiframe import MultiFrame
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, launch_server, run_cli, serve
from tests.harness.web import fetch_file, store, store_stream

WAIT_S = 60

# pynetdicom's requestor leaves its socket to the garbage collector when it is refused.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def test_stop_answers_what_is_under_way(tmp_path: Path) -> None:
    """SIGTERM in the middle of an upload and of associations: each sender gets its answer."""
    ledger = Ledger()
    server = launch_server(tmp_path)
    try:
        upload = SlowUpload(MultiFrame("2.25.11", 8))
        load = Load(server, ledger, {name: Source(name, name) for name in ("dimse-1", "dimse-2")})
        load.start()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(store_stream, server.root(), upload.chunks())
            assert upload.is_half_sent.wait(WAIT_S)
            wait_for_stores(ledger, 10)

            server.process.send_signal(signal.SIGTERM)
            wait_for_log(server, "stopping")
            upload.may_go_on.set()

            assert answer.result(WAIT_S).status == 200
        assert server.process.wait(WAIT_S) == 0
        load.finish()
    finally:
        close(server)

    assert ledger.troubles == []
    acknowledged = [one for one in ledger.requests if one.fate is Fate.ACKNOWLEDGED]
    assert len(acknowledged) >= 10
    with serve(tmp_path) as again:
        body = fetch_file(again.http, upload.instance.sop_uid).body
        assert body == b"".join(upload.instance.chunks())
        for sop_uid, (_, _, must) in ledger.list_acceptable().items():
            assert fetch_file(again.http, sop_uid).status == 200 or not must
    assert run_cli(tmp_path, "fsck", "--bytes").returncode == 0


def test_stop_does_not_wait_for_an_idle_association(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        entity = AE()
        entity.add_requested_context("1.2.840.10008.1.1")
        association = entity.associate("127.0.0.1", server.dimse_port, ae_title=server.aet)
        assert association.is_established
        assert association.send_c_echo().Status == 0x0000

        assert server.stop() == 0

        association.join(WAIT_S)
        assert association.is_aborted


def test_second_server_and_taken_ports_are_refused(tmp_path: Path) -> None:
    with serve(tmp_path / "first") as server:
        taken, other = server.http.removeprefix("http://"), str(tmp_path / "second")

        second = run_serve(data_dir=str(server.data_dir), http="127.0.0.1:0", dimse="off")
        http = run_serve(data_dir=other, http=taken, dimse="off")
        dimse = run_serve(data_dir=other, http="127.0.0.1:0", dimse=server.dimse)

        assert_one_sentence(second, "Another server is running on this data folder.")
        assert_one_sentence(http, f"HTTP cannot listen on {taken}")
        assert_one_sentence(dimse, f"DIMSE cannot listen on {server.dimse}")
        assert store(server.root(), [make_instance()]).status == 200


@pytest.mark.parametrize("open_door", ["http", "dimse"])
def test_open_doors_need_a_word(tmp_path: Path, open_door: str) -> None:
    settings = {"http": "127.0.0.1:0", "dimse": "127.0.0.1:0", open_door: "0.0.0.0:0"}

    refused = run_serve(data_dir=str(tmp_path), **settings)

    assert_one_sentence(refused, "LAMELLA_INSECURE=1")
    with serve(tmp_path, insecure="1", **settings) as server:
        assert int(server.http.rpartition(":")[2]) > 0
        assert server.dimse_port > 0


class SlowUpload:
    """A sender that stops half-way until it is told to go on."""

    def __init__(self, instance: MultiFrame) -> None:
        self.instance = instance
        self.is_half_sent = threading.Event()
        self.may_go_on = threading.Event()

    def chunks(self) -> Iterator[bytes]:
        """Yield the file."""
        for number, chunk in enumerate(self.instance.chunks()):
            if number == self.instance.n_frames // 2:
                self.is_half_sent.set()
                assert self.may_go_on.wait(WAIT_S)
            yield chunk


def wait_for_stores(ledger: Ledger, count: int) -> None:
    """Return once so many C-STOREs were acknowledged."""
    pause = threading.Event()
    for _ in range(WAIT_S * 20):
        done = [one for one in ledger.since(0) if one.fate is Fate.ACKNOWLEDGED]
        if len(done) >= count:
            assert all(one.door is Door.C_STORE for one in done)
            return
        pause.wait(0.05)
    raise AssertionError("the associations do not get on")


def wait_for_log(server: RunningServer, message: str) -> None:
    """Return once the server has logged something."""
    pause = threading.Event()
    for _ in range(WAIT_S * 20):
        if any(f'"message":"{message}"' in line for line in server.errors):
            return
        pause.wait(0.05)
    raise AssertionError(f"the server does not log {message!r}")


def run_serve(**settings: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to give up at once."""
    return subprocess.run(
        [*LAMELLA, "serve"],
        env=make_environ(**settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
        cwd=ROOT,
    )


def assert_one_sentence(done: subprocess.CompletedProcess[str], words: str) -> None:
    """See that a command failed with one sentence that has these words."""
    assert done.returncode == 1
    assert done.stderr.startswith("lamella: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def close(server: RunningServer) -> None:
    """Let go of a server that has ended, or end it."""
    if server.process.poll() is None:
        server.kill()
    for stream in (server.process.stdout, server.process.stderr):
        if stream is not None:
            stream.close()

"""Peers that send what no peer may: the door answers others, and is afterwards what it was."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from tests.harness.dimse_wire import (
    ABORT,
    ACCEPT,
    LAST,
    P_DATA,
    REJECT,
    VERIFICATION,
    Wire,
    echo,
    make_associate_rq,
    make_command,
    make_p_data,
    make_pdu,
    make_store_rq,
)
from tests.harness.server import RunningServer, serve
from tests.harness.web import send
from tests.peer.instances import encode_data_set, make_instance

IDLE_ASSOCIATIONS = 200
LONGEST = 2**32 - 1
ROOM_KIB = 48 << 10  # what the first pages, caches and threads of a process may add to its memory
POOLED_THREADS = 12  # of pools and queues, which start when they are wanted and stay
WAIT_S = 40
PRIVATE_CLASS = "1.2.826.0.1.3680043.2.1143.99.1"
PRINTING_CLASS = "1.2.840.10008.5.1.1.9"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("attacked")) as running:
        echo(running.dimse_port)
        yield running


@pytest.fixture(autouse=True)
def unharmed(server: RunningServer) -> Iterator[None]:
    """Compare the server before and after each attack."""
    threads, memory_kib = read_status(server, "Threads"), read_status(server, "VmRSS")
    yield
    assert echo(server.dimse_port) == 0x0000
    wait_for(lambda: count_associations(server) == 0)
    wait_for(lambda: read_status(server, "Threads") <= threads + POOLED_THREADS)
    assert read_status(server, "VmRSS") < memory_kib + ROOM_KIB
    assert "Traceback" not in "\n".join(server.errors)


def read_status(server: RunningServer, name: str) -> int:
    """Return a figure of the server's process."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def count_associations(server: RunningServer) -> int:
    """Return how many associations there are."""
    name = "lamella_dimse_associations "
    lines = send(f"{server.http}/metrics").body.decode().splitlines()
    return next(int(float(line.split()[1])) for line in lines if line.startswith(name))


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once a condition holds."""
    deadline = monotonic() + WAIT_S
    while not condition():
        assert monotonic() < deadline, "What was waited for did not happen."
        sleep(0.05)


def make_long() -> tuple[str, bytes]:
    """Return an instance's UID and its data set, which takes several PDUs."""
    ds = make_instance()
    ds.Rows, ds.Columns, ds.PixelData = 400, 500, bytes(200_000)
    return str(ds.SOPInstanceUID), encode_data_set(ds)


@pytest.mark.parametrize("kind", [0x01, 0x04])
@pytest.mark.parametrize("length", [0, 1, LONGEST])
def test_lengths_that_cannot_be(server: RunningServer, kind: int, length: int) -> None:
    with Wire(server.dimse_port) as wire:
        wire.send(make_pdu(kind, b"", length=length))
        wire.socket.shutdown(1)
        wire.read_to_end()


@pytest.mark.parametrize("length", [0, 1, 5, LONGEST])
def test_lengths_that_cannot_be_within_an_association(server: RunningServer, length: int) -> None:
    with Wire(server.dimse_port) as wire:
        assert wire.associate_for_storage() == ACCEPT
        wire.send(make_pdu(P_DATA, bytes(min(length, 64)), length=length))
        assert wire.read_pdu()[0] in (ABORT, 0)


def test_data_cut_off_within_a_pdu(server: RunningServer) -> None:
    sop_uid, data = make_long()
    with Wire(server.dimse_port) as wire:
        assert wire.associate_for_storage() == ACCEPT
        wire.send(make_store_rq(sop_uid))
        wire.send(make_p_data(data[:100_000], 0)[:60_000])
        wire.socket.shutdown(1)
        wire.read_to_end()


@pytest.mark.parametrize("sent_bytes", [0, 1, 70_000, 8_000_000])
def test_resets_in_mid_transfer(server: RunningServer, sent_bytes: int) -> None:
    for _ in range(5):
        wire = Wire(server.dimse_port)
        assert wire.associate_for_storage() == ACCEPT
        wire.send(make_store_rq(generate_uid()))
        for start in range(0, sent_bytes, 100_000):
            wire.send(make_p_data(bytes(min(100_000, sent_bytes - start)), 0))
        wire.reset()
    wait_for(lambda: not list(server.data_dir.rglob("*.spool")))


def test_sop_classes_that_are_not_for_storage(server: RunningServer) -> None:
    with Wire(server.dimse_port) as wire:
        contexts = [(PRINTING_CLASS, ExplicitVRLittleEndian), (VERIFICATION, "1.2.840.10008.1.2")]
        wire.send(make_associate_rq(contexts))
        kind, body = wire.read_pdu()
        assert kind == ACCEPT
        assert re.search(rb"\x21\x00..\x01\x00\x03\x00", body)  # context 1: unknown class
        wire.send(make_p_data(make_command(e0100=1, e0110=1, e0800=0), 3))
        assert wire.read_pdu()[0] == ABORT


def test_a_store_in_a_context_of_another_service(server: RunningServer) -> None:
    sop_uid, data = make_long()
    with Wire(server.dimse_port) as wire:
        assert wire.associate((VERIFICATION, ExplicitVRLittleEndian)) == ACCEPT
        wire.send(make_store_rq(sop_uid) + make_p_data(data, LAST))
        assert wire.read_status() == 0x0122


@pytest.mark.parametrize("lie", ["instance", "class"])
def test_a_data_set_of_another_identity_than_its_command(server: RunningServer, lie: str) -> None:
    sop_uid, data = make_long()
    sop_class_uid = PRIVATE_CLASS if lie == "class" else SecondaryCaptureImageStorage
    with Wire(server.dimse_port) as wire:
        assert wire.associate_for_storage() == ACCEPT
        wire.send(make_store_rq("1.2.3" if lie == "instance" else sop_uid, sop_class_uid))
        wire.send(make_p_data(data, LAST))
        assert wire.read_status() == 0xA900
        wire.send(make_store_rq(sop_uid) + make_p_data(data, LAST))
        assert wire.read_status() == 0x0000


def test_idle_associations(server: RunningServer) -> None:
    with ExitStack() as held:
        wires = [held.enter_context(Wire(server.dimse_port)) for _ in range(IDLE_ASSOCIATIONS)]
        answers = {wire.associate() for wire in wires}
        assert answers == {ACCEPT}
        assert echo(server.dimse_port) == 0x0000


def test_idle_connections(server: RunningServer) -> None:
    with ExitStack() as held:
        for _ in range(IDLE_ASSOCIATIONS):
            held.enter_context(Wire(server.dimse_port))
        assert echo(server.dimse_port) == 0x0000


def test_slow_senders_keep_nobody_waiting(server: RunningServer) -> None:
    sop_uid, data = make_long()
    request = make_associate_rq([(SecondaryCaptureImageStorage, ExplicitVRLittleEndian)])
    stop = threading.Event()
    with ExitStack() as held:
        wires = [held.enter_context(Wire(server.dimse_port)) for _ in range(40)]
        for wire in wires[:20]:
            wire.send(request[:50])
        for wire in wires[20:]:
            assert wire.associate_for_storage() == ACCEPT
            wire.send(make_store_rq(sop_uid) + make_p_data(data, 0)[:1000])
        trickle = threading.Thread(target=drip, args=(wires[20:], stop))
        trickle.start()
        try:
            assert [echo(server.dimse_port) for _ in range(5)] == [0x0000] * 5
        finally:
            stop.set()
            trickle.join()


def drip(wires: list[Wire], stop: threading.Event) -> None:
    """Send a byte at a time."""
    while not stop.wait(0.02):
        for wire in wires:
            wire.send(b"\0")


def test_requests_that_nobody_waits_for(server: RunningServer) -> None:
    for _ in range(20):
        wire = Wire(server.dimse_port)
        wire.send(make_associate_rq())
        wire.reset()


def test_a_request_that_names_no_one_of_ours(server: RunningServer) -> None:
    with Wire(server.dimse_port) as wire:
        wire.send(make_associate_rq(called="OTHER"))
        assert wire.read_pdu() == (REJECT, b"\0\x01\x01\x07")

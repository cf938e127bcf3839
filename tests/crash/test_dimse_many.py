"""Many instances over eight associations, and a kill -9 in the middle of them."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import pytest
import sqlalchemy as sa
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from lamella.archive.installation import open_archive
from lamella.dimse_gateway.depot import COMMIT_INSTANCES
from lamella.settings import load_settings
from lamella.vcs.log import read_log
from lamella.vcs.refs import find_dataset, read_head
from lamella.vcs.repository import Repository
from lamella.vcs.view import open_view
from tests.harness.dimse_wire import (
    ACCEPT,
    LAST,
    RELEASE_RQ,
    Wire,
    make_associate_rq,
    make_p_data,
    make_pdu,
    make_store_rq,
)
from tests.harness.server import RunningServer, launch_server, run_cli, serve
from tests.harness.stack import choose_stack
from tests.peer.instances import encode_data_set, make_instance

SENDERS = 8
SERIES = 250  # instances in each
STALL_S = 120
STUDY, SERIES_UID, SOP = (f"2.25.{kind}{'0' * 20}" for kind in "123")


@dataclass
class Sender:
    """Stores its share of instances, in as many associations as it takes.

    Attributes:
        acknowledged: SOP Instance UIDs, in the order of their answers.
        n_associations: How many it had.
    """

    number: int
    share: int
    acknowledged: list[str] = field(default_factory=list)
    n_associations: int = 0
    error: str = ""

    def push(self, port: int) -> None:
        """Store what is missing; ends when all is stored, or the server is gone."""
        try:
            with Wire(port) as wire:
                self._push(wire)
        except OSError:
            return  # it was killed

    def _push(self, wire: Wire) -> None:
        context = (SecondaryCaptureImageStorage, ExplicitVRLittleEndian)
        wire.send(make_associate_rq([context], calling=f"SENDER{self.number}"))
        if wire.read_pdu()[0] != ACCEPT:
            return
        self.n_associations += 1
        while len(self.acknowledged) < self.share:
            sop_uid, request = self._build(len(self.acknowledged))
            wire.send(request)
            try:
                status = wire.read_status()
            except AssertionError:
                return  # the connection was cut
            if status != 0x0000:
                self.error = f"C-STORE was answered {status:04X}"
                return
            self.acknowledged.append(sop_uid)
        wire.send(make_pdu(RELEASE_RQ, bytes(4)))
        wire.read_pdu()

    def _build(self, index: int) -> tuple[str, bytes]:
        """Return the UID of an instance, and the PDUs that store it."""
        sop_uid = name("3", self.number, index)
        data = TEMPLATE.replace(SOP.encode(), sop_uid.encode())
        data = data.replace(SERIES_UID.encode(), name("2", self.number, index // SERIES).encode())
        data = data.replace(STUDY.encode(), name("1", self.number, index // SERIES // 4).encode())
        return sop_uid, make_store_rq(sop_uid) + make_p_data(data, LAST)


def name(kind: str, sender: int, index: int) -> str:
    """Return a UID that is as long as all others."""
    return f"2.25.{kind}{sender + 1:010}{index:010}"


def make_template() -> bytes:
    """Return the data set of an instance whose UIDs wait to be replaced."""
    ds = make_instance(STUDY, SERIES_UID)
    ds.SOPInstanceUID = SOP
    return encode_data_set(ds)


TEMPLATE = make_template()


@pytest.mark.parametrize(
    "total", [10_000, pytest.param(100_000, marks=pytest.mark.soak)], ids=["short", "long"]
)
@pytest.mark.timeout(3600)
def test_a_kill_loses_none_of_many(tmp_path: Path, total: int) -> None:
    senders = [Sender(number, total // SENDERS) for number in range(SENDERS)]
    server = launch_server(tmp_path)
    try:
        threads = start(senders, server)
        wait_until_acknowledged(senders, total // 2)
    finally:
        server.kill()
    join(threads, senders)
    at_kill = [len(sender.acknowledged) for sender in senders]
    assert total // 2 <= sum(at_kill) < total

    with serve(tmp_path) as again:
        check_visible(tmp_path, {uid for one in senders for uid in one.acknowledged})
        join(start(senders, again), senders)

    assert [len(sender.acknowledged) for sender in senders] == [total // SENDERS] * SENDERS
    assert [sender.n_associations for sender in senders] == [2] * SENDERS
    authors = check_visible(tmp_path, {uid for one in senders for uid in one.acknowledged})
    for sender, n_first in zip(senders, at_kill, strict=True):
        full = n_first // COMMIT_INSTANCES + (sender.share - n_first) // COMMIT_INSTANCES
        assert authors.count(f"dimse:SENDER{sender.number}") <= full + 2
    report = run_cli(tmp_path, "fsck", "--bytes")
    assert report.returncode == 0, report.stdout + report.stderr


def start(senders: list[Sender], server: RunningServer) -> list[threading.Thread]:
    """Let all senders push at once."""
    threads = [
        threading.Thread(target=sender.push, args=(server.dimse_port,)) for sender in senders
    ]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread], senders: list[Sender]) -> None:
    """Wait for all senders to end, none with an error."""
    for thread in threads:
        thread.join()
    assert {sender.error for sender in senders} == {""}


def wait_until_acknowledged(senders: list[Sender], count: int) -> None:
    """Return once so many instances were acknowledged; fail if it does not go on."""
    known, changed_at = -1, monotonic()
    while known < count:
        now = sum(len(sender.acknowledged) for sender in senders)
        if now > known:
            known, changed_at = now, monotonic()
        assert monotonic() < changed_at + STALL_S, "The senders do not get on."
        sleep(0.01)


def check_visible(data_dir: Path, acknowledged: set[str]) -> list[str]:
    """Assert that the head has these instances; return the authors of all commits."""
    stored, authors = asyncio.run(read_head_of(data_dir))
    assert acknowledged <= stored
    assert len(stored) <= len(acknowledged) + SENDERS  # what was stored and not answered yet
    return authors


async def read_head_of(data_dir: Path) -> tuple[set[str], list[str]]:
    """Return SOP Instance UIDs at the head of `default@main`, and the authors of its commits."""
    settings = load_settings({"data_dir": str(data_dir), **choose_stack(data_dir)}, {}, data_dir)
    archive = await open_archive(settings)
    repository = Repository(archive)

    def read(connection: sa.Connection) -> tuple[set[str], list[str]]:
        tree = open_view(connection, repository, "default", None).tree(connection, repository)
        dataset = find_dataset(connection, "default")
        log = read_log(connection, dataset.id, read_head(connection, dataset.id, "main"))
        return {uid for _, _, uid, _ in tree.walk()}, [str(one["author"]) for one in log]

    try:
        return await archive.database.read(read)
    finally:
        await archive.close()

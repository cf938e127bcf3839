"""A disk that fills up: stores are refused in the right words, and nothing is lost.

A small file system is mounted for it, which only root may do.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE

from tests.harness.multiframe import MultiFrame
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, launch_server, run_cli, serve
from tests.harness.web import fetch_file, read_head, send, store, store_stream

pytestmark = pytest.mark.embedded

DISK_BYTES = 24 << 20
FITTING_SIDE = 64
LARGE_SIDE = 1024  # 2 MiB
OUT_OF_RESOURCES = 0xA700


@dataclass
class Disk:
    """A small file system of its own, with a ballast file that takes its room."""

    folder: Path

    @property
    def free_bytes(self) -> int:
        """What is left for anybody."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def fill(self, leave_bytes: int) -> None:
        """Take all room but this."""
        with (self.folder / "ballast").open("ab") as ballast:
            ballast.write(bytes(max(0, self.free_bytes - leave_bytes)))

    def empty(self) -> None:
        """Give the room back."""
        (self.folder / "ballast").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A tmpfs of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    done = mount and subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not done and os.environ.get("CI", "").lower() == "true" and os.geteuid() == 0:
        pytest.fail("CI runs as root, so it must be able to mount a tmpfs.")
    if not done:
        pytest.skip("A file system can be mounted by root only.")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def server(disk: Disk) -> Iterator[RunningServer]:
    """A server whose data folder lies on the small disk."""
    with serve(disk.folder / "data") as running:
        yield running


@pytest.mark.parametrize("leave_bytes", [1 << 20, 0], ids=["little-room", "no-room"])
def test_every_door_refuses_and_recovers(
    disk: Disk, server: RunningServer, tmp_path: Path, leave_bytes: int
) -> None:
    kept = make_instance(sop="1.2.3.1.100", rows=FITTING_SIDE, columns=FITTING_SIDE)
    assert store(server.root(), [kept]).status == 200
    head = read_head(server.http)
    packs = list_packs(server)
    large = [make_large(f"1.2.3.1.{number}") for number in range(1, 4)]
    path = tmp_path / "large.dcm"
    path.write_bytes(large[2])
    disk.fill(leave_bytes)

    for _ in range(3):
        reply = store(server.root(), [large[0]])
        assert reply.status == 503, reply.body
        assert int(reply.headers["retry-after"]) > 0
        assert reply.json["title"] == "Out of resources"
        assert push(server, large[1]) == OUT_OF_RESOURCES
    imported = run_cli(server.data_dir, "import", str(path))

    assert imported.returncode == 1
    assert "Traceback" not in imported.stderr
    assert imported.stderr.startswith("lamella: ")
    assert imported.stderr.count("\n") == 1
    assert list_packs(server) == packs
    assert list_spool(server) == []
    assert read_head(server.http) == head
    assert fetch_file(server.http, "1.2.3.1.100").body == kept
    assert send(f"{server.http}/healthz").status == 200
    assert send(f"{server.http}/readyz").status == 503
    disk.empty()
    assert send(f"{server.http}/readyz").status == 200
    assert store(server.root(), [large[0]]).status == 200
    assert push(server, large[1]) == 0x0000
    assert run_cli(server.data_dir, "import", str(path)).returncode == 0
    assert fetch_file(server.http, "1.2.3.1.1").body == large[0]
    assert fetch_file(server.http, "1.2.3.1.2").status == 200
    assert fetch_file(server.http, "1.2.3.1.3").body == large[2]
    assert server.stop() == 0
    assert run_cli(server.data_dir, "fsck", "--bytes").returncode == 0


def test_disk_that_fills_while_an_instance_comes_in(disk: Disk, server: RunningServer) -> None:
    too_long = MultiFrame("2.25.99", 80)  # 40 MiB, of which half fits

    reply = store_stream(server.root(), too_long.chunks())

    assert reply.status == 503, reply.body
    assert list_spool(server) == []
    assert list_packs(server) == set()
    assert store(server.root(), [make_large("1.2.3.1.1")]).status == 200


def test_small_stores_until_nothing_goes(disk: Disk, server: RunningServer) -> None:
    """Wherever the room ends, be it in a spool, in the database or in its log."""
    disk.fill(3 << 20)
    acknowledged: dict[str, bytes] = {}
    refused = 0
    for number in range(1, 1000):
        sop_uid = f"1.2.3.1.{number}"
        file = make_instance(
            sop=sop_uid, rows=FITTING_SIDE, columns=FITTING_SIDE, fill=number % 256
        )
        reply = store(server.root(), [file])
        assert reply.status in (200, 503), reply.body
        if reply.status == 200:
            acknowledged[sop_uid] = file
        refused += reply.status == 503
        if refused == 5:
            break
    assert refused == 5
    assert len(acknowledged) > 10
    # A store that fails in a growing pack ends that pack; of its own it leaves none.
    assert 1 <= len(list_packs(server)) <= 1 + refused

    server.kill()
    disk.empty()
    again = launch_server(server.data_dir)
    try:
        for sop_uid, file in acknowledged.items():
            assert fetch_file(again.http, sop_uid).body == file
        assert store(again.root(), [make_large("1.2.3.1.5000")]).status == 200
        assert again.stop() == 0
    finally:
        again.kill()
        for stream in (again.process.stdout, again.process.stderr):
            if stream is not None:
                stream.close()
    assert run_cli(again.data_dir, "fsck", "--bytes").returncode == 0


def make_large(sop_uid: str) -> bytes:
    """Return an instance of 2 MiB whose bytes are like no other's."""
    return make_instance(
        sop=sop_uid, rows=LARGE_SIDE, columns=LARGE_SIDE, fill=int(sop_uid.split(".")[-1]) % 256
    )


def push(server: RunningServer, file: bytes) -> int:
    """Send one instance by C-STORE and return the status."""
    entity = AE()
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", server.dimse_port, ae_title=server.aet)
    assert association.is_established
    answer = association.send_c_store(dcmread(io.BytesIO(file)))
    association.release()
    return int(answer.Status)


def list_packs(server: RunningServer) -> set[str]:
    """Return the names of the pack files that there are."""
    return {path.name for path in (server.data_dir / "packs").glob("??/*.pack")}


def list_spool(server: RunningServer) -> list[Path]:
    """Return the spool files that there are."""
    return list((server.data_dir / "packs" / "spool").glob("*.spool"))

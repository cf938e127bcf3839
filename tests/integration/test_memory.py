"""Memory stays flat: no process of ours passes 250 MB, however large an instance is."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import (
    ExplicitVRLittleEndian,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
)
from pynetdicom import AE, _config

from tests.harness.multiframe import MultiFrame
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, serve
from tests.harness.stack import choose_stack
from tests.harness.web import send, store, store_stream

MOST_KIB = 250_000
SHORT_FRAMES = 600  # 300 MiB
LONG_FRAMES = 6_000  # 3 GiB

SIZES = pytest.mark.parametrize(
    "n_frames",
    [
        pytest.param(SHORT_FRAMES, id="300MB"),
        pytest.param(LONG_FRAMES, id="3GB", marks=[pytest.mark.soak, pytest.mark.timeout(1800)]),
    ],
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server on a folder of its own, which the test may fill."""
    with serve(tmp_path / "data") as running:
        yield running
    shutil.rmtree(tmp_path)  # pytest would keep three runs of it


@SIZES
def test_stow_and_retrieve_of_a_long_instance(server: RunningServer, n_frames: int) -> None:
    instance = MultiFrame("2.25.1001", n_frames)

    reply = store_stream(server.root(), instance.chunks())

    assert reply.status == 200, reply.body
    print("store_kib", check_peak(server))
    check_retrieval(server, instance)
    print("retrieve_kib", check_peak(server))


@SIZES
def test_metadata_with_a_long_bulk_part(server: RunningServer, n_frames: int) -> None:
    instance = MultiFrame("2.25.1006", n_frames)
    chunks = instance.chunks()
    head = pydicom.dcmread(io.BytesIO(next(chunks)), defer_size=0, stop_before_pixels=True)
    metadata = head.to_json_dict()
    metadata["7FE00010"] = {"vr": "OW", "BulkDataURI": "pixels"}

    def make_body() -> Iterator[bytes]:
        yield b"--x\r\nContent-Type: application/dicom+json\r\n\r\n"
        yield json.dumps([metadata]).encode()
        yield b"\r\n--x\r\nContent-Type: application/octet-stream\r\n"
        yield b"Content-Location: pixels\r\n\r\n"
        yield from chunks
        yield b"\r\n--x--\r\n"

    headers = {"Content-Type": 'multipart/related; type="application/dicom+json"; boundary=x'}
    reply = send(f"{server.root()}/studies", "POST", headers=headers, body=make_body())

    assert reply.status == 200, reply.body
    print("compose_kib", check_peak(server))
    url = (
        f"{server.root()}/studies/{instance.study_uid}/series/{instance.series_uid}"
        f"/instances/{instance.sop_uid}/frames/{n_frames}"
    )
    frame = send(url, headers={"Accept": "application/octet-stream"})
    assert frame.body == instance.frame(n_frames - 1)


@SIZES
def test_import_of_a_long_instance(server: RunningServer, tmp_path: Path, n_frames: int) -> None:
    instance = MultiFrame("2.25.1002", n_frames)
    path = write_file(instance, tmp_path / "long.dcm")

    status, line, peak_kib = run_import(server.data_dir, path)

    assert status == 0
    assert line.startswith("stored=1 unchanged=0 conflicts=0 refused=0 ignored=0 commit=")
    assert peak_kib < MOST_KIB
    print("import_kib", peak_kib)
    assert fetch_digest(server, instance) == instance.digest()
    check_peak(server)


@SIZES
def test_c_store_of_a_long_instance(
    server: RunningServer, tmp_path: Path, n_frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    instance = MultiFrame("2.25.1003", n_frames)
    path = write_file(instance, tmp_path / "long.dcm")
    entity = AE()
    entity.dimse_timeout = entity.network_timeout = 600
    sop_class = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", server.dimse_port, ae_title=server.aet)
    assert association.is_established

    answer = association.send_c_store(path)
    association.release()

    assert answer.Status == 0x0000
    check_pixels(server, instance)
    print("c_store_kib", check_peak(server))


def test_retrieve_of_a_series_and_parallel_uploads(server: RunningServer) -> None:
    files = [
        make_instance("2.25.5", "2.25.5.1", f"2.25.5.1.{n}", rows=512, columns=512, fill=n)
        for n in range(1, 61)
    ]
    for start in range(0, 60, 20):
        assert store(server.root(), files[start : start + 20]).status == 200
    peak_before_kib = check_peak(server)

    with ThreadPoolExecutor(4) as pool:
        sizes = list(pool.map(lambda _: measure_series(server), range(4)))

    assert all(size > sum(map(len, files)) for size in sizes)
    print("series_kib", (peak_before_kib, check_peak(server)))
    uploads = [MultiFrame(f"2.25.7{n:03}", 24) for n in range(16)]
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda one: store_stream(server.root(), one.chunks()), uploads))
    assert [reply.status for reply in replies] == [200] * 16
    for instance in uploads[::5]:
        assert fetch_digest(server, instance) == instance.digest()
    print("parallel_kib", check_peak(server))


@pytest.mark.parametrize("media_range", ["{}", 'multipart/related; type="{}"'])
def test_retrieve_of_a_long_frame(server: RunningServer, media_range: str) -> None:
    instance = MultiFrame("2.25.8", 1, side=10_240)  # 200 MiB
    assert store_stream(server.root(), instance.chunks()).status == 200
    received = Search(instance.frame(0))

    reply = send(
        f"{server.root()}/studies/{instance.study_uid}/series/{instance.series_uid}"
        f"/instances/{instance.sop_uid}/frames/1",
        headers={"Accept": media_range.format("application/octet-stream")},
        consume=received.pieces.append,
    )

    assert reply.status == 200
    assert received.is_found()
    print("long_frame_kib", check_peak(server))


def check_peak(server: RunningServer) -> int:
    """Return the largest VmHWM of the server's processes, which must be small."""
    peak_kib = server.peak_memory_kib()
    assert 0 < peak_kib < MOST_KIB
    return peak_kib


def check_retrieval(server: RunningServer, instance: MultiFrame) -> None:
    """Compare single part, a list of frames, and metadata with what was stored."""
    url = (
        f"{server.root()}/studies/{instance.study_uid}/series/{instance.series_uid}"
        f"/instances/{instance.sop_uid}"
    )
    whole = hashlib.sha256()
    reply = send(url, headers={"Accept": "application/dicom"}, consume=whole.update)
    assert reply.status == 200
    assert whole.hexdigest() == instance.digest()
    last = instance.n_frames
    reply = send(
        f"{url}/frames/1,{last}",
        headers={"Accept": 'multipart/related; type="application/octet-stream"'},
    )
    assert reply.status == 200
    first_at = reply.body.index(instance.frame(0))
    assert reply.body.index(instance.frame(last - 1)) > first_at
    numbers = ",".join(map(str, range(1, last + 1)))
    received = Counter()
    reply = send(
        f"{url}/frames/{numbers}",
        headers={"Accept": 'multipart/related; type="application/octet-stream"'},
        consume=received.add,
    )
    assert reply.status == 200
    assert received.size_bytes > last * instance.frame_bytes
    reply = send(f"{url}/metadata", headers={"Accept": "application/dicom+json"})
    assert reply.json[0]["00280008"]["Value"] == [last]
    assert reply.json[0]["7FE00010"]["BulkDataURI"].startswith(url)


def check_pixels(server: RunningServer, instance: MultiFrame) -> None:
    """Compare the stored data set's end, its pixels, with what was sent."""
    url = f"{server.http}/api/v1/datasets/default/instances/{instance.sop_uid}/file"
    received, expected = TailDigest(instance.n_frames * instance.frame_bytes), hashlib.sha256()
    total = int(send(url, "HEAD").headers["content-length"])
    received.skip_bytes = total - received.tail_bytes
    assert send(url, consume=received.update).status == 200
    for index in range(instance.n_frames):
        expected.update(instance.frame(index))
    assert received.total.hexdigest() == expected.hexdigest()


def fetch_digest(server: RunningServer, instance: MultiFrame) -> str:
    """Return the SHA-256 of an instance's original file, as the server gives it."""
    total = hashlib.sha256()
    url = f"{server.http}/api/v1/datasets/default/instances/{instance.sop_uid}/file"
    assert send(url, consume=total.update).status == 200
    return total.hexdigest()


def measure_series(server: RunningServer) -> int:
    """Retrieve the whole series of the test and return the length of the answer's body."""
    received = Counter()
    reply = send(
        f"{server.root()}/studies/2.25.5/series/2.25.5.1",
        headers={"Accept": 'multipart/related; type="application/dicom"'},
        consume=received.add,
    )
    assert reply.status == 200
    return received.size_bytes


def write_file(instance: MultiFrame, path: Path) -> Path:
    """Write an instance as a file."""
    with path.open("wb") as file:
        for chunk in instance.chunks():
            file.write(chunk)
    return path


# The process tells its own VmHWM: what wait4 tells includes the size of whoever forked it.
IMPORT_AND_TELL = """
import os, sys
from lamella.cli.main import main
from tests.harness.server import read_peak_kib
status = main(sys.argv[1:])
print(read_peak_kib(os.getpid()))
sys.exit(status)
"""


def run_import(data_dir: Path, path: Path) -> tuple[int, str, int]:
    """Import a file; return exit status, last line on stdout, and the process's peak in KiB."""
    environ = {name: v for name, v in os.environ.items() if not name.startswith("LAMELLA_")}
    chosen = choose_stack(data_dir) | {"data_dir": str(data_dir)}
    environ |= {f"LAMELLA_{name.upper()}": value for name, value in chosen.items()}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_AND_TELL, "import", str(path)],
        env=environ,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
        check=False,
    )
    *_, line, peak_kib = done.stdout.splitlines()
    return done.returncode, line, int(peak_kib)


class Counter:
    """Counts bytes."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def add(self, piece: bytes) -> None:
        """Count a piece."""
        self.size_bytes += len(piece)


class Search:
    """Keeps what is received, and looks for one value in it."""

    def __init__(self, wanted: bytes) -> None:
        self.pieces: list[bytes] = []
        self._wanted = wanted

    def is_found(self) -> bool:
        """Tell whether the value has been received, with at most some headers around it."""
        body = b"".join(self.pieces)
        return self._wanted in body and len(body) < len(self._wanted) + 1024


class TailDigest:
    """Hashes the last bytes of a stream of known length."""

    def __init__(self, tail_bytes: int) -> None:
        self.tail_bytes = tail_bytes
        self.skip_bytes = 0
        self.total = hashlib.sha256()

    def update(self, piece: bytes) -> None:
        """Take a piece."""
        self.total.update(piece[self.skip_bytes :])
        self.skip_bytes = max(0, self.skip_bytes - len(piece))

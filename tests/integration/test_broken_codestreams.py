"""Codestreams that are broken, by the hundred: each costs the one request that needs it decoded.

Whatever a codec does with one (an error, a crash, a picture of noise), the answer is a frame or a
406, the next request finds a decoder, and no process, memory or file stays behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import httpx
import numpy as np
import pytest
from pydicom.encaps import encapsulate

from lamella.imaging.decoders import PixelDescription
from lamella.imaging.encoders import TARGETS
from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, list_children, serve
from tests.harness.stack import read_stack
from tests.soak.gauge import Gauge

SHORT, LONG = 12, 300  # of each transfer syntax
EXPLICIT, SIDE, FRAMES = "1.2.840.10008.1.2.1", 48, 4
DECODED = {"Accept": "application/octet-stream"}
ENCODED = {"Accept": "image/dicom-rle"}
MOST_DECODERS = 2
MOST_KIB = 250 << 10
MOST_NEW_FILES = 64 if read_stack() else 10  # connections to services are kept, by the dozen


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    data_dir = tmp_path_factory.mktemp("broken") / "data"
    with serve(data_dir, dimse="off") as running, open_client(70) as client:
        yield make_collection(client, running)


def make_codestream(uid: str, random: np.random.Generator) -> bytes:
    pixel = PixelDescription(SIDE, SIDE, 1, 8, 8, 0, "MONOCHROME2", 0, EXPLICIT)
    frame = random.integers(0, 256, (SIDE, SIDE), "u1")
    return bytes(TARGETS[uid].encode(frame, pixel, "MONOCHROME2").data)


def spoil(codestream: bytes, random: Random) -> bytes:
    """Return it with wrong bytes, at its start for the most part, or cut off."""
    spoilt = bytearray(codestream)
    last = len(spoilt) if random.random() < 0.4 else min(100, len(spoilt))
    for _ in range(random.choice((1, 2, 5, 40))):
        spoilt[random.randrange(2, last)] = random.choice((0, 0xFF, 0x7F, random.randrange(256)))
    if random.random() < 0.25:
        del spoilt[random.randrange(2, len(spoilt)) :]
    return bytes(spoilt)


def make_file(number: int, uid: str, codestreams: list[bytes]) -> bytes:
    return make_instance(
        "1.2.9", f"1.2.9.{number}", f"1.2.9.{number}.1", rows=SIDE, columns=SIDE,
        BitsAllocated=8, BitsStored=8, HighBit=7, NumberOfFrames=len(codestreams),
        transfer_syntax=uid, PixelData=encapsulate(codestreams),
    )  # fmt: skip


def ask(collection: Collection, number: int) -> Iterator[httpx.Response]:
    """Ask for the frames of a file in all ways that need them decoded."""
    instance = f"/studies/1.2.9/series/1.2.9.{number}/instances/1.2.9.{number}.1"
    for frame in range(1, FRAMES + 1):
        yield collection.get(f"{instance}/frames/{frame}", headers=DECODED)
    yield collection.get(f"{instance}/frames/1", headers=ENCODED)
    yield collection.get(f"{instance}/rendered")
    yield collection.get(f"{instance}/frames/2/rendered?window=10,20,linear")
    yield collection.get(f"{instance}/thumbnail")


def count_open_files(server: RunningServer) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(SHORT, id="short"),
        pytest.param(LONG, id="long", marks=[pytest.mark.soak, pytest.mark.timeout(14_000)]),
    ],
)
def test_each_costs_one_request(collection: Collection, count: int) -> None:
    server, random, noise = collection.server, Random(count), np.random.default_rng(count)
    statuses, number = Counter[int](), 1000 * count
    gauge = Gauge(server.process.pid, every_s=0.5)
    gauge.start()
    open_before = 0
    for uid in TARGETS:
        good = make_codestream(uid, noise)
        collection.store_well(make_file(number, uid, [good] * FRAMES))
        for at in range(1, count // FRAMES + 1):
            spoilt = [spoil(good, random) for _ in range(FRAMES)]
            collection.store_well(make_file(number + at, uid, spoilt))
            for answer in ask(collection, number + at):
                statuses[answer.status_code] += 1
                assert answer.status_code in (200, 406), (uid, answer.request.url, answer.text)
                if answer.headers["content-type"].startswith("application/octet-stream"):
                    assert len(answer.content) == SIDE * SIDE
        assert {answer.status_code for answer in ask(collection, number)} == {200}, uid
        open_before = open_before or count_open_files(server)
        number += count
    gauge.finish()
    print(f"\n{dict(statuses)} of {len(TARGETS) * count} codestreams, peaks {gauge.peaks_kib}")
    assert min(statuses[200], statuses[406]) > count
    decoders = list_children(server.process.pid)
    assert len(decoders) <= MOST_DECODERS
    stats = [Path(f"/proc/{pid}/stat").read_text() for pid in decoders]
    assert all(stat.rpartition(")")[2].split()[0] != "Z" for stat in stats)
    assert count_open_files(server) <= open_before + MOST_NEW_FILES
    assert max(gauge.peaks_kib.values()) < MOST_KIB
    log = "\n".join(server.errors)
    assert "Traceback" not in log, log[log.index("Traceback") :][:3000]

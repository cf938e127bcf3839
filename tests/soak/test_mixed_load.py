"""All doors at once for a long time: answers stay right, and nothing grows.

`make soak` runs it for `LAMELLA_SOAK_S` seconds (an hour); `make test` for half a minute, which
shows wrong answers, dying processes and open files that pile up, but is too short for a verdict
on memory: caches are still filling.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import sleep

import httpx
import pytest

from lamella.archive.packs.local import OPEN_FILES
from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.server import RunningServer, run_cli, serve
from tests.peer.dcmtk import find_tool
from tests.soak import clients
from tests.soak.book import Book
from tests.soak.clients import Client, Site
from tests.soak.gauge import Gauge, Reading, grow_per_hour

HOUR_S = 3600
SHORT_S = 25.0
LONGEST_WARM_UP_S = 600.0
MOST_KIB = 250_000
MOST_GROWTH_KIB = 24 << 10  # of all processes together, in an hour
MOST_GROWTH_FILES = 12
MOST_GROWTH_THREADS = 6
MOST_PACKS_IN_USE = 16  # by requests under way, besides those that are kept open
MIXTURE: tuple[tuple[Callable[[Site], None], int, float], ...] = (
    (clients.store_by_stow, 2, 0.5),
    (clients.store_by_dimse, 3, 1.5),
    (clients.search, 2, 0.1),
    (clients.read_metadata, 1, 0.1),
    (clients.read_frames, 2, 0.1),
    (clients.decode_frames, 1, 0.5),
    (clients.use_refs, 1, 2.0),
    (clients.export, 1, 20.0),
)


def read_duration_s() -> float:
    """Return how long the long form runs."""
    return float(os.environ.get("LAMELLA_SOAK_S", HOUR_S))


@pytest.mark.parametrize(
    "is_long",
    [
        pytest.param(False, id="short"),
        pytest.param(
            True,
            id="long",
            marks=[pytest.mark.soak, pytest.mark.timeout(int(read_duration_s()) + 3600)],
        ),
    ],
)
def test_mixed_load(tmp_path: Path, is_long: bool) -> None:
    duration_s = read_duration_s() if is_long else SHORT_S
    storescu = find_tool("storescu")
    book = Book()
    settings = {"workers": "2", "dimse_processes": "2", "log_level": "warning"}
    with serve(tmp_path / "data", **settings) as server, open_client() as client:
        archive = Collection(client, server, "default")
        shelf = make_collection(client, server)
        clients.fill_shelf(shelf)
        run = make_clients(server, client, archive, shelf, book, tmp_path, storescu)
        gauge = Gauge(server.process.pid, every_s=duration_s / 300)
        for one in run:
            one.start()
        gauge.start()
        sleep(duration_s)
        gauge.finish()
        for one in run:
            one.finish()
        report(gauge, book)
        assert book.troubles == []
        assert clients.read_errors(server) == []
        assert 'status="5' not in client.get(f"{server.http}/metrics").text
    assert set(book.done) == {work.__name__ for work, _, _ in MIXTURE}
    check_growth(gauge.after(min(LONGEST_WARM_UP_S, duration_s / 6)), is_long=is_long)
    assert max(gauge.peaks_kib.values()) <= MOST_KIB, gauge.peaks_kib
    fsck = run_cli(tmp_path / "data", "fsck")
    assert fsck.returncode == 0, fsck.stdout + fsck.stderr
    shutil.rmtree(tmp_path)  # pytest would keep three runs of it


def make_clients(
    server: RunningServer,
    client: httpx.Client,
    archive: Collection,
    shelf: Collection,
    book: Book,
    folder: Path,
    storescu: str,
) -> list[Client]:
    """Return the clients of the mixture."""
    return [
        Client(
            work,
            Site(
                server,
                archive,
                shelf,
                book,
                Random(f"{work.__name__} {number}"),
                folder / f"{work.__name__}-{number}",
                storescu,
            ),
            pause_s,
        )
        for work, workers, pause_s in MIXTURE
        for number in range(workers)
    ]


def check_growth(readings: list[Reading], *, is_long: bool) -> None:
    """See that what the processes hold does not grow after the time of warming up."""
    hours = (readings[-1].at_s - readings[0].at_s) / HOUR_S
    grown_files = hours * grow_per_hour([(one.at_s, one.open_files) for one in readings])
    grown_threads = hours * grow_per_hour([(one.at_s, one.threads) for one in readings])
    grown_kib = hours * grow_per_hour([(one.at_s, one.anonymous_kib) for one in readings])
    assert grown_files <= MOST_GROWTH_FILES
    assert grown_threads <= MOST_GROWTH_THREADS
    assert max(one.most_packs for one in readings) <= OPEN_FILES + MOST_PACKS_IN_USE
    assert {one.processes for one in readings} <= set(range(3, 10))  # 3, and decoders
    if is_long:
        assert grown_kib <= MOST_GROWTH_KIB


def report(gauge: Gauge, book: Book) -> None:
    """Print what was done and what the processes held."""
    print("done", dict(book.done))
    print("peaks_kib", gauge.peaks_kib)
    for one in gauge.readings[:: max(1, len(gauge.readings) // 30)]:
        print(
            f"{one.at_s:7.0f} s {one.processes} processes, {one.anonymous_kib:8} KiB anonymous, "
            f"{one.resident_kib:8} KiB PSS, {one.open_files} files, "
            f"{one.most_packs} packs, {one.threads} threads"
        )

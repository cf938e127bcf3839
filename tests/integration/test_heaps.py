"""Threads of a server share heaps of the C library: one each would hold what others could use."""

from __future__ import annotations

import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness.collection import make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import serve

HEAP_BYTES = 64 << 20  # glibc maps a piece of a thread's heap at a multiple of this
MOST_PIECES = 6  # of two heaps; a heap a thread would be some fifteen


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_threads_share_heaps(tmp_path: Path) -> None:
    files = [make_instance(sop=f"1.2.3.1.{n}") for n in range(60)]
    with serve(tmp_path / "data") as server, open_client() as client:
        collection = make_collection(client, server)
        with ThreadPoolExecutor(8) as senders:
            answers = list(senders.map(collection.store, files))
        assert {answer.status_code for answer in answers} == {200}
        assert count_pieces(server.process.pid) <= MOST_PIECES


def count_pieces(pid: int) -> int:
    """Return how many pieces the heaps of a process have, besides the first heap."""
    found = 0
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, rights, *_, inode = line.split()[:5]
        first, last = (int(address, 16) for address in span.split("-"))
        is_heap = first % HEAP_BYTES == 0 and last - first < HEAP_BYTES and rights == "rw-p"
        found += is_heap and inode == "0" and len(line.split()) == 5
    return found

"""An index whose builder is killed: whoever comes next goes on, and nothing is missing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import httpx

from bench.growth import Store
from bench.workload import list_tiny_studies, make_tiny
from tests.crash.load import make_environ
from tests.harness.collection import open_client
from tests.harness.server import RunningServer, run_cli, serve
from tests.harness.stack import choose_stack, read_rows

STUDIES, SERIES_LENGTH = 60, 10
TOTAL = STUDIES * SERIES_LENGTH
STEP = 100
SMALL_PAGES = """
import sys
from lamella.cli.main import main
from lamella.vcs import indexing
indexing.INSTANCES_A_PAGE = 5
sys.exit(main(sys.argv[1:]))
"""
QUERY = "/instances?InstanceNumber=1003&limit=100"
PATIENCE_S = 60


def test_a_killed_build_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    asyncio.run(fill(folder))
    done = 0
    for _ in range(3):
        reached = kill_builder(folder, done + STEP)
        assert done + STEP <= reached < TOTAL
        done = reached

    with serve(folder, dimse="off") as server, open_client() as client:
        before = client.get(server.root() + QUERY)  # the server goes on: it may be ready by now
        (index,) = wait_for_index(client, server)
        after = client.get(server.root() + QUERY)

    assert (index["attribute"], index["state"]) == ("InstanceNumber", "ready")
    assert index["done"] == index["total"] == TOTAL  # nothing was gone through twice
    assert len(before.json()) == STUDIES
    assert after.json() == before.json()
    assert count_entries(folder) == TOTAL
    assert run_cli(folder, "fsck").returncode == 0


def test_a_killed_removal_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    asyncio.run(fill(folder))
    run_cli(folder, "index", "add", "InstanceNumber")
    script = SMALL_PAGES.replace("INSTANCES_A_PAGE", "ENTRIES_A_PAGE")
    builder = start(folder, script, "remove")
    while count_entries(folder) > TOTAL - STEP:
        assert builder.poll() is None
    builder.kill()
    builder.wait()
    assert 0 < count_entries(folder) < TOTAL

    again = run_cli(folder, "index", "remove", "InstanceNumber", "--json")

    assert json.loads(again.stdout)["state"] == "removing"
    assert count_entries(folder) == 0
    assert run_cli(folder, "fsck").returncode == 0


async def fill(folder: Path) -> None:
    """Store some studies."""
    store = await Store.open(folder, **choose_stack(folder))
    try:
        studies = list_tiny_studies(STUDIES)
        instances = [make_tiny(study, 0, n) for study in studies for n in range(SERIES_LENGTH)]
        await store.put("default", instances)
    finally:
        await store.close()


def start(folder: Path, script: str, what: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", script, "index", what, "InstanceNumber"]
    return subprocess.Popen(command, env=make_environ(data_dir=str(folder), **choose_stack(folder)))


def kill_builder(folder: Path, at: int) -> int:
    """Build until so many instances are done, kill the builder; return how many are done."""
    builder = start(folder, SMALL_PAGES, "add")
    while read_done(folder) < at:
        assert builder.poll() is None, "it came to its end"
    builder.kill()
    builder.wait()
    return read_done(folder)


def read_done(folder: Path) -> int:
    found = read_rows(folder, "SELECT done FROM attribute_index")
    return found[0][0] if found else 0


def count_entries(folder: Path) -> int:
    return int(read_rows(folder, "SELECT count(*) FROM instance_entry")[0][0])


def wait_for_index(client: httpx.Client, server: RunningServer) -> list[dict[str, object]]:
    """Return the indexes once they are ready."""
    until = time.monotonic() + PATIENCE_S
    while True:
        found = client.get(f"{server.http}/api/v1/datasets/default/indexes").json()
        if all(index["state"] == "ready" for index in found):
            return found
        assert time.monotonic() < until, found
        time.sleep(0.1)

"""`lamella migrate` takes no more memory for a large store than for a small one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa

from lamella.archive.database import open_database
from lamella.archive.installation import FORMAT
from lamella.archive.migration import find_head_revision, upgrade_schema
from tests.harness.server import read_peak_kib

NODE_BYTES, NODES, BATCH = 4000, 15_000, 1000
STORE_KIB = NODE_BYTES * NODES >> 10
CACHE_KIB = 24 << 10  # SQLite's own, which a small store does not fill


async def make_old_store(folder: Path, n_nodes: int) -> None:
    """Make a data folder as the first version left it, with so many nodes in its one dataset."""
    folder.mkdir()
    (folder / "format").write_text(FORMAT)
    database = open_database(f"sqlite:///{folder / 'lamella.db'}")
    random = Random(4)

    def fill(connection: sa.Connection) -> None:
        upgrade_schema(connection, "0001")
        found = sa.MetaData()
        found.reflect(connection)
        row = {"id": 1, "name": "default", "format": 1, "default_branch": "main"}
        row |= {"duplicates": "version", "next_row_id": 1, "created_us": 0}
        connection.execute(found.tables["dataset"].insert(), row)
        for _ in range(0, n_nodes, BATCH):
            rows = [
                {"dataset_id": 1, "digest": random.randbytes(32), "data": random.randbytes(4000)}
                for _ in range(BATCH)
            ]
            connection.execute(found.tables["node"].insert(), rows)

    await database.write(fill)
    await database.close()


def migrate(folder: Path) -> int:
    """Migrate a data folder; return the most memory that this took, in KiB."""
    environ = {name: v for name, v in os.environ.items() if not name.startswith("LAMELLA_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "lamella", "migrate"],
        env=environ | {"LAMELLA_DATA_DIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    peak_kib = 0
    while process.poll() is None:
        peak_kib = max(peak_kib, read_peak_kib(process.pid))
        time.sleep(0.005)
    output, _ = process.communicate()
    assert process.returncode == 0
    assert output.strip() == find_head_revision()
    return peak_kib


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
async def test_a_large_store_takes_no_more_memory(tmp_path: Path) -> None:
    await make_old_store(tmp_path / "small", 0)
    await make_old_store(tmp_path / "large", NODES)
    small_kib, large_kib = migrate(tmp_path / "small"), migrate(tmp_path / "large")
    print(f"\nmigrate: {small_kib} KiB, with {STORE_KIB} KiB of nodes {large_kib} KiB")
    assert large_kib - small_kib < CACHE_KIB < STORE_KIB // 2

"""An installation on SQLite goes on on PostgreSQL, with the same commits, bytes and searches."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.collection import Collection, open_client
from tests.harness.postgresql import make_database, run_postgresql
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, launch_server, run_command, serve

PATHS = ("/studies", "/series?PatientID=PAT1", "/instances", "/studies/1.2.3/metadata")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with run_postgresql() as url:
        yield url


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """Of the installation that moves: on SQLite and a folder, whatever stack the tests run on."""
    return {"database_url": f"sqlite:///{tmp_path / 'data' / 'lamella.db'}", "storage_url": ""}


@pytest.fixture
def data_dir(tmp_path: Path, settings: dict[str, str]) -> Path:
    """An installation with history: three commits, a tag, a conflict."""
    folder = tmp_path / "data"
    with serve(folder, **settings) as server, open_client() as client:
        collection = Collection(client, server, "default")
        collection.store_well(make_instance(SeriesDescription="first"))
        assert collection.make_ref("tags", "v1").status_code == 201
        collection.store_well(make_instance(sop="1.2.3.1.2", InstanceNumber=2))
        collection.store_well(make_instance(SeriesDescription="second"))
        assert collection.store(make_instance(fill=1)).status_code == 409
    return folder


def read_all(server: RunningServer) -> dict[str, Any]:
    """Return what the installation answers at its head and at its tag."""
    with open_client() as client:
        collection = Collection(client, server, "default")
        found: dict[str, Any] = {
            f"{revision}{path}": collection.get(path, revision).text.replace(server.http, "")
            for revision in ("v1", "main")
            for path in PATHS
        }
        found["file"] = collection.read_file("1.2.3.1.1", "v1")
        found["log"] = collection.log()
        found["conflicts"] = len(collection.call("GET", "/conflicts"))
        return found


def move(data_dir: Path, url: str) -> Any:
    return run_command(data_dir, "migrate", "--to", url)


def test_all_that_was_there_is_there(
    data_dir: Path, settings: dict[str, str], postgresql: str
) -> None:
    with serve(data_dir, **settings) as server:
        before = read_all(server)
    url = make_database(postgresql, "moved")
    finished = move(data_dir, url)
    assert (finished.returncode, finished.stdout[:7]) == (0, "tables="), finished.stderr
    with serve(data_dir, **{**settings, "database_url": url}) as server, open_client() as client:
        assert read_all(server) == before
        collection = Collection(client, server, "default")
        later = collection.store_well(make_instance(sop="1.2.3.1.3", InstanceNumber=3))
        assert collection.log()[0]["id"] == later
        assert len(collection.get("/instances").json()) == 3
        assert collection.make_ref("branches", "side").status_code == 201
        fresh = collection.client.post(f"{server.http}/api/v1/datasets", json={"name": "fresh"})
        assert fresh.status_code == 201
    checked = run_command(data_dir, "fsck", "--bytes", database_url=url)
    assert checked.returncode == 0, checked.stdout


def test_the_old_file_is_not_gone_on_with(data_dir: Path, postgresql: str) -> None:
    url = make_database(postgresql, "left")
    assert move(data_dir, url).returncode == 0
    finished = run_command(data_dir, "log")
    assert finished.returncode == 1
    assert "moved to postgresql://127.0.0.1" in finished.stderr
    assert "LAMELLA_DATABASE_URL" in finished.stderr
    assert run_command(data_dir, "log", database_url=url).returncode == 0


def test_a_database_with_rows_is_refused(data_dir: Path, postgresql: str) -> None:
    url = make_database(postgresql, "taken")
    assert move(data_dir, url).returncode == 0
    (data_dir / "database-moved-to").unlink()
    finished = move(data_dir, url)
    assert finished.returncode == 1
    assert "not empty" in finished.stderr
    assert not (data_dir / "database-moved-to").exists()


@pytest.mark.parametrize("url", ["sqlite:////tmp/x.db", "mysql://x/y", "nonsense"])
def test_other_targets_are_refused(data_dir: Path, url: str) -> None:
    finished = move(data_dir, url)
    assert finished.returncode == 1
    assert "postgresql://" in finished.stderr
    assert len(finished.stderr.splitlines()) == 1


def test_rows_that_nobody_knows_are_not_left_behind(data_dir: Path, postgresql: str) -> None:
    connection = sqlite3.connect(data_dir / "lamella.db")
    connection.execute("CREATE TABLE stranger (id INTEGER)")
    connection.close()
    finished = move(data_dir, make_database(postgresql, "stranger"))
    assert finished.returncode == 1
    assert "stranger" in finished.stderr
    assert not (data_dir / "database-moved-to").exists()


def test_a_server_that_cannot_be_reached_changes_nothing(data_dir: Path) -> None:
    finished = move(data_dir, "postgresql://nobody@127.0.0.1:1/none")
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    assert run_command(data_dir, "log").returncode == 0


def test_not_beside_a_running_server(
    data_dir: Path, settings: dict[str, str], postgresql: str
) -> None:
    url = make_database(postgresql, "beside")
    server = launch_server(data_dir, **settings)
    try:
        finished = move(data_dir, url)
    finally:
        server.kill()
    assert finished.returncode == 1
    assert "server" in finished.stderr

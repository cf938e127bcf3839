"""The drill: back up a server under load, restore elsewhere, and find all that was acknowledged."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lamella.archive.packs.local import LocalPackStore
from tests.harness.collection import Collection, open_client
from tests.harness.postgresql import make_database, run_postgresql
from tests.harness.samples import make_instance
from tests.harness.server import run_cli, run_command, serve

BEFORE = 5


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with run_postgresql() as url:
        yield url


def make_numbered(number: int) -> bytes:
    return make_instance(sop=f"1.2.3.1.{number}", InstanceNumber=number)


def name_numbered(number: int) -> str:
    return f"1.2.3.1.{number}"


class Sender:
    """Stores one instance after the other, and knows which were acknowledged."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.acknowledged: list[int] = []

    def __enter__(self) -> Sender:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._is_done.set()
        self._thread.join()

    def _send(self) -> None:
        number = 100
        while not self._is_done.is_set():
            self._collection.store_well(make_numbered(number))
            self.acknowledged.append(number)
            number += 1


def back_up(data_dir: Path, folder: Path) -> dict[str, Any]:
    done = run_cli(data_dir, "backup", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["problems"] == found["failed"] == 0
    return found


def read_files(data_dir: Path, **settings: str) -> dict[str, bytes]:
    """Return the instances of a restored installation, by SOP Instance UID."""
    with serve(data_dir, dimse="off", **settings) as server, open_client() as client:
        collection = Collection(client, server, "default")
        found = [one["00080018"]["Value"][0] for one in collection.get("/instances").json()]
        return {sop: collection.read_file(sop, "main") for sop in found}


@pytest.mark.parametrize("target", ["embedded", "postgresql"])
def test_all_that_was_acknowledged_before_a_backup_is_in_it(
    tmp_path: Path, postgresql: str, target: str
) -> None:
    data_dir, folder, elsewhere = (tmp_path / name for name in ("data", "backup", "elsewhere"))
    with serve(data_dir, dimse="off") as server, open_client() as client:
        collection = Collection(client, server, "default")
        for number in range(BEFORE):
            collection.store_well(make_numbered(number))
        tag = collection.make_ref("tags", "v1").json()
        with Sender(collection) as sender:
            while not sender.acknowledged:
                pass
            known = [*range(BEFORE), *sender.acknowledged]
            back_up(data_dir, folder)
        assert len(sender.acknowledged) + BEFORE > len(known)  # it went on meanwhile

    settings = {"database_url": f"sqlite:///{elsewhere}/x", "storage_url": ""}
    if target == "postgresql":
        settings["database_url"] = make_database(postgresql, "restored")
    done = run_command(elsewhere, "restore", str(folder), "--bytes", **settings)
    assert done.returncode == 0, done.stderr
    assert "problems=0" in done.stdout

    files = read_files(elsewhere, **settings)
    assert {name_numbered(number) for number in known} <= set(files)
    for number in known:
        assert files[name_numbered(number)] == make_numbered(number)
    with serve(elsewhere, dimse="off", **settings) as server, open_client() as client:
        restored = Collection(client, server, "default")
        assert restored.call("GET", "/tags")[0]["commit"] == tag["commit"]
        restored.store_well(make_numbered(9_999))


def test_a_second_backup_copies_what_is_new_and_drops_what_is_gone(tmp_path: Path) -> None:
    data_dir, folder = tmp_path / "data", tmp_path / "backup"
    with serve(data_dir, dimse="off") as server, open_client() as client:
        collection = Collection(client, server, "default")
        collection.store_well(make_numbered(1))
        first = back_up(data_dir, folder)
        assert back_up(data_dir, folder)["copied"] == 0
        collection.store_well(make_numbered(2))
        second = back_up(data_dir, folder)
    assert first["copied"] == second["copied"] == 1
    assert 0 < second["copied_bytes"] <= 2 * 4096  # pages

    stray = LocalPackStore(folder / "packs").path_of("0" * 32)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"of an earlier backup")
    assert back_up(data_dir, folder)["dropped"] == 1
    assert not stray.exists()
    settings = {"database_url": f"sqlite:///{folder}/lamella.db", "storage_url": ""}
    assert set(read_files(folder, **settings)) == {name_numbered(1), name_numbered(2)}


def test_a_backup_that_is_cut_off_leaves_the_earlier_one_whole(tmp_path: Path) -> None:
    data_dir, folder = tmp_path / "data", tmp_path / "backup"
    with serve(data_dir, dimse="off") as server, open_client() as client:
        Collection(client, server, "default").store_well(make_numbered(1))
        back_up(data_dir, folder)
    before = (folder / "lamella.db").read_bytes()
    (folder / "lamella.db.new").write_bytes(b"half of a database")
    checked = run_command(folder, "fsck", "--bytes")
    assert checked.returncode == 0, checked.stdout
    assert (folder / "lamella.db").read_bytes()[100:] == before[100:]
    back_up(data_dir, folder)
    assert not (folder / "lamella.db.new").exists()


@pytest.mark.embedded
def test_what_is_lost_is_named_and_the_rest_is_saved(tmp_path: Path) -> None:
    data_dir, folder = tmp_path / "data", tmp_path / "backup"
    for number in (1, 2):
        with serve(data_dir, dimse="off") as server, open_client() as client:
            Collection(client, server, "default").store_well(make_numbered(number))
    lost, _ = sorted((data_dir / "packs").glob("*/*.pack"))
    lost.unlink()
    done = run_cli(data_dir, "backup", str(folder), "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["failed"] == 1
    assert found["problems"] > 0
    assert "pack-missing" in done.stderr
    assert len(list((folder / "packs").glob("*/*.pack"))) == 1


@pytest.mark.parametrize("where", ["data", "other"])
def test_other_folders_are_left_alone(tmp_path: Path, where: str) -> None:
    data_dir = tmp_path / "data"
    assert run_cli(data_dir, "log").returncode == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    done = run_cli(data_dir, "backup", str(tmp_path / where))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_nothing_is_restored_over_what_is_there(tmp_path: Path, postgresql: str) -> None:
    data_dir, folder = tmp_path / "data", tmp_path / "backup"
    assert run_cli(data_dir, "dataset", "create", "mine").returncode == 0
    back_up(data_dir, folder)
    there = tmp_path / "there"
    assert run_command(there, "log").returncode == 0
    assert run_command(there, "restore", str(folder)).returncode == 1
    url = make_database(postgresql, "there")
    assert run_command(there, "log", database_url=url).returncode == 0
    done = run_command(tmp_path / "new", "restore", str(folder), database_url=url)
    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert run_command(tmp_path / "new", "restore", str(tmp_path)).returncode == 1
    with closing(sqlite3.connect(folder / "lamella.db")) as connection:
        names = connection.execute("SELECT name FROM dataset ORDER BY name").fetchall()
    assert names == [("default",), ("mine",)]

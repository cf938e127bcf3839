"""What indexes of attributes spare a search, and cost a store: counted, never timed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import sqlalchemy as sa

from bench.growth import Store
from bench.workload import Slice, list_tiny_studies, make_tiny
from lamella.archive.attribute_index import parse_index
from lamella.archive.levels import Level
from lamella.qido.parameters import parse_search
from lamella.vcs.finder import find
from lamella.vcs.indexing import declare_index, finish_index
from lamella.vcs.refs import find_dataset
from lamella.vcs.repository import Repository
from lamella.vcs.view import open_view
from tests.harness.collection import make_collection, open_client
from tests.harness.database_work import DatabaseWork, watch_database
from tests.harness.samples import make_instance
from tests.harness.server import run_cli, serve

STUDIES, SERIES_LENGTH = 150, 4
NUMBER = 77
MOST_STEPS = 300  # of SQLite's machine: a few statements, however many studies there are
INDEX_TABLES = ("attribute_index", "row_entry", "instance_entry")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Studies of which one has an instance of number 1077."""
    folder = tmp_path_factory.mktemp("index-work") / "data"
    asyncio.run(fill(folder))
    return folder


async def fill(folder: Path) -> None:
    store = await Store.open(folder)
    try:
        studies = list_tiny_studies(STUDIES)
        instances = [make_tiny(study, 0, n) for study in studies for n in range(SERIES_LENGTH)]
        await store.put("default", [*instances, make_tiny(studies[70], 0, NUMBER - 1)])
    finally:
        await store.close()


def list_works(
    folder: Path, level: Level, text: str, *names: str
) -> list[tuple[list[str], Counter[str], int]]:
    """Return results, statements and steps of a search, before and after indexes are made."""

    async def run() -> list[tuple[list[str], Counter[str], int]]:
        with watch_database() as work:
            store = await Store.open(folder)
            try:
                found = [await search(store, work, level, text)]
                for name in names:
                    await add_index(store, name)
                return [*found, await search(store, work, level, text)]
            finally:
                await store.close()

    return asyncio.run(run())


async def add_index(store: Store, name: str, dataset: str = "default") -> None:
    database = store.repository.archive.database
    made = await database.write(lambda c: declare_index(c, dataset, parse_index(name)))
    owner = await database.read(lambda c: find_dataset(c, dataset))
    await finish_index(store.repository, owner.id, made.id)


async def search(
    store: Store, work: DatabaseWork, level: Level, text: str
) -> tuple[list[str], Counter[str], int]:
    archive, query = store.repository.archive, parse_search(parse_qsl(text), level)

    def look(connection: sa.Connection) -> tuple[list[str], Counter[str], int]:
        repository = Repository(archive)  # nothing is cached
        view = open_view(connection, repository, "default", "main")
        view.visible(connection, repository)
        work.reset()
        found = find(connection, repository, view, query)
        uids = [match.sop_uid or match.series_uid or match.study_uid for match in found.matches]
        return uids, Counter(work.statements), work.steps

    return await archive.database.read(look)


def test_an_instance_is_found_without_a_scan_of_documents(folder: Path) -> None:
    text = f"InstanceNumber={1000 + NUMBER}"

    scan, indexed = list_works(folder, Level.INSTANCE, text, "InstanceNumber")

    assert scan[0] == indexed[0]
    assert len(indexed[0]) == 1
    assert scan[1]["SELECT derived"] >= STUDIES
    assert indexed[1]["SELECT derived"] <= 2  # its number and its document
    assert indexed[1]["SELECT series_row"] <= 2
    assert indexed[2] < MOST_STEPS < scan[2] / 10, (indexed, scan)


def test_rows_are_found_without_a_scan_of_rows(folder: Path) -> None:
    for level, text, name in (
        (Level.STUDY, "ReferringPhysicianName=nobody&fuzzymatching=true", "ReferringPhysicianName"),
        (Level.SERIES, "StationName=nowhere", "StationName"),
    ):
        scan, indexed = list_works(folder, level, text, name)
        assert scan[0] == indexed[0] == []
        assert indexed[2] < MOST_STEPS < scan[2] / 10, (name, indexed, scan)


def test_a_fuzzy_name_is_found_without_a_scan(folder: Path) -> None:
    (study,) = list_tiny_studies(1)
    word = study.patient_name.partition("^")[0]
    (fuzzy, _) = list_works(folder, Level.STUDY, f"PatientName={word}&fuzzymatching=true")
    assert study.study_uid in fuzzy[0]
    (missing, _) = list_works(folder, Level.STUDY, "PatientName=qqq&fuzzymatching=true")
    assert missing[0] == []
    assert missing[2] < MOST_STEPS
    assert set(missing[1]) == {"SELECT row_entry", "SELECT attribute_index"}


def test_a_store_pays_for_declared_indexes_only(tmp_path: Path) -> None:
    plain, known, declared = asyncio.run(count_stores(tmp_path / "data"))

    of_indexes = [name for name in plain if name.split()[-1] in INDEX_TABLES]
    assert {name: plain[name] for name in of_indexes} == {"INSERT row_entry": count_names(plain)}
    assert not any(name.split()[-1] in INDEX_TABLES for name in known)
    more = {name: n - known[name] for name, n in declared.items() if n > known[name]}
    assert set(more) <= {"SELECT attribute_index", "SELECT derived", "INSERT instance_entry"}
    assert more["SELECT attribute_index"] == more["INSERT instance_entry"] == 1


def count_names(counted: Counter[str]) -> int:
    """Return how many entries the words of one name are: a run of the statement each."""
    assert counted["INSERT study_row"] == 1
    return counted["INSERT row_entry"]


async def count_stores(folder: Path) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Count statements of stores: a new study, more of it, and more of it with an index."""
    (study, other) = list_tiny_studies(2)
    with watch_database() as work:
        store = await Store.open(folder)
        try:
            await store.put("default", [make_tiny(other, 0, 0)])  # what a process asks once
            counted = []
            for number in range(3):
                if number == 2:
                    await add_index(store, "InstanceNumber")
                counted.append(await count_store(store, work, [make_tiny(study, 0, number)]))
        finally:
            await store.close()
    return counted[0], counted[1], counted[2]


async def count_store(store: Store, work: DatabaseWork, instances: list[Slice]) -> Counter[str]:
    work.reset()
    await store.put("default", instances)
    return Counter(work.statements)


def test_indexes_over_http_and_by_command(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with serve(folder, dimse="off") as server, open_client() as client:
        collection = make_collection(client, server)
        uid = "1.2.826.0.1.3680043.10.9999.66"
        for number, day in enumerate(("20260101", "20260102", "20260102"), 1):
            name = f"{uid}.{number}"
            collection.store_well(make_instance(name, f"{name}.1", f"{name}.1.1", ContentDate=day))
        url = f"{collection.root()}/instances"
        asked = {"ContentDate": "20260102", "includefield": "ContentDate"}
        before = client.get(url, params=asked).json()

        made = client.post(f"{collection.api}/indexes", json={"attribute": "00080023"})
        assert made.status_code == 202
        assert made.json()["attribute"] == "ContentDate"
        while client.get(f"{collection.api}/indexes").json()[0]["state"] != "ready":
            time.sleep(0.05)
        one = f"{collection.api}/indexes/{made.json()['id']}"
        assert client.get(one).json()["done"] == client.get(one).json()["total"] == 3
        assert client.get(url, params=asked).json() == before
        assert len(before) == 2
        again = client.post(f"{collection.api}/indexes", json={"attribute": "ContentDate"})
        assert again.status_code == 409
        for wrong in ({"attribute": "Nonsense"}, {"attribute": "PatientID", "level": "patient"}):
            assert client.post(f"{collection.api}/indexes", json=wrong).status_code == 400
        assert client.get(f"{collection.api}/indexes/999").status_code == 404

        listed = run_cli(folder, "index", "list", "-d", collection.name)
        assert listed.stdout.split() == ["ContentDate", "instance", "ready"]
        added = run_cli(folder, "index", "add", "StationName", "-d", collection.name)
        assert added.stdout == "Indexed StationName of 3 series rows.\n"
        refused = run_cli(folder, "index", "add", "StationName", "-d", collection.name)
        assert (refused.returncode, refused.stdout) == (1, "")
        gone = run_cli(folder, "index", "remove", "StationName", "-d", collection.name)
        assert gone.stdout == "Removed the index of StationName.\n"

        assert client.delete(one).status_code == 202
        while client.get(f"{collection.api}/indexes").json():
            time.sleep(0.05)
        assert client.get(url, params=asked).json() == before
        assert client.delete(one).status_code == 404
    assert run_cli(folder, "fsck").returncode == 0

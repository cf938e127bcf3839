"""The service on PostgreSQL: schema, the doors, and two servers that write one dataset."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
import sqlalchemy as sa

from lamella.archive.database import metadata, open_database
from lamella.archive.migration import (
    find_head_revision,
    migrate_to_head,
    read_schema_revision,
    upgrade_schema,
)
from lamella.settings import Settings
from lamella.upkeep.doctor.database import check_database
from lamella.upkeep.doctor.result import Status
from lamella.vcs.datasets import ensure_default
from lamella.vcs.refs import list_datasets
from tests.harness.collection import (
    Collection,
    list_reasons,
    make_collection,
    open_client,
)
from tests.harness.postgresql import run_postgresql
from tests.harness.samples import make_instance
from tests.harness.schema_rows import fill_tables, list_columns, read_tables
from tests.harness.server import RunningServer, run_cli, serve
from tests.peer.dcmtk import run_tool

T = TypeVar("T")

N_CLIENTS = 8
N_STORES = 5


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    with run_postgresql() as url:
        yield url


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("postgresql")


@pytest.fixture(scope="module")
def servers(database_url: str, folder: Path) -> Iterator[list[RunningServer]]:
    """Two servers of one installation: the same database and packs, a data folder each."""
    storage = f"file://{folder / 'packs'}"
    options = {"database_url": database_url, "storage_url": storage}
    with (
        serve(folder / "one", **options) as one,
        serve(folder / "two", dimse="off", **options) as two,
    ):
        yield [one, two]


@pytest.fixture
def collection(servers: list[RunningServer]) -> Iterator[Collection]:
    with open_client() as client:
        yield make_collection(client, servers[0])


@pytest.fixture
def twin(servers: list[RunningServer], collection: Collection) -> Collection:
    """The same dataset through the other server."""
    return Collection(collection.client, servers[1], collection.name)


async def test_servers_that_start_at_once_make_one_schema(database_url: str) -> None:
    url = await _create_database(database_url, "fresh")
    databases = [open_database(url) for _ in range(3)]
    heads = await asyncio.gather(*map(migrate_to_head, databases))
    assert set(heads) == {find_head_revision()}
    found = await databases[0].read(lambda c: set(sa.inspect(c).get_table_names()))
    assert {table.name for table in metadata.sorted_tables} <= found
    assert await databases[1].read(read_schema_revision) == find_head_revision()
    await asyncio.gather(*(database.write(ensure_default) for database in databases))
    assert [d.name for d in await databases[2].read(list_datasets)] == ["default"]
    for database in databases:
        await database.close()


async def test_migrations_carry_rows_over(database_url: str) -> None:
    url = await _create_database(database_url, "migrated")
    database = open_database(url)
    await database.write(lambda c: upgrade_schema(c, "0001"))
    await database.write(fill_tables)
    columns = await database.read(list_columns)
    before = await database.read(lambda c: read_tables(c, columns))
    await migrate_to_head(database)
    assert all(len(rows) == 3 for rows in before.values())
    assert await database.read(lambda c: read_tables(c, columns)) == before
    await database.close()


async def test_doctor_looks_at_what_the_server_is_set_to(database_url: str, tmp_path: Path) -> None:
    url = await _create_database(database_url, "examined")
    settings = Settings(data_dir=tmp_path, database_url=url, dimse="off")
    assert {one.status for one in await check_database(settings)} == {Status.OK}
    database = open_database(url)
    for setting in (
        "synchronous_commit = off",
        "statement_timeout = '5s'",
        "lock_timeout = '2min'",
    ):
        await database.write(
            lambda c, s=setting: c.execute(sa.text(f"ALTER DATABASE examined SET {s}"))
        )  # type: ignore[misc]
    await database.close()
    found = await check_database(replace(settings, workers=16))
    sentences = {one.status: one.sentence for one in found}
    assert [one.status for one in found] == [Status.OK, Status.FAIL, Status.WARN, Status.WARN]
    assert "synchronous_commit=off" in sentences[Status.FAIL]
    assert "(16) take up to 256" in found[2].sentence
    assert "by statement_timeout after 5 s" in found[3].sentence


async def _create_database(database_url: str, name: str) -> str:
    """Make another empty database on the same server; return its URL."""
    server = open_database(database_url)
    async with server._engine.connect() as connection:  # type: ignore[attr-defined]
        automatic = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await automatic.execute(sa.text(f"CREATE DATABASE {name}"))
    await server.close()
    return f"{database_url.rpartition('/')[0]}/{name}"


def test_store_search_retrieve(collection: Collection, twin: Collection) -> None:
    old_file = make_instance(SeriesDescription="before")
    new_file = make_instance(SeriesDescription="after")
    old = collection.store_well(old_file, make_instance(sop="1.2.3.1.2", InstanceNumber=2))
    new = twin.store_well(new_file)
    assert collection.store_well(new_file) == new
    for reader in (collection, twin):
        for revision, data, text in ((old, old_file, "before"), ("main", new_file, "after")):
            assert reader.read_file("1.2.3.1.1", revision) == data
            (series,) = reader.get(f"/series?SeriesDescription={text}", revision).json()
            assert series["00201209"]["Value"] == [2]
        metadata_ = reader.get("/studies/1.2.3/metadata").json()
        assert [m["00080018"]["Value"][0] for m in metadata_] == ["1.2.3.1.1", "1.2.3.1.2"]
        frame = reader.get(
            "/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1/frames/1",
            headers={"Accept": "application/octet-stream"},
        )
        assert frame.content == bytes(512)


def test_searches(collection: Collection) -> None:
    collection.store_well(
        *(
            make_instance(
                f"1.2.{n}",
                f"1.2.{n}.1",
                f"1.2.{n}.1.1",
                patient_id=f"P{n}",
                PatientName=f"{'Ärger' if n % 2 else 'Berg'}^N{n}",
                SpecificCharacterSet="ISO_IR 192",
                StudyDate=f"202601{n:02}",
                Modality="CT" if n % 3 else "MR",
            )
            for n in range(1, 29)
        )
    )
    for query, n_expected in [
        ("", 28),
        ("PatientID=P7", 1),
        ("PatientID=P2*", 10),
        ("PatientName=%C3%84rger*", 14),
        ("PatientName=berg*", 14),
        ("StudyDate=20260105-20260110", 6),
        ("StudyDate=20260120-", 9),
        ("ModalitiesInStudy=MR", 9),
        ("StudyInstanceUID=1.2.3,1.2.4", 2),
        ("limit=5", 5),
        ("limit=5&offset=26", 2),
        ("PatientID=NOBODY", 0),
    ]:
        answer = collection.get(f"/studies?{query}")
        assert (query, len(answer.json())) == (query, n_expected)
    assert "warning" in collection.get("/studies?limit=5").headers
    pages = [collection.get(f"/studies?limit=9&offset={n}").json() for n in (0, 9, 18, 27)]
    uids = [study["0020000D"]["Value"][0] for page in pages for study in page]
    assert len(uids) == len(set(uids)) == 28
    assert len(collection.get("/instances?SOPInstanceUID=1.2.5.1.1").json()) == 1


def test_refs_conflicts_and_history(collection: Collection, twin: Collection) -> None:
    head = collection.store_well(make_instance(), message="First")
    assert twin.make_ref("tags", "v1").json()["commit"] == head
    assert collection.make_ref("tags", "v1").status_code == 409
    assert collection.make_ref("branches", "side", "main~1").status_code == 201
    refused = twin.store(make_instance(fill=1))
    assert (refused.status_code, list_reasons(refused)) == (409, [0x0111])
    (waiting,) = collection.call("GET", "/conflicts")
    assert waiting["instance"] == "1.2.3.1.1"
    later = twin.store_well(make_instance(sop="1.2.3.1.2"))
    assert len(collection.get("/instances", "v1").json()) == 1
    assert collection.get("/instances", "side").json() == []
    commit = collection.call("GET", "/commits/main")
    assert collection.get("/instances", f"main@{commit['time']}").headers["lamella-commit"] == (
        later
    )
    diff = twin.call("GET", f"/diff?from={head[:10]}&to=main")
    assert [item["instance"] for item in diff["added"]] == ["1.2.3.1.2"]
    assert collection.client.delete(f"{collection.api}/tags/v1").status_code == 204


def test_characters_that_postgresql_cannot_hold(collection: Collection) -> None:
    data = make_instance(patient_id="A\0B", PatientName="X\0Y", StudyDescription="q\0r")
    collection.store_well(data)
    assert collection.store_well(data) == collection.head()
    assert collection.read_file("1.2.3.1.1") == data
    (study,) = collection.get("/studies?PatientName=X*").json()
    assert study["0020000D"]["Value"] == ["1.2.3"]
    for path in (
        f"{collection.server.root('a%00b', collection.name)}/studies",
        f"{collection.server.http}/api/v1/datasets/a%00b/branches",
        f"{collection.api}/instances/1%002/file",
        f"{collection.api}/diff?from=a%00&to=main",
    ):
        assert collection.client.get(path).status_code == 404


def test_a_truncated_body_stores_nothing(collection: Collection) -> None:
    head = collection.head()
    kind = 'multipart/related; type="application/dicom"; boundary=x'
    body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + make_instance()
    url = f"{collection.root()}/studies"
    answer = collection.client.post(url, content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert collection.head() == head


class TestRaces:
    """Clients of both servers write one branch at once."""

    def test_every_store_is_in_one_line(self, collection: Collection, twin: Collection) -> None:
        def send(own: Collection, who: int) -> list[httpx.Response]:
            return [
                own.store(make_instance(sop=f"1.2.3.1.{who}.{n}", InstanceNumber=n))
                for n in range(N_STORES)
            ]

        answers = [one for many in race(collection, twin, send) for one in many]
        assert {answer.status_code for answer in answers} == {200}
        log = collection.log()
        ids = [commit["id"] for commit in log]
        assert len(log) == N_CLIENTS * N_STORES + 1
        assert sorted(ids[:-1]) == sorted(a.headers["lamella-commit"] for a in answers)
        for commit, parent in pairwise(log):
            assert commit["parents"] == [parent["id"]]
            assert commit["time"] > parent["time"]
        assert len(twin.get("/instances?limit=1000").json()) == N_CLIENTS * N_STORES
        (series,) = twin.get("/series").json()
        assert series["00201209"]["Value"] == [N_CLIENTS * N_STORES]

    def test_one_of_many_conflicting_wins(self, collection: Collection, twin: Collection) -> None:
        answers = race(collection, twin, lambda own, who: own.store(make_instance(fill=who)))
        statuses = [answer.status_code for answer in answers]
        assert sorted(statuses) == [200] + [409] * (N_CLIENTS - 1)
        assert twin.read_file("1.2.3.1.1") == make_instance(fill=statuses.index(200))

    def test_one_condition_holds(self, collection: Collection, twin: Collection) -> None:
        headers = {"If-Match": f'"{collection.head()}"'}
        answers = race(
            collection,
            twin,
            lambda own, who: own.store(make_instance(sop=f"1.2.{who}"), headers=headers),
        )
        assert sorted(a.status_code for a in answers) == [200] + [412] * (N_CLIENTS - 1)
        assert len(collection.log()) == 2

    def test_one_tag_is_made(self, collection: Collection, twin: Collection) -> None:
        answers = race(collection, twin, lambda own, who: own.make_ref("tags", "v1"))
        assert sorted(a.status_code for a in answers) == [201] + [409] * (N_CLIENTS - 1)

    def test_one_dataset_is_made(self, collection: Collection, twin: Collection) -> None:
        def make(own: Collection, who: int) -> httpx.Response:
            url = f"{own.server.http}/api/v1/datasets"
            return own.client.post(url, json={"name": f"{own.name}-x"})

        answers = race(collection, twin, make)
        assert sorted(a.status_code for a in answers) == [201] + [409] * (N_CLIENTS - 1)

    def test_searches_during_stores_do_not_fail(
        self, collection: Collection, twin: Collection
    ) -> None:
        def work(own: Collection, who: int) -> set[int]:
            if who % 2:
                paths = ("/studies", "/series", "/instances", "/studies?PatientID=PAT1")
                return {own.get(path).status_code for path in paths * N_STORES}
            return {
                own.store(make_instance(f"1.{who}", f"1.{who}.1", f"1.{who}.1.{n}")).status_code
                for n in range(N_STORES)
            }

        assert set().union(*race(collection, twin, work)) == {200}


async def test_storescu(servers: list[RunningServer], tmp_path: Path) -> None:
    for number in range(5):
        data = make_instance("1.9.1", "1.9.1.1", f"1.9.1.1.{number}", InstanceNumber=number)
        (tmp_path / f"{number}.dcm").write_bytes(data)
    sent = await run_tool(
        "storescu", "-aec", "LAMELLA", "+sd", "127.0.0.1", str(servers[0].dimse_port),
        str(tmp_path),
    )  # fmt: skip
    assert sent.exit_status == 0, sent.output
    with open_client() as client:
        default = Collection(client, servers[1], "default")
        assert len(default.get("/studies/1.9.1/instances").json()) == 5


def test_a_crash_loses_nothing(
    database_url: str, servers: list[RunningServer], folder: Path
) -> None:
    options = {"database_url": database_url, "storage_url": f"file://{folder / 'packs'}"}
    with serve(folder / "three", dimse="off", **options) as running, open_client() as client:
        collection = make_collection(client, running)
        head = collection.store_well(make_instance())
        running.kill()
    with serve(folder / "three", dimse="off", **options) as again, open_client() as client:
        reborn = Collection(client, again, collection.name)
        assert reborn.head() == head
        assert reborn.read_file("1.2.3.1.1") == make_instance()


def test_a_database_that_is_not_there(folder: Path) -> None:
    done = run_cli(folder / "four", "--database-url", "postgresql://nobody@127.0.0.1:1/none", "log")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def race(collection: Collection, twin: Collection, work: Callable[[Collection, int], T]) -> list[T]:
    """Let many clients of both servers do this at once; return what each came to."""

    def run(who: int) -> T:
        server = (collection, twin)[who % 2].server
        with open_client() as client:
            return work(Collection(client, server, collection.name), who)

    with ThreadPoolExecutor(N_CLIENTS) as pool:
        return list(pool.map(run, range(N_CLIENTS)))

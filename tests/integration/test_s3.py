"""The service with its packs in S3: all doors, requests counted, crashes, outages, fsck."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE

from lamella.settings import Settings
from lamella.upkeep.doctor.pack_store import check_pack_store
from lamella.upkeep.doctor.result import Status
from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.faulty_s3 import (
    Fault,
    FaultyProxy,
    Plan,
    choose_first,
    choose_often,
    faulty_proxy,
)
from tests.harness.postgresql import run_postgresql
from tests.harness.s3_server import CREDENTIALS, S3Server, make_client
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, run_cli, serve

OCTETS = {"Accept": "application/octet-stream"}


@pytest.fixture(autouse=True, scope="module")
def _credentials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan()


@pytest.fixture(autouse=True)
def _reset(plan: Plan) -> Iterator[None]:
    yield
    plan.choose = lambda _method, _path: None
    plan.requests.clear()
    plan.done.clear()


@pytest.fixture(scope="module")
def proxy(s3_server: S3Server, plan: Plan) -> Iterator[FaultyProxy]:
    with faulty_proxy(s3_server.url, plan) as running:
        yield running


@pytest.fixture(scope="module")
def options(s3_server: S3Server, proxy: FaultyProxy) -> dict[str, str]:
    return {
        "storage_url": f"s3://{s3_server.make_bucket()}/archive",
        "s3_endpoint_url": proxy.url,
    }


@pytest.fixture(scope="module")
def server(
    options: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("s3") / "data", **options) as running:
        yield running


@pytest.fixture
def collection(server: RunningServer) -> Iterator[Collection]:
    with open_client() as client:
        yield make_collection(client, server)


def make_slices(n_slices: int, side: int = 64, root: str = "1.2.840.1") -> list[bytes]:
    return [
        make_instance(
            root, f"{root}.1", f"{root}.1.{n}", rows=side, columns=side, fill=n % 251,
            InstanceNumber=n,
        )
        for n in range(1, n_slices + 1)
    ]  # fmt: skip


def test_store_search_retrieve(collection: Collection, server: RunningServer) -> None:
    old_file = make_instance(SeriesDescription="before", rows=256, columns=256)
    new_file = make_instance(SeriesDescription="after", rows=256, columns=256)
    old = collection.store_well(old_file, make_instance(sop="1.2.3.1.2", InstanceNumber=2))
    new = collection.store_well(new_file)
    assert collection.store_well(new_file) == new
    for revision, data, text in ((old, old_file, "before"), ("main", new_file, "after")):
        assert collection.read_file("1.2.3.1.1", revision) == data
        (series,) = collection.get(f"/series?SeriesDescription={text}", revision).json()
        assert series["00201209"]["Value"] == [2]
    frame = collection.get(
        "/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1/frames/1", headers=OCTETS
    )
    assert frame.content == bytes(256 * 256 * 2)
    assert collection.get("/studies/1.2.3/metadata").status_code == 200
    assert collection.get("/studies/1.2.3").content.count(b"DICM") == 2
    picture = collection.get(
        "/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1/rendered",
        headers={"Accept": "image/png"},
    )
    assert picture.content.startswith(b"\x89PNG")
    assert list((server.data_dir / "spool").glob("*.spool")) == []


def test_a_series_takes_few_requests(collection: Collection, plan: Plan) -> None:
    slices = make_slices(500)
    collection.store_well(*slices)
    assert (plan.count("PUT"), plan.count("POST")) == (1, 0)
    plan.requests.clear()
    found = collection.get("/studies/1.2.840.1/series/1.2.840.1.1/metadata").json()
    assert len(found) == 500
    assert plan.count("GET") <= 5
    for n in (1, 250, 500):
        url = f"/studies/1.2.840.1/series/1.2.840.1.1/instances/1.2.840.1.1.{n}/frames/1"
        assert collection.get(url, headers=OCTETS).content == bytes([n % 251]) * 64 * 64 * 2
    assert plan.count("GET") <= 8


def test_a_series_of_common_slices_takes_few_requests(collection: Collection, plan: Plan) -> None:
    slices = make_slices(500, side=512)  # 262 MB: eight packs
    collection.store_well(*slices)
    assert len(plan.requests) <= 20
    plan.requests.clear()
    url = "/studies/1.2.840.1/series/1.2.840.1.1/metadata"
    assert len(collection.get(url).json()) == 500
    assert len(plan.requests) <= 5
    plan.requests.clear()
    for n, data in enumerate(slices[:140], 1):
        assert collection.read_file(f"1.2.840.1.1.{n}") == data
    assert plan.count("GET") <= 30


def test_each_c_store_is_one_request(server: RunningServer, plan: Plan) -> None:
    entity = AE("TEST")
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.2")
    association = entity.associate("127.0.0.1", server.dimse_port, ae_title=server.aet)
    assert association.is_established
    for data in make_slices(3, root="1.2.840.7"):
        assert association.send_c_store(dcmread(BytesIO(data))).Status == 0
    association.release()
    assert plan.count("PUT") == 3


def test_import_takes_few_requests(
    options: dict[str, str], server: RunningServer, plan: Plan, tmp_path: Path
) -> None:
    for n, data in enumerate(make_slices(500, root="1.2.840.8")):
        (tmp_path / f"{n}.dcm").write_bytes(data)
    flags = [part for name, value in options.items() for part in (flag_of(name), value)]
    done = run_cli(server.data_dir, *flags, "import", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "stored=500" in done.stdout
    assert len(plan.requests) <= 20


def flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")


def test_mistakes_of_s3_are_made_good(collection: Collection, plan: Plan) -> None:
    faults = (Fault.ERROR, Fault.SLOW_DOWN, Fault.TORN_ANSWER, Fault.TORN_REQUEST, Fault.WRONG_ETAG)
    plan.choose = choose_often(3, 0.25, faults)
    for n in range(20):
        data = make_instance(sop=f"1.2.3.1.{n}", fill=n)
        collection.store_well(data)
        assert collection.read_file(f"1.2.3.1.{n}") == data
    assert plan.done


def test_a_damaged_cache_is_noticed(collection: Collection, server: RunningServer) -> None:
    data = make_instance(rows=128, columns=128, fill=7)
    collection.store_well(data)
    assert collection.read_file("1.2.3.1.1") == data
    chunks = [p for p in (server.data_dir / "cache" / "packs").rglob("*") if p.is_file()]
    assert chunks
    for n, path in enumerate(chunks):
        content = path.read_bytes()
        path.unlink()  # what the server has open stays as it is
        torn = (b"", content[: len(content) // 2], bytes(len(content)))
        path.write_bytes(torn[n % 3])
    again = make_collection(collection.client, server)
    again.store_well(data)
    assert again.read_file("1.2.3.1.1") == data


def test_a_store_that_s3_refuses_is_refused(
    options: dict[str, str], collection: Collection, plan: Plan
) -> None:
    head = collection.head()
    plan.choose = choose_first(Fault.SLOW_DOWN, 1000, ("PUT",))
    answer = collection.store(make_instance())
    assert answer.status_code == 503
    assert collection.head() == head
    plan.choose = lambda _method, _path: None
    collection.store_well(make_instance())


def test_what_s3_does_not_give_is_503_with_a_reason(collection: Collection, plan: Plan) -> None:
    sop_uid = "1.2.3.1.503"  # no part of it, nor its pixels, are known from another test
    data = make_instance(sop=sop_uid, rows=512, columns=512, fill=252)
    collection.store_well(data)
    plan.choose = choose_first(Fault.SLOW_DOWN, 1000, ("GET",))
    url = f"{collection.api}/instances/{sop_uid}/file"
    frame = f"/studies/1.2.3/series/1.2.3.1/instances/{sop_uid}/frames/1"
    for answer in (collection.client.get(url), collection.get(frame, headers=OCTETS)):
        assert answer.status_code == 503
        assert "S3 does not answer" in answer.json()["detail"]
    assert collection.get("/studies/1.2.3/metadata").status_code == 200
    plan.choose = lambda _method, _path: None
    assert collection.read_file(sop_uid) == data


def test_readiness_follows_s3(server: RunningServer, s3_server: S3Server) -> None:
    with open_client() as client:
        assert client.get(f"{server.http}/readyz").status_code == 200
        with s3_server.stopped():
            answer = client.get(f"{server.http}/readyz")
        assert answer.status_code == 503
        assert answer.json()["storage"] != "ok"
        assert answer.json()["database"] == "ok"
        assert client.get(f"{server.http}/readyz").status_code == 200


def test_fsck_looks_at_the_objects_themselves(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.make_bucket()
    client = make_client(s3_server.url)
    flags = ["--storage-url", f"s3://{bucket}/a/b", "--s3-endpoint-url", s3_server.url]
    for n in range(2):
        path = tmp_path / f"{n}.dcm"
        path.write_bytes(make_instance(sop=f"1.2.3.1.{n}", rows=300, fill=n))
        assert run_cli(tmp_path / "data", *flags, "import", str(path)).returncode == 0
    keys = [item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]]
    assert len(keys) == 2
    body = client.get_object(Bucket=bucket, Key=keys[0])["Body"].read()
    client.put_object(Bucket=bucket, Key=keys[0], Body=body[:-1] + bytes([body[-1] ^ 1]))
    client.delete_object(Bucket=bucket, Key=keys[1])
    stray = keys[0][:-10] + "00000.pack"
    client.put_object(Bucket=bucket, Key=stray, Body=b"stray")
    done = run_cli(tmp_path / "data", *flags, "fsck", "--bytes")
    assert done.returncode == 1
    for key, word in ((keys[0], "damaged"), (keys[1], "is missing"), (stray, "belongs to no row")):
        name = key.removeprefix("a/b/packs/").replace("/", "").removesuffix(".pack")
        assert any(name in line and word in line for line in done.stdout.splitlines()), done.stdout


@pytest.mark.parametrize(
    ("bucket", "status", "sentence"),
    [
        ("ready", "ok", "s3://ready is there."),
        ("no-such-bucket", "fail", "The bucket no-such-bucket does not exist."),
    ],
)
def test_doctor(
    bucket: str, status: str, sentence: str, s3_server: S3Server, tmp_path: Path
) -> None:
    flags = ["--storage-url", f"s3://{bucket}", "--s3-endpoint-url", s3_server.url]
    done = run_cli(tmp_path / "data", *flags, "doctor", "--json")
    (check,) = [check for check in json.loads(done.stdout) if check["name"] == "packs"]
    assert (check["status"], check["sentence"]) == (status, sentence)
    assert not (tmp_path / "data").exists()


async def test_doctor_warns_of_what_the_bucket_does_by_itself(
    s3_server: S3Server, tmp_path: Path
) -> None:
    bucket = s3_server.make_bucket()
    settings = Settings(
        data_dir=tmp_path / "data",
        storage_url=f"s3://{bucket}/archive",
        s3_endpoint_url=s3_server.url,
    )
    assert [result.status for result in await check_pack_store(settings)] == [Status.OK]
    client = make_client(s3_server.url)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rules = [
        {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Days": 30}}
        for name, prefix in (("logs", "logs/"), ("all", "arch"))
    ]
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": rules}
    )
    found = {
        (result.status, result.sentence.split(":")[0])
        for result in await check_pack_store(settings)
    }
    assert found == {
        (Status.OK, "s3"),
        (Status.WARN, "The bucket keeps versions"),
        (Status.FAIL, "The bucket's lifecycle rule all takes packs away"),
    }


def test_crash_and_two_nodes_on_postgresql(
    options: dict[str, str], tmp_path: Path, plan: Plan
) -> None:
    """Two nodes that share a database and a bucket and nothing else; one is killed."""
    with run_postgresql() as url:
        shared = {**options, "database_url": url}
        with (
            serve(tmp_path / "one", **shared) as one,
            serve(tmp_path / "two", dimse="off", workers="2", **shared) as two,
            open_client() as client,
        ):
            first = make_collection(client, one)
            twin = Collection(client, two, first.name)
            files = {f"1.2.3.1.{n}": make_instance(sop=f"1.2.3.1.{n}", fill=n) for n in range(10)}
            for n, data in enumerate(files.values()):
                (first, twin)[n % 2].store_well(data)
            one.kill()
            for sop_uid, data in files.items():
                assert twin.read_file(sop_uid) == data
            assert len(twin.get("/instances").json()) == 10
        flags = [part for name, value in shared.items() for part in (flag_of(name), value)]
        done = run_cli(tmp_path / "one", *flags, "fsck", "--bytes")
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("s3://", "LAMELLA_STORAGE_URL must be s3://BUCKET"),
        ("s3://UPPER/x", "LAMELLA_STORAGE_URL must be s3://BUCKET"),
        ("gs://bucket/x", "LAMELLA_STORAGE_URL must be file:///"),
    ],
)
def test_a_wrong_url_is_one_sentence(url: str, sentence: str, tmp_path: Path) -> None:
    done = run_cli(tmp_path / "data", "--storage-url", url, "log")
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1

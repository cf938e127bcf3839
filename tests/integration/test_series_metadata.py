"""Metadata and instance searches of whole series, which are kept: right for whom they are for."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from litestar import Litestar
from litestar.datastructures import State

from lamella.archive.installation import open_archive
from lamella.dicomweb.services import Services
from lamella.qido import routes as qido_routes
from lamella.settings import Settings
from lamella.stow import routes as stow_routes
from lamella.vcs import series_documents
from lamella.vcs.datasets import ensure_default
from lamella.vcs.repository import Repository
from lamella.wado import routes as wado_routes
from lamella.wado import series_metadata
from tests.harness.collection import Collection, join_parts, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, serve

STUDY, SERIES = "1.2.3", "1.2.3.1"
METADATA = f"/studies/{STUDY}/series/{SERIES}/metadata"
N_INSTANCES = 40  # enough to be kept on disk
PIXELS = "7FE00010"


def make_series(n_instances: int = N_INSTANCES, **attributes: Any) -> list[bytes]:
    """Return a series whose order by number is not that by UID."""
    return [
        make_instance(
            sop=f"1.2.3.1.{n}",
            InstanceNumber=n_instances - n,
            ImageComments=f"slice {n}",
            **attributes,
        )
        for n in range(n_instances)
    ]


def list_urls(documents: list[dict[str, Any]]) -> list[str]:
    return [document[PIXELS]["BulkDataURI"] for document in documents]


def expect_urls(root: str, n_instances: int = N_INSTANCES) -> list[str]:
    series = f"{root}/studies/{STUDY}/series/{SERIES}"
    return [
        f"{series}/instances/1.2.3.1.{n}/bulkdata/{PIXELS}" for n in reversed(range(n_instances))
    ]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("series") / "data", dimse="off") as running:
        yield running


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with open_client() as opened:
        yield opened


@pytest.fixture
def collection(server: RunningServer, client: httpx.Client) -> Collection:
    made = make_collection(client, server)
    made.store_well(*make_series())
    return made


def test_all_instances_come_in_order_with_what_pydicom_reads(collection: Collection) -> None:
    for _ in range(2):  # made, then kept
        documents = collection.get(METADATA).json()
        assert [d["00200013"]["Value"] for d in documents] == [[n + 1] for n in range(N_INSTANCES)]
        assert list_urls(documents) == expect_urls(collection.root())
        for document, file in zip(documents, reversed(make_series()), strict=True):
            ds = pydicom.dcmread(io.BytesIO(file))
            del document[PIXELS], ds.PixelData
            assert document == json.loads(ds.to_json())


def test_urls_are_those_of_the_revision_and_dataset_asked_for(
    collection: Collection, client: httpx.Client, server: RunningServer
) -> None:
    twin = make_collection(client, server)
    commit_id = twin.store_well(*make_series())
    assert twin.make_ref("tags", "v1").status_code == 201
    for one in (collection, twin, collection):
        assert list_urls(one.get(METADATA).json()) == expect_urls(one.root())
    for revision in ("v1", commit_id, None, "main", commit_id[:12]):
        answer = twin.get(METADATA, revision)
        assert list_urls(answer.json()) == expect_urls(twin.root(revision))
        assert answer.headers["lamella-commit"] == commit_id


def test_a_dataset_without_the_series_does_not_show_that_another_has_it(
    collection: Collection, client: httpx.Client, server: RunningServer
) -> None:
    assert collection.get(METADATA).status_code == 200
    empty = make_collection(client, server)
    assert empty.get(METADATA).status_code == 404
    assert collection.get(METADATA, "main~1").status_code == 404


def test_urls_follow_the_host_that_was_asked(collection: Collection) -> None:
    for host in ("archive.example:8443", "other.example:80", "archive.example:8443"):
        documents = collection.get(METADATA, headers={"Host": host}).json()
        root = f"http://{host}/dicomweb/{collection.name}/main"
        assert list_urls(documents) == expect_urls(root)


def test_codings_have_etags_of_their_own_and_say_the_same(collection: Collection) -> None:
    plain = collection.get(METADATA)
    packed = collection.get(METADATA, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()
    assert plain.headers["etag"] != packed.headers["etag"]
    for answer, coding in ((plain, "identity"), (packed, "gzip")):
        headers = {"Accept-Encoding": coding, "If-None-Match": answer.headers["etag"]}
        again = collection.get(METADATA, headers=headers)
        assert again.status_code == 304
        assert again.content == b""
    as_json = collection.get(METADATA, headers={"Accept": "application/json"})
    assert as_json.headers["content-type"] == "application/json"
    assert as_json.headers["etag"] != plain.headers["etag"]


def test_a_new_version_shows_at_once_and_old_commits_keep_the_old_one(
    collection: Collection,
) -> None:
    before = collection.head()
    old = collection.get(METADATA).json()
    changed = make_instance(sop="1.2.3.1.7", InstanceNumber=N_INSTANCES - 7, ImageComments="new")
    collection.store_well(changed)
    new = collection.get(METADATA).json()
    assert sum(a != b for a, b in zip(old, new, strict=True)) == 1
    assert new[N_INSTANCES - 8]["00204000"]["Value"] == ["new"]
    kept = collection.get(METADATA, before).json()
    assert [d["00204000"] for d in kept] == [d["00204000"] for d in old]


def test_a_study_is_its_series_one_after_the_other(collection: Collection) -> None:
    other = f"{STUDY}.0"
    collection.store_well(
        *(make_instance(series=other, sop=f"{other}.{n}", SeriesNumber=2) for n in range(3))
    )
    documents = collection.get(f"/studies/{STUDY}/metadata").json()
    first = collection.get(METADATA).json()
    second = collection.get(f"/studies/{STUDY}/series/{other}/metadata").json()
    assert (len(first), len(second)) == (N_INSTANCES, 3)
    assert documents == first + second
    assert collection.get("/studies/1.9/metadata").status_code == 404
    assert collection.get(f"/studies/{STUDY}/series/1.9/metadata").status_code == 404


@pytest.mark.parametrize("harm", ["deleted", "short", "flipped", "foreign"])
def test_a_cache_file_that_is_damaged_or_gone_is_made_again(tmp_path: Path, harm: str) -> None:
    data_dir = tmp_path / "data"
    with serve(data_dir, dimse="off") as server, open_client() as client:
        collection = Collection(client, server, "default")
        collection.store_well(*make_series())
        before = collection.get(METADATA).json()
    (path,) = (data_dir / "cache").rglob("1-*")
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    if harm == "deleted":
        path.unlink()
    else:
        path.write_bytes({"short": whole[:-5], "flipped": flipped, "foreign": b"no zstd"}[harm])
    with serve(data_dir, dimse="off") as server, open_client() as client:
        after = Collection(client, server, "default").get(METADATA).json()
        assert list_urls(after) == expect_urls(server.root())
        for document in (*before, *after):
            del document[PIXELS]
        assert after == before
    assert path.read_bytes() == whole


def test_what_is_kept_on_disk_takes_the_public_url_of_the_day(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with serve(data_dir, dimse="off") as server, open_client() as client:
        collection = Collection(client, server, "default")
        collection.store_well(*make_series())
        assert list_urls(collection.get(METADATA).json()) == expect_urls(server.root())
    public = "https://pacs.example/lamella"
    with serve(data_dir, dimse="off", public_url=public) as server, open_client() as client:
        documents = Collection(client, server, "default").get(METADATA).json()
        assert list_urls(documents) == expect_urls(f"{public}/dicomweb/default/main")


SEARCHES = [
    "",
    "includefield=ImageComments&includefield=PatientName",
    "includefield=00280011,0008103E",
    "InstanceNumber=7",
    "ImageComments=slice%201*&includefield=00204000",
    "limit=7&offset=30",
    "StudyDate=20260101-20260103&StudyTime=10-11",
    "PatientID=PAT1",
    "SOPInstanceUID=1.2.3.1.5,1.2.3.1.17,1.2.9",
    "ReferencedImageSequence.ReferencedSOPInstanceUID=1.2.77",
    "00091010=private",
]


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("path", ["/instances", f"/studies/{STUDY}/series/{SERIES}/instances"])
def test_searches_give_what_whole_documents_say(
    collection: Collection, path: str, search: str
) -> None:
    """With `includefield=all` whole documents are read, so that is what others must agree with."""
    answer = collection.get(f"{path}?{search}")
    assert answer.status_code == 200, answer.text
    some = answer.json()
    again = collection.get(f"{path}?{search}").json()
    everything = collection.get(f"{path}?{search}&includefield=all").json()
    assert again == some
    assert len(some) == len(everything)
    for result, whole in zip(some, everything, strict=True):
        assert result.items() <= whole.items()


def test_a_search_sees_each_version_of_a_series(collection: Collection) -> None:
    before = collection.head()
    path = f"/studies/{STUDY}/series/{SERIES}/instances?ImageComments=new"
    assert collection.get(path).json() == []
    collection.store_well(make_instance(sop="1.2.3.1.7", ImageComments="new"))
    (found,) = collection.get(path).json()
    assert found["00080018"]["Value"] == ["1.2.3.1.7"]
    assert collection.get(path, before).json() == []


def build_doors(services: Services) -> Litestar:
    """Return the DICOMweb doors in this process, where their limits can be lowered."""
    routes = [*qido_routes.ROUTES, *stow_routes.ROUTES, *wado_routes.ROUTES]
    return Litestar(routes, state=State({"services": services}), logging_config=None)


async def test_series_too_long_to_be_kept_read_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    archive = await open_archive(settings)
    await archive.database.write(ensure_default)
    root = "http://archive.example/dicomweb/default/main"
    content_type, body = join_parts(make_series())

    async def fetch(path: str, coding: str = "identity") -> httpx.Response:
        """Ask a server that has nothing in memory."""
        app: Any = build_doors(Services(Repository(archive), settings))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=root) as client:
            return await client.get(f"{root}{path}", headers={"Accept-Encoding": coding})

    try:
        app: Any = build_doors(Services(Repository(archive), settings))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            headers = {"Content-Type": content_type}
            stored = await client.post(f"{root}/studies", content=body, headers=headers)
        assert stored.status_code == 200, stored.text
        instances = f"/studies/{STUDY}/series/{SERIES}/instances?limit=13"
        whole, found = await fetch(METADATA), await fetch(instances)
        assert list_urls(whole.json()) == expect_urls(root)
        Repository(archive).shelf.clear()

        monkeypatch.setattr(series_documents, "LONGEST_TEXT_BYTES", 1000)
        in_parts = await fetch(METADATA)
        assert in_parts.content == whole.content
        assert (await fetch(instances)).json() == found.json()
        monkeypatch.setattr(series_metadata, "LONGEST_BODY_BYTES", 1000)
        for streamed in (await fetch(METADATA), await fetch(METADATA, "gzip")):
            assert streamed.content == whole.content
        monkeypatch.setattr(series_metadata, "WHOLE_UP_TO", 10)
        monkeypatch.setattr(series_documents, "LONGEST_TEXT_BYTES", 1 << 20)
        streamed = await fetch(METADATA)
        assert streamed.content == whole.content
        assert streamed.headers["etag"] == whole.headers["etag"]
    finally:
        await archive.close()

"""`/api/v1` as the public contract describes it: shapes, statuses, paging, files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, serve

COMMIT_KEYS = {
    "id",
    "tree",
    "parents",
    "author",
    "committer",
    "time",
    "message",
    "kind",
    "provenance",
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
SOP = "1.2.3.1.1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("api") / "data", dimse="off") as running:
        yield running


@pytest.fixture
def collection(server: RunningServer) -> Iterator[Collection]:
    with open_client() as client:
        yield make_collection(client, server)


def check_problem(answer: httpx.Response, status: int) -> None:
    """Check that an answer is an error as RFC 9457 has it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].split(";")[0] in (
        "application/json",
        "application/problem+json",
    )
    body = answer.json()
    assert isinstance(body["title"], str)
    assert isinstance(body["detail"], str)
    assert "Traceback" not in answer.text


class TestDatasets:
    def test_make_and_list(self, collection: Collection) -> None:
        url = f"{collection.server.http}/api/v1/datasets"
        listed = {one["name"]: one for one in collection.client.get(url).json()}
        assert {"default", collection.name} <= listed.keys()
        assert listed["default"]["default_branch"] == "main"
        assert collection.client.get(collection.api).json() == listed[collection.name]
        assert TIME.fullmatch(listed[collection.name]["created"])
        check_problem(collection.client.post(url, json={"name": collection.name}), 409)

    def test_unknown_ones(self, collection: Collection) -> None:
        base = f"{collection.server.http}/api/v1/datasets/nobody"
        for path in ("", "/branches", "/tags", "/commits", "/commits/main", "/conflicts"):
            check_problem(collection.client.get(base + path), 404)
        check_problem(collection.client.post(f"{base}/tags", json={"name": "v1"}), 404)

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b'"x"', b"{}", b'{"name": 1}', b'{"name": "x", "nme": "y"}']
    )
    def test_bodies_that_are_none(self, collection: Collection, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        for url in (f"{collection.server.http}/api/v1/datasets", f"{collection.api}/tags"):
            answer = collection.client.post(url, content=body, headers=headers)
            check_problem(answer, 400)


class TestRefs:
    @pytest.mark.parametrize("kind", ["branches", "tags"])
    def test_life(self, collection: Collection, kind: str) -> None:
        before = {ref["name"] for ref in collection.call("GET", f"/{kind}")}
        assert before == ({"main"} if kind == "branches" else set())
        head = collection.store_well(make_instance())
        made = collection.make_ref(kind, "x1", "main")
        assert made.status_code == 201
        assert made.json()["name"] == "x1"
        assert made.json()["commit"] == head
        listed = collection.call("GET", f"/{kind}")
        assert [ref["name"] for ref in listed] == sorted({*before, "x1"})
        assert next(ref for ref in listed if ref["name"] == "x1") == made.json()
        check_problem(collection.make_ref(kind, "x1", "main"), 409)
        url = f"{collection.api}/{kind}/x1"
        gone = collection.client.delete(url)
        assert (gone.status_code, gone.content) == (204, b"")
        check_problem(collection.client.delete(url), 404)
        assert {ref["name"] for ref in collection.call("GET", f"/{kind}")} == before

    def test_refs_at_revisions_of_every_form(self, collection: Collection) -> None:
        first = collection.head()
        head = collection.store_well(make_instance())
        for name, revision, commit_id in [
            ("a", None, head),
            ("b", head, head),
            ("c", head[:9], head),
            ("d", "main~1", first),
            ("e", f"main@{collection.log()[0]['time']}", head),
        ]:
            assert collection.make_ref("tags", name, revision).json()["commit"] == commit_id
        check_problem(collection.make_ref("tags", "f", "nobody"), 404)
        check_problem(collection.make_ref("tags", "f", "main~9"), 404)
        check_problem(collection.make_ref("tags", "f", "main~x"), 400)


class TestCommits:
    def test_shape(self, collection: Collection) -> None:
        first = collection.head()
        head = collection.store_well(make_instance(), message="Scans")
        commit = collection.call("GET", "/commits/main")
        assert commit.keys() >= COMMIT_KEYS
        assert commit["id"] == head
        assert commit["parents"] == [first]
        assert commit["message"] == "Scans"
        assert re.fullmatch("[0-9a-f]{64}", commit["tree"])
        assert TIME.fullmatch(commit["time"])
        assert isinstance(commit["author"], str)
        assert commit == collection.call("GET", f"/commits/{head}")
        assert commit == collection.log()[0]
        assert collection.call("GET", "/commits/main~1")["parents"] == []

    def test_paging(self, collection: Collection) -> None:
        for number in range(7):
            collection.store_well(make_instance(sop=f"1.2.3.1.{number}"))
        whole = [commit["id"] for commit in collection.log()]
        assert len(whole) == 8
        assert [c["id"] for c in collection.call("GET", "/commits")] == whole
        pages: list[str] = []
        page = collection.call("GET", "/commits?revision=main&limit=3")
        while page:
            assert len(page) <= 3
            pages += [commit["id"] for commit in page]
            page = collection.call("GET", f"/commits?revision=main&limit=3&before={page[-1]['id']}")
        assert pages == whole
        older = collection.call("GET", "/commits?revision=main~5&limit=2")
        assert [commit["id"] for commit in older] == whole[5:7]

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ("limit=0", 400),
            ("limit=-1", 400),
            ("limit=x", 400),
            ("revision=nobody", 404),
            ("before=nobody", 404),
            ("revision=main~x", 400),
        ],
    )
    def test_bad_questions(self, collection: Collection, query: str, status: int) -> None:
        check_problem(collection.client.get(f"{collection.api}/commits?{query}"), status)


class TestDiff:
    def test_shape(self, collection: Collection) -> None:
        old = collection.store_well(
            make_instance(PatientComments="x"), make_instance(sop="1.2.3.1.2")
        )
        new = collection.store_well(
            make_instance(SeriesDescription="new", PatientComments="y"),
            make_instance("1.2.4", "1.2.4.1", "1.2.4.1.1"),
        )
        diff = collection.call("GET", f"/diff?from={old}&to=main")
        added = {"study": "1.2.4", "series": "1.2.4.1", "instance": "1.2.4.1.1"}
        place = {"study": "1.2.3", "series": "1.2.3.1", "instance": SOP}
        assert diff == {
            "from": old,
            "to": new,
            "added": [added],
            "removed": [],
            "changed": [
                {**place, "attributes": ["SeriesDescription", "PatientComments"], "bulk": False}
            ],
        }
        back = collection.call("GET", f"/diff?from=main&to={old}")
        assert (back["added"], back["removed"]) == ([], [added])
        assert [item["instance"] for item in back["changed"]] == [SOP]
        same = collection.call("GET", f"/diff?from={new}&to=main")
        assert same == {"from": new, "to": new, "added": [], "removed": [], "changed": []}

    def test_pixels(self, server: RunningServer) -> None:
        with open_client() as client:
            collection = make_collection(client, server, "replace")
            collection.store_well(make_instance())
            collection.store_well(make_instance(fill=1))
            (changed,) = collection.call("GET", "/diff?from=main~1&to=main")["changed"]
            assert changed["bulk"] is True

    @pytest.mark.parametrize(
        ("query", "status"),
        [("", 400), ("from=main", 400), ("to=main", 400), ("from=main&to=nobody", 404)],
    )
    def test_bad_questions(self, collection: Collection, query: str, status: int) -> None:
        check_problem(collection.client.get(f"{collection.api}/diff?{query}"), status)


class TestFile:
    @pytest.fixture
    def data(self) -> bytes:
        return make_instance(rows=64, columns=64, fill=3)

    def url(self, collection: Collection, sop_uid: str = SOP, query: str = "") -> str:
        return f"{collection.api}/instances/{sop_uid}/file{query}"

    def test_whole(self, collection: Collection, data: bytes) -> None:
        old = collection.store_well(data)
        newer = make_instance(rows=64, columns=64, fill=3, SeriesDescription="x")
        head = collection.store_well(newer)
        for query, expected, commit_id in [
            ("", newer, head),
            ("?revision=main", newer, head),
            (f"?revision={old}", data, old),
            ("?revision=main~1", data, old),
        ]:
            answer = collection.client.get(self.url(collection, query=query))
            assert answer.status_code == 200
            assert answer.content == expected
            assert answer.headers["content-type"].startswith("application/dicom")
            assert answer.headers["content-length"] == str(len(expected))
            assert answer.headers["lamella-commit"] == commit_id
            head_only = collection.client.head(self.url(collection, query=query))
            assert head_only.headers["content-length"] == str(len(expected))

    @pytest.mark.parametrize(
        ("asked", "part"),
        [
            ("bytes=0-99", slice(0, 100)),
            ("bytes=100-100", slice(100, 101)),
            ("bytes=500-", slice(500, None)),
            ("bytes=-64", slice(-64, None)),
            ("bytes=300-999999", slice(300, None)),
        ],
    )
    def test_ranges(self, collection: Collection, data: bytes, asked: str, part: slice) -> None:
        collection.store_well(data)
        answer = collection.client.get(self.url(collection), headers={"Range": asked})
        assert answer.status_code == 206
        assert answer.content == data[part]
        start, stop, _ = part.indices(len(data))
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(data)}"
        assert answer.headers["content-length"] == str(stop - start)

    def test_ranges_that_are_none(self, collection: Collection, data: bytes) -> None:
        collection.store_well(data)
        for asked in (f"bytes={len(data)}-", "bytes=9999999-", "bytes=-0"):
            answer = collection.client.get(self.url(collection), headers={"Range": asked})
            check_problem(answer, 416)
            assert answer.headers["content-range"] == f"bytes */{len(data)}"
        for asked in ("pages=1-2", "bytes=9-2", "bytes=x"):
            answer = collection.client.get(self.url(collection), headers={"Range": asked})
            assert (answer.status_code, answer.content) == (200, data)

    def test_conditions(self, collection: Collection, data: bytes) -> None:
        collection.store_well(data)
        etag = collection.client.get(self.url(collection)).headers["etag"]
        known = collection.client.get(self.url(collection), headers={"If-None-Match": etag})
        assert (known.status_code, known.content) == (304, b"")
        headers = {"Range": "bytes=0-9", "If-Range": etag}
        assert collection.client.get(self.url(collection), headers=headers).content == data[:10]
        headers["If-Range"] = '"another"'
        assert collection.client.get(self.url(collection), headers=headers).content == data

    def test_unknown_ones(self, collection: Collection, data: bytes) -> None:
        collection.store_well(data)
        check_problem(collection.client.get(self.url(collection, "9.9.9")), 404)
        for query, status in (("?revision=nobody", 404), ("?revision=main~1", 404)):
            check_problem(collection.client.get(self.url(collection, query=query)), status)


class TestService:
    def test_openapi(self, collection: Collection) -> None:
        schema: dict[str, Any] = collection.client.get(
            f"{collection.server.http}/schema/openapi.json"
        ).json()
        paths = {path for path in schema["paths"] if path.startswith("/api/v1/datasets")}
        tails = {path.removeprefix("/api/v1/datasets") for path in paths}
        assert {
            "",
            "/{dataset}/branches",
            "/{dataset}/tags",
            "/{dataset}/branches/{name}",
            "/{dataset}/commits",
            "/{dataset}/commits/{revision}",
            "/{dataset}/diff",
            "/{dataset}/instances/{instance}/file",
        } <= tails

    def test_what_is_not_there(self, collection: Collection) -> None:
        base = f"{collection.server.http}/api/v1"
        check_problem(collection.client.get(f"{base}/nothing"), 404)
        answer = collection.client.put(f"{base}/datasets", json={})
        check_problem(answer, 405)
        assert "GET" in answer.headers["allow"]

    def test_health(self, collection: Collection) -> None:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert collection.client.get(collection.server.http + path).status_code == 200

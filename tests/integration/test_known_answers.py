"""An answer that is known is given again only to those who would get the very same.

The boundary of a multipart answer is made at random when the answer is, so the same boundary
twice means that the second answer was a known one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, serve

STUDY, SERIES, SOP = "1.2.3", "1.2.3.1", "1.2.3.1.1"
INSTANCE = f"/studies/{STUDY}/series/{SERIES}/instances/{SOP}"
FRAME = f"{INSTANCE}/frames/1"
METADATA = f"/studies/{STUDY}/series/{SERIES}/metadata"
AS_STORED = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
WHOLE = {"Accept": "application/octet-stream"}


PIXELS = 512  # bytes


def make_slice(value: int = 7, **attributes: object) -> bytes:
    return make_instance(sop=SOP, fill=value, **attributes)


def read_boundary(answer: httpx.Response) -> str:
    return answer.headers["content-type"].partition("boundary=")[2]


def check_recalled(first: httpx.Response, second: httpx.Response) -> None:
    assert read_boundary(first) == read_boundary(second)


def read_part(answer: httpx.Response) -> bytes:
    assert answer.status_code == 200, answer.text
    boundary = read_boundary(answer).encode()
    head, _, rest = answer.content.partition(b"\r\n\r\n")
    assert head.startswith(b"--" + boundary)
    data, _, end = rest.rpartition(b"\r\n--" + boundary)
    assert end == b"--\r\n"
    return data


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("known") / "data", dimse="off") as running:
        yield running


@pytest.fixture
def collection(server: RunningServer) -> Iterator[Collection]:
    with open_client() as client:
        made = make_collection(client, server, duplicates="replace")
        made.store_well(make_slice())
        yield made


def test_who_asks_the_same_again_gets_the_same(collection: Collection) -> None:
    pixels = bytes([7]) * PIXELS
    first, second, third = (collection.get(FRAME, headers=AS_STORED) for _ in range(3))
    assert read_part(first) == pixels
    for again in (second, third):
        check_recalled(first, again)
        assert read_part(again) == pixels
        varying = {"date": "", "content-type": ""}
        assert {**again.headers, **varying} == {**first.headers, **varying}
    for _ in range(2):
        answer = collection.get(FRAME, headers=WHOLE)
        assert (answer.content, answer.headers["content-length"]) == (pixels, str(PIXELS))


def test_a_known_answer_is_counted_as_what_it_is(server: RunningServer) -> None:
    def count(client: httpx.Client, route: str) -> float:
        line = f'lamella_http_requests_total{{method="GET",route="{route}",status="200"}} '
        lines = client.get(f"{server.http}/metrics").text.splitlines()
        return sum(float(text.removeprefix(line)) for text in lines if text.startswith(line))

    with open_client() as client:
        collection = make_collection(client, server)
        collection.store_well(make_slice())
        before = count(client, "retrieve-frames"), count(client, "retrieve-metadata")
        for _ in range(3):
            collection.get(FRAME, headers=AS_STORED)
            collection.get(METADATA)
        after = count(client, "retrieve-frames"), count(client, "retrieve-metadata")
        assert (after[0] - before[0], after[1] - before[1]) == (3, 3)


def test_other_ways_of_asking_are_told_apart(collection: Collection) -> None:
    usual = collection.get(FRAME, headers=AS_STORED)
    for headers in (
        {**AS_STORED, "Host": "archive.example:8443"},
        {**AS_STORED, "X-Forwarded-Prefix": "/pacs"},
        {"Accept": 'multipart/related; type="application/octet-stream"'},
    ):
        first, second = (collection.get(FRAME, headers=headers) for _ in range(2))
        assert read_part(first) == read_part(usual)
        check_recalled(first, second)
        assert read_boundary(first) != read_boundary(usual)
    host = {**AS_STORED, "Host": "archive.example:8443"}
    for _ in range(2):
        answer = collection.get(FRAME, headers=host)
        assert answer.headers["content-location"].startswith("http://archive.example:8443/")
        assert b"Content-Location: http://archive.example:8443/" in answer.content
    refused = collection.get(FRAME, headers={"Accept": "image/jpeg;q=0"})
    assert refused.status_code == 406
    head = collection.client.head(collection.root() + FRAME, headers=AS_STORED)
    assert (head.content, head.headers["etag"]) == (b"", usual.headers["etag"])


def test_pages_of_other_origins_are_told_what_they_may_read(collection: Collection) -> None:
    for _ in range(2):
        for origin, shown in (("http://localhost:3000", True), ("https://evil.example", False)):
            answer = collection.get(FRAME, headers={**AS_STORED, "Origin": origin})
            allowed = answer.headers.get("access-control-allow-origin")
            assert allowed == (origin if shown else None)
            assert answer.headers["vary"] == "Accept, Accept-Encoding, Origin"


@pytest.mark.parametrize("path", [FRAME, METADATA])
def test_what_a_client_has_already_is_not_sent_again(collection: Collection, path: str) -> None:
    headers = AS_STORED if path == FRAME else {"Accept-Encoding": "gzip"}
    for _ in range(2):
        answer = collection.get(path, headers=headers)
        fresh = collection.get(path, headers={**headers, "If-None-Match": answer.headers["etag"]})
        assert (fresh.status_code, fresh.content) == (304, b"")
        stale = collection.get(path, headers={**headers, "If-None-Match": '"other"'})
        assert stale.status_code == 200


def test_a_commit_shows_at_once_and_older_ones_stay(collection: Collection) -> None:
    old = collection.head()
    seen = [collection.get(FRAME, headers=AS_STORED) for _ in range(2)]
    assert {read_part(answer)[0] for answer in seen} == {7}
    new = collection.store_well(make_slice(9))
    for revision, commit_id, first in (("main", new, 9), (old, old, 7), ("main~1", old, 7)):
        for _ in range(2):
            answer = collection.get(FRAME, revision, headers=AS_STORED)
            assert answer.headers["lamella-commit"] == commit_id
            assert read_part(answer)[0] == first
            assert answer.headers["content-location"].count(commit_id) == 1
    changed = collection.store_well(make_slice(9, ImageComments="new"))
    for _ in range(2):
        answer = collection.get(METADATA)
        assert answer.headers["lamella-commit"] == changed
        assert answer.json()[0]["00204000"]["Value"] == ["new"]


def test_a_commit_elsewhere_changes_nothing(collection: Collection) -> None:
    first = collection.get(FRAME, headers=AS_STORED)
    make_collection(collection.client, collection.server).store_well(make_slice(1))
    answers = [collection.get(FRAME, headers=AS_STORED) for _ in range(3)]
    check_recalled(answers[1], answers[2])
    for answer in answers:
        assert answer.headers["etag"] == first.headers["etag"]
        assert read_part(answer) == read_part(first)


def test_a_tag_that_is_made_anew_leads_to_its_new_commit(collection: Collection) -> None:
    for value in (7, 8):
        collection.store_well(make_slice(value))
        assert collection.make_ref("tags", "v1").status_code == 201
        for _ in range(2):
            assert read_part(collection.get(FRAME, "v1", headers=AS_STORED))[0] == value
        gone = collection.client.delete(f"{collection.api}/tags/v1")
        assert gone.status_code == 204
        assert collection.get(FRAME, "v1", headers=AS_STORED).status_code == 404


def test_damage_is_told_to_those_who_knew_the_answer(tmp_path: Path) -> None:
    packs = tmp_path / "packs"
    with (
        serve(tmp_path / "data", dimse="off", storage_url=f"file://{packs}") as server,
        open_client() as client,
    ):
        collection = Collection(client, server, "default")
        collection.store_well(make_slice())
        assert read_part(collection.get(FRAME, headers=AS_STORED))[0] == 7
        (pack,) = packs.rglob("*.pack")
        os.truncate(pack, 10)
        answer = collection.get(FRAME, headers=AS_STORED)
        assert answer.status_code == 500
        assert "shorter than its locations say" in answer.json()["detail"]


def list_series(answer: httpx.Response) -> list[tuple[int, str, int]]:
    """Return number, UID and count of each series found."""
    assert answer.status_code in (200, 204), answer.text
    return [
        (one["00200011"]["Value"][0], one["0020000E"]["Value"][0], one["00201209"]["Value"][0])
        for one in answer.json()
    ]


def test_the_series_of_a_study_follow_its_commits(collection: Collection) -> None:
    path = f"/studies/{STUDY}/series"

    def find(search: str = "", revision: str = "main") -> list[tuple[int, str, int]]:
        answers = [collection.get(f"{path}?{search}", revision) for _ in range(3)]
        assert answers[0].content == answers[1].content == answers[2].content
        return list_series(answers[2])

    first = (1, SERIES, 1)
    old = collection.head()
    assert find() == [first]
    second = f"{STUDY}.2"
    collection.store_well(
        make_instance(series=second, sop=f"{second}.1", SeriesNumber=2, Modality="MR"),
        make_instance(sop=f"{SERIES}.2"),
    )
    grown = (1, SERIES, 2)
    assert find() == [grown, (2, second, 1)]
    assert find(revision=old) == find(revision="main~1") == [first]
    assert find("limit=1") == [grown]
    assert find("limit=1&offset=1") == find("offset=1") == [(2, second, 1)]
    assert find("Modality=MR") == [(2, second, 1)]
    assert find(f"SeriesInstanceUID={SERIES}") == [grown]
    assert collection.get(f"{path}?limit=1").headers["warning"].startswith("299 ")
    assert find("offset=2") == []
    for _ in range(2):
        (one, _) = collection.get(f"{path}?includefield=PatientName").json()
        assert one["00100010"]["Value"] == [{"Alphabetic": "Test^Person"}]
        assert one["00081190"]["Value"] == [f"{collection.root()}{path}/{SERIES}"]
        (one,) = collection.get(path, old).json()
        assert one["00081190"]["Value"] == [f"{collection.root(old)}{path}/{SERIES}"]
        refused = collection.get(f"{path}?limit=many")
        assert refused.status_code == 400
        assert collection.get("/studies/1.9/series").json() == []

"""Revisions and refs as HTTP clients meet them: every form, and the headers that go with it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote

import httpx
import pytest

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, serve
from tests.harness.stack import run_statement

STUDY, SERIES = "1.2.3", "1.2.3.1"
INSTANCE = f"/studies/{STUDY}/series/{SERIES}/instances/1.2.3.1.1"
RESOURCES = [
    "/studies",
    "/studies?PatientID=PAT1",
    f"/studies/{STUDY}/series",
    f"/studies/{STUDY}/instances",
    f"/studies/{STUDY}/metadata",
    f"/studies/{STUDY}",
    INSTANCE,
    f"{INSTANCE}/metadata",
    f"{INSTANCE}/frames/1",
    f"{INSTANCE}/bulkdata/7FE00010",
]
RESERVED = ["studies", "series", "instances", "wado", "HEAD", "a" * 64, "0123456789ABCDEF" * 4]
BAD_NAMES = [*RESERVED, "-x", ".x", "_x", "a b", "a@b", "a~1", "a%b", "é", "x" * 129, "", "a\n"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("revisions") / "data", dimse="off") as running:
        yield running


@pytest.fixture
def collection(server: RunningServer) -> Iterator[Collection]:
    with open_client() as client:
        yield make_collection(client, server)


@pytest.fixture
def commits(collection: Collection) -> list[str]:
    """Store three instances, each a commit; return the four commit ids, oldest first."""
    first = collection.head()
    ids = [collection.store_well(make_instance(sop=f"1.2.3.1.{n}")) for n in (1, 2, 3)]
    return [first, *ids]


def count_instances(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    return len(answer.json())


def expect(collection: Collection, revision: str, commit_id: str, n_instances: int) -> None:
    """Check that a revision is a commit, by its header and by what a search finds."""
    answer = collection.get("/instances", revision)
    assert count_instances(answer) == n_instances, revision
    assert answer.headers["lamella-commit"] == commit_id


def refuse(collection: Collection, revision: str, status: int) -> None:
    """Check that a revision is refused as a problem document, by both doors."""
    shown = quote(revision, safe="")
    for answer in (
        collection.get("/studies", shown),
        collection.client.get(f"{collection.api}/commits/{shown}"),
    ):
        assert answer.status_code == status, (revision, answer.text)
        assert answer.headers["content-type"].startswith("application/json")
        assert {"title", "detail"} <= answer.json().keys()
        assert "lamella-commit" not in answer.headers


class TestForms:
    def test_commit_ids_and_prefixes(self, collection: Collection, commits: list[str]) -> None:
        for n_instances, commit_id in enumerate(commits):
            for length in (64, 63, 20, 8):
                expect(collection, commit_id[:length], commit_id, n_instances)
        refuse(collection, commits[1][:7], 404)
        refuse(collection, "0" * 64, 404)

    def test_a_prefix_of_several_commits_is_ambiguous(
        self, collection: Collection, commits: list[str]
    ) -> None:
        twin = commits[2][:10] + ("0" if commits[2][10] != "0" else "1") * 54
        run_statement(
            collection.server.data_dir,
            'INSERT INTO "commit" (dataset_id, id, tree, generation, visible_id, data) '
            'SELECT dataset_id, :twin, tree, generation, visible_id, data FROM "commit" '
            "WHERE id = :one",
            twin=bytes.fromhex(twin),
            one=bytes.fromhex(commits[2]),
        )
        for length in (8, 9, 10):
            refuse(collection, commits[2][:length], 400)
        expect(collection, commits[2][:11], commits[2], 2)
        expect(collection, commits[2], commits[2], 2)

    def test_branches_and_tags(self, collection: Collection, commits: list[str]) -> None:
        assert collection.make_ref("branches", "side", commits[1]).status_code == 201
        assert collection.make_ref("tags", "v1.0", "main~1").status_code == 201
        expect(collection, "main", commits[3], 3)
        expect(collection, "side", commits[1], 1)
        expect(collection, "v1.0", commits[2], 2)
        refuse(collection, "nobody", 404)

    def test_without_a_revision_it_is_the_default_branch(
        self, collection: Collection, commits: list[str]
    ) -> None:
        answer = collection.get("/instances", None)
        assert count_instances(answer) == 3
        assert answer.headers["lamella-commit"] == commits[3]
        url = answer.json()[0]["00081190"]["Value"][0]
        assert url.startswith(f"{collection.root(None)}/studies/")

    def test_a_tag_goes_before_a_branch_and_both_before_a_prefix(
        self, collection: Collection, commits: list[str]
    ) -> None:
        name = commits[1][:8]
        expect(collection, name, commits[1], 1)
        assert collection.make_ref("branches", name, commits[2]).status_code == 201
        expect(collection, name, commits[2], 2)
        assert collection.make_ref("tags", name, commits[3]).status_code == 201
        expect(collection, name, commits[3], 3)
        expect(collection, commits[1], commits[1], 1)

    def test_ancestors(self, collection: Collection, commits: list[str]) -> None:
        assert collection.make_ref("tags", "v1", commits[2]).status_code == 201
        for revision, back in [
            ("main~0", 0),
            ("main~1", 1),
            ("main~3", 3),
            ("main~1~2", 3),
            ("main~1~1~1", 3),
            ("main~0~1", 1),
            ("v1~1", 2),
            (f"{commits[3]}~2", 2),
            (f"{commits[3][:9]}~2", 2),
        ]:
            expect(collection, revision, commits[3 - back], 3 - back)
        for revision in ("main~4", "main~1~3", "main~999999999"):
            refuse(collection, revision, 404)
        for revision in ("main~", "main~x", "main~-1", "main~1~", "~1", "main~1x", "main~1 "):
            refuse(collection, revision, 400)

    def test_instants(self, collection: Collection, commits: list[str]) -> None:
        log = collection.log()
        times = [datetime.fromisoformat(commit["time"]) for commit in reversed(log)]
        for n_instances in (1, 2, 3):
            expect(
                collection, f"main@{show(times[n_instances])}", commits[n_instances], n_instances
            )
            just_before = times[n_instances] - timedelta(microseconds=1)
            expect(
                collection, f"main@{show(just_before)}", commits[n_instances - 1], n_instances - 1
            )
        for hours in (5.5, -8, 14):
            zoned = times[2].astimezone(timezone(timedelta(hours=hours)))
            expect(collection, f"main@{zoned.isoformat()}", commits[2], 2)
        lower = show(times[2]).lower()
        expect(collection, f"main@{lower}", commits[2], 2)

    def test_instants_that_are_none(self, collection: Collection, commits: list[str]) -> None:
        later = datetime.now(UTC) + timedelta(days=1)
        refuse(collection, f"main@{show(later)}", 400)
        refuse(collection, "main@9999-12-31T23:59:59Z", 400)
        refuse(collection, "main@2020-01-01T00:00:00Z", 404)
        refuse(collection, "nobody@2020-01-01T00:00:00Z", 404)
        for text in ("yesterday", "", "2026-11-01", "2026-11-01T12:00:00", "2026-13-01T00:00:00Z"):
            refuse(collection, f"main@{text}", 400)
        assert collection.make_ref("tags", "v1", commits[1]).status_code == 201
        now = datetime.now(UTC)
        refuse(collection, f"v1@{show(now)}", 400)

    def test_a_branch_that_was_deleted_is_there_at_its_time(
        self, collection: Collection, commits: list[str]
    ) -> None:
        made = collection.make_ref("branches", "side", commits[1]).json()
        assert collection.client.delete(f"{collection.api}/branches/side").status_code == 204
        refuse(collection, "side", 404)
        expect(collection, f"side@{made['created']}", commits[1], 1)
        refuse(collection, f"side@{show(datetime.now(UTC))}", 404)

    def test_percent_encoded_forms_are_equal(
        self, collection: Collection, commits: list[str]
    ) -> None:
        instant = collection.log()[1]["time"]
        for revision, n_instances in [
            ("main%7E1", 2),
            ("main%7e1%7E1", 1),
            (f"main%40{instant}", 2),
            (f"main@{quote(instant, safe='')}", 2),
            (f"main%40{instant.replace('Z', '%2B00:00')}", 2),
            ("%6d%61in", 3),
        ]:
            expect(collection, revision, commits[n_instances], n_instances)

    def test_urls_in_answers_keep_the_revision_as_it_was_typed(
        self, collection: Collection, commits: list[str]
    ) -> None:
        assert collection.make_ref("tags", "v1", commits[1]).status_code == 201
        instant = collection.log()[2]["time"]
        for revision in ("v1", "main~2", f"main@{instant}", commits[1], commits[1][:8], "main"):
            found = collection.get("/studies", revision).json()[0]
            url = found["00081190"]["Value"][0]
            assert url == f"{collection.root(revision)}/studies/{STUDY}"
            assert collection.client.get(f"{url}/metadata").status_code == 200
            metadata = collection.get(f"{INSTANCE}/metadata", revision).json()[0]
            bulk = metadata["7FE00010"]["BulkDataURI"]
            assert bulk == f"{collection.root(revision)}{INSTANCE}/bulkdata/7FE00010"
            octets = {"Accept": "application/octet-stream"}
            assert collection.client.get(bulk, headers=octets).content == bytes(512)


class TestHeaders:
    @pytest.mark.parametrize("path", RESOURCES)
    def test_validators(self, collection: Collection, commits: list[str], path: str) -> None:
        assert collection.make_ref("tags", "v1").status_code == 201
        fixed = collection.get(path, commits[3])
        assert fixed.status_code == 200
        assert fixed.headers["cache-control"] == "public, max-age=31536000, immutable"
        etag = fixed.headers["etag"]
        assert etag.startswith('"'), "a strong validator"
        for revision in ("main", None, "v1", "main~0", commits[3][:12]):
            answer = collection.get(path, revision)
            assert answer.headers["etag"] == etag
            assert answer.headers["cache-control"] == "no-cache"
            self.check_common(collection, answer, path, commits[3])
            assert len(answer.content) == len(fixed.content) or revision != commits[3]
            fresh = collection.get(path, revision, {"If-None-Match": f'"x", W/{etag}'})
            assert (fresh.status_code, fresh.content) == (304, b"")
            assert fresh.headers["etag"] == etag
            self.check_common(collection, fresh, path, commits[3])
        stale = collection.get(path, "main~1", {"If-None-Match": etag})
        assert stale.status_code == 200
        assert stale.headers["etag"] != etag

    @pytest.mark.parametrize("path", RESOURCES)
    def test_head_is_like_get(self, collection: Collection, commits: list[str], path: str) -> None:
        url = collection.root("main") + path
        got, head = collection.client.get(url), collection.client.head(url)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("etag", "lamella-commit", "content-location", "cache-control", "vary"):
            assert head.headers[name] == got.headers[name]

    def test_the_content_location_answers_the_same(
        self, collection: Collection, commits: list[str]
    ) -> None:
        answer = collection.get("/studies?includefield=all&limit=5", "main~1")
        location = answer.headers["content-location"]
        assert location.endswith(f"/{commits[2]}/studies?includefield=all&limit=5")
        again = collection.client.get(location)
        assert again.headers["etag"] == answer.headers["etag"]
        assert len(again.json()) == len(answer.json())

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/studies/9.9.9", 404),
            (f"{INSTANCE}/frames/7", 404),
            (f"{INSTANCE}/frames/0", 400),
            ("/studies?limit=abc", 400),
            (f"{INSTANCE}/bulkdata/00080005", 404),
        ],
    )
    def test_an_error_at_a_known_revision_names_its_commit(
        self, collection: Collection, commits: list[str], path: str, status: int
    ) -> None:
        answer = collection.get(path, "main~1")
        assert answer.status_code == status, answer.text
        self.check_common(collection, answer, path, commits[2], has_vary=False)
        assert {"title", "detail"} <= answer.json().keys()

    def test_what_is_not_acceptable_names_its_commit(
        self, collection: Collection, commits: list[str]
    ) -> None:
        answer = collection.get("/studies", "main", {"Accept": "text/csv"})
        assert answer.status_code == 406
        assert answer.headers["lamella-commit"] == commits[3]

    def test_gzip(self, collection: Collection, commits: list[str]) -> None:
        path = f"/studies/{STUDY}/metadata"
        plain = collection.get(path)
        with collection.client.stream(
            "GET", collection.root() + path, headers={"Accept-Encoding": "gzip"}
        ) as answer:
            packed = b"".join(answer.iter_raw())
        assert "content-encoding" not in plain.headers
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed) == plain.content
        assert answer.headers["etag"] != plain.headers["etag"]
        assert len(packed) < len(plain.content)
        for refused in ("gzip;q=0", "br", "identity"):
            again = collection.get(path, headers={"Accept-Encoding": refused})
            assert "content-encoding" not in again.headers

    @pytest.mark.parametrize(
        ("sent", "base"),
        [
            ({"Host": "pacs.example"}, "http://pacs.example"),
            ({"Host": "pacs.example:8080"}, "http://pacs.example:8080"),
            ({"Host": "127.0.0.1"}, None),  # as dicomweb-client sends it
            ({"Host": "127.0.0.1", "X-Forwarded-Proto": "https"}, "https://127.0.0.1"),
            ({"X-Forwarded-Host": "a.example", "X-Forwarded-Prefix": "/x"}, "http://a.example/x"),
        ],
    )
    def test_absolute_urls(
        self,
        collection: Collection,
        commits: list[str],
        sent: dict[str, str],
        base: str | None,
    ) -> None:
        (study,) = collection.get("/studies", headers=sent).json()
        path = f"/dicomweb/{collection.name}/main/studies/{STUDY}"
        assert study["00081190"]["Value"] == [(base or collection.server.http) + path]

    def check_common(
        self,
        collection: Collection,
        answer: httpx.Response,
        path: str,
        commit_id: str,
        *,
        has_vary: bool = True,
    ) -> None:
        assert answer.headers["lamella-commit"] == commit_id
        assert answer.headers["content-location"] == collection.root(commit_id) + path
        if has_vary:
            names = {name.strip().lower() for name in answer.headers["vary"].split(",")}
            assert {"accept", "accept-encoding"} <= names


class TestWriting:
    def test_only_branches_can_be_written(self, collection: Collection, commits: list[str]) -> None:
        assert collection.make_ref("tags", "v1").status_code == 201
        instant = collection.log()[0]["time"]
        fresh = make_instance(sop="1.2.3.1.9")
        for revision in ("v1", commits[3], commits[3][:8], "main~0", "main~1", f"main@{instant}"):
            answer = collection.store(fresh, revision=revision)
            assert answer.status_code == 405, revision
            allowed = {name.strip() for name in answer.headers["allow"].split(",")}
            assert "GET" in allowed
            assert "POST" not in allowed
            assert answer.headers["lamella-commit"] == (
                commits[2] if revision == "main~1" else commits[3]
            )
            assert {"title", "detail"} <= answer.json().keys()
        assert collection.head() == commits[3]
        assert collection.store(fresh, revision="nobody").status_code == 404
        assert collection.store(fresh, revision=None).status_code == 200

    def test_if_match(self, collection: Collection, commits: list[str]) -> None:
        fresh = make_instance(sop="1.2.3.1.9")
        stale = collection.store(fresh, headers={"If-Match": f'"{commits[2]}"'})
        assert stale.status_code == 412
        assert stale.headers["lamella-commit"] == commits[3]
        assert collection.head() == commits[3]
        assert collection.store(fresh, headers={"If-Match": '"abc"'}).status_code in (400, 412)
        made = collection.store(fresh, headers={"If-Match": f'"{commits[3]}"'})
        assert made.status_code == 200
        assert made.headers["lamella-commit"] == collection.head() != commits[3]
        assert collection.log()[0]["parents"] == [commits[3]]

    def test_the_message_of_a_store(self, collection: Collection) -> None:
        collection.store_well(make_instance(), message="First scans")
        assert collection.log()[0]["message"] == "First scans"
        headers = {"Lamella-Message": "Zweite Prüfung".encode()}  # type: ignore[dict-item]
        collection.store(make_instance(sop="1.2.3.1.2"), headers=headers)  # type: ignore[arg-type]
        assert collection.log()[0]["message"] == "Zweite Prüfung"
        collection.store_well(make_instance(sop="1.2.3.1.3"))
        assert collection.log()[0]["message"], "a store without a message describes itself"

    def test_a_store_to_one_branch_leaves_the_others(
        self, collection: Collection, commits: list[str]
    ) -> None:
        assert collection.make_ref("branches", "side", commits[1]).status_code == 201
        made = collection.store_well(make_instance(sop="1.2.3.1.8"), revision="side")
        expect(collection, "side", made, 2)
        expect(collection, "main", commits[3], 3)
        assert [commit["id"] for commit in collection.log("side")] == [
            made,
            commits[1],
            commits[0],
        ]


class TestRefs:
    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_names_that_will_not_do(self, collection: Collection, name: str) -> None:
        for kind in ("branches", "tags"):
            assert collection.make_ref(kind, name).status_code == 400, name
        url = f"{collection.server.http}/api/v1/datasets"
        assert collection.client.post(url, json={"name": name}).status_code == 400

    @pytest.mark.parametrize("name", ["a", "0", "v1.0", "a-b_c.d", "x" * 128, "Studies", "head"])
    def test_names_that_will(self, collection: Collection, name: str) -> None:
        for kind in ("branches", "tags"):
            assert collection.make_ref(kind, name).status_code == 201, name
        assert collection.get("/studies", name).status_code == 200

    def test_tags_do_not_move(self, collection: Collection, commits: list[str]) -> None:
        assert collection.make_ref("tags", "v1", commits[1]).status_code == 201
        for revision in (commits[2], commits[1]):
            assert collection.make_ref("tags", "v1", revision).status_code == 409
        expect(collection, "v1", commits[1], 1)
        assert collection.client.delete(f"{collection.api}/tags/v1").status_code == 204
        refuse(collection, "v1", 404)
        assert collection.make_ref("tags", "v1", commits[2]).status_code == 201
        expect(collection, "v1", commits[2], 2)

    def test_the_default_branch_stays(self, collection: Collection) -> None:
        assert collection.client.delete(f"{collection.api}/branches/main").status_code == 409
        assert collection.get("/studies").status_code == 200

    def test_default_at_main_is_there_from_the_start(self, server: RunningServer) -> None:
        with open_client() as client:
            assert client.get(f"{server.root()}/studies").json() == []
            url = f"{server.http}/api/v1/datasets/default/branches/main"
            assert client.delete(url).status_code == 409


def show(moment: datetime) -> str:
    """Return an instant in UTC with `Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

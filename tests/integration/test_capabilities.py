"""What a server says of itself: capabilities, allowed methods, HEAD, other origins, proxies."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, serve

WADL, JSON = "application/vnd.sun.wadl+xml", "application/json"
NAMESPACE = "{http://wadl.dev.java.net/2009/02}"
STRANGER, VIEWER, NEIGHBOUR = (
    "https://viewer.example.org",
    "https://ohif.example.org",
    "http://localhost:3000",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("capabilities") / "data", dimse="off") as running:
        yield running


@pytest.fixture
def collection(server: RunningServer) -> Iterator[Collection]:
    with open_client() as client:
        yield make_collection(client, server)


def ask(collection: Collection, revision: str | None, accept: str, end: str = "") -> httpx.Response:
    url = collection.root(revision) + end
    return collection.client.options(url, headers={"Accept": accept})


def list_methods(document: object) -> dict[str, set[str]]:
    assert isinstance(document, dict)
    return {one["path"]: set(one["methods"]) for one in document["resources"]}


class TestCapabilities:
    @pytest.mark.parametrize("revision", [None, "main"])
    @pytest.mark.parametrize("end", ["", "/"])
    def test_wadl_is_the_default(
        self, collection: Collection, revision: str | None, end: str
    ) -> None:
        answer = ask(collection, revision, "*/*", end)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == WADL
        assert int(answer.headers["content-length"]) == len(answer.content)
        (resources,) = ET.fromstring(answer.content).findall(f"{NAMESPACE}resources")
        assert resources.get("base") == collection.root(revision) + "/"
        methods = {
            (one.get("path"), method.get("name"))
            for one in resources
            for method in one.findall(f"{NAMESPACE}method")
        }
        assert {
            ("studies", "GET"),
            ("studies", "POST"),
            ("studies/{study}/metadata", "GET"),
            ("studies/{study}/series/{series}/instances/{instance}/frames/{frames}", "GET"),
        } <= methods

    def test_what_it_names_is_there(self, collection: Collection) -> None:
        collection.store_well(make_instance())
        answer = ask(collection, "main", JSON)
        assert answer.headers["content-type"] == JSON
        study = collection.get("/studies").json()[0]
        names = {"study": study["0020000D"]["Value"][0]}
        tried = 0
        for path, methods in list_methods(answer.json()).items():
            if set(path.replace("}", "{").split("{")[1::2]) <= names.keys():
                url = f"{collection.root()}/{path.format(**names)}"
                allow = collection.client.options(url).headers["allow"].split(", ")
                assert set(allow) == {*methods, "OPTIONS"}, path
                tried += 1
        assert tried >= 6

    def test_a_tag_takes_nothing(self, collection: Collection) -> None:
        collection.store_well(make_instance())
        assert collection.make_ref("tags", "v1", "main").status_code == 201
        offered = set().union(*list_methods(ask(collection, "v1", JSON).json()).values())
        assert offered == {"GET", "HEAD"}

    def test_refusals(self, collection: Collection) -> None:
        assert ask(collection, "nobody", JSON).status_code == 404
        assert ask(collection, "main", "text/html").status_code == 406
        answer = collection.client.get(collection.root())
        assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS")


class TestMethods:
    def test_allow_tells_all_methods(self, collection: Collection) -> None:
        url = f"{collection.root()}/studies"
        assert "POST" in collection.client.options(url).headers["allow"]
        refused = collection.client.put(url)
        assert refused.status_code == 405
        assert {"GET", "HEAD", "POST"} <= set(refused.headers["allow"].split(", "))

    def test_head_is_get_without_a_body(self, collection: Collection) -> None:
        head = collection.store_well(make_instance())
        api = f"/api/v1/datasets/{collection.name}"
        paths = ["/", "/healthz", "/readyz", "/metrics", "/api/v1/datasets", api]
        paths += ["/schema/openapi.json", "/schema"]
        paths += [f"{api}/branches", f"{api}/tags", f"{api}/commits", f"{api}/commits/{head}"]
        for path in paths:
            url = collection.server.http + path
            got, told = collection.client.get(url), collection.client.head(url)
            assert (got.status_code, told.status_code) == (200, 200), path
            assert told.content == b""
            assert told.headers["content-type"] == got.headers["content-type"]
            if path != "/metrics":  # which counts the request before it
                assert told.headers["content-length"] == got.headers["content-length"]


class TestOrigins:
    def test_pages_of_this_machine_may_read_by_default(self, collection: Collection) -> None:
        for origin in (NEIGHBOUR, "http://127.0.0.1:8080", "http://[::1]:5000"):
            for path in ("/studies", "/studies/1.2.3/metadata"):  # the second is not there
                answer = collection.get(path, headers={"Origin": origin})
                assert answer.headers["access-control-allow-origin"] == origin
                exposed = answer.headers["access-control-expose-headers"].split(", ")
                assert {"ETag", "Warning", "Content-Location", "Lamella-Commit"} <= {*exposed}
                assert "origin" in answer.headers["vary"].lower()
                assert answer.headers["cross-origin-resource-policy"] == "cross-origin"

    @pytest.mark.parametrize(
        "origin",
        [STRANGER, "null", "http://localhost.example.org", "http://[", "file://localhost", ""],
    )
    def test_other_pages_may_not(self, collection: Collection, origin: str) -> None:
        answer = collection.get("/studies", headers={"Origin": origin})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers
        assert "origin" in answer.headers["vary"].lower()
        preflight = send_preflight(collection.client, collection.root(), origin)
        assert "access-control-allow-origin" not in preflight.headers
        assert "access-control-allow-methods" not in preflight.headers

    def test_preflight(self, collection: Collection) -> None:
        for path in ("/studies", "/studies/1.2.3/metadata"):
            answer = send_preflight(collection.client, collection.root() + path, NEIGHBOUR)
            assert (answer.status_code, answer.content) == (204, b"")
            assert answer.headers["access-control-allow-origin"] == NEIGHBOUR
            assert "POST" in answer.headers["access-control-allow-methods"].split(", ")
            assert answer.headers["access-control-allow-headers"] == "accept,authorization"

    @pytest.mark.parametrize(
        ("setting", "allowed", "refused"),
        [
            ("*", {STRANGER: "*", NEIGHBOUR: "*", "null": "*"}, []),
            (f"{VIEWER}/", {VIEWER: VIEWER}, [STRANGER, NEIGHBOUR, "null"]),
            (f"local,{VIEWER}", {VIEWER: VIEWER, NEIGHBOUR: NEIGHBOUR}, [STRANGER]),
            ("off", {}, [STRANGER, NEIGHBOUR]),
        ],
    )
    def test_settings(
        self, tmp_path: Path, setting: str, allowed: dict[str, str], refused: list[str]
    ) -> None:
        with serve(tmp_path / "data", dimse="off", cors_origins=setting) as running:
            url = running.root() + "/studies"
            for origin, told in allowed.items():
                answer = httpx.get(url, headers={"Origin": origin})
                assert answer.headers["access-control-allow-origin"] == told
            for origin in refused:
                answer = httpx.get(url, headers={"Origin": origin})
                assert "access-control-allow-origin" not in answer.headers
            policy = httpx.get(url).headers.get("cross-origin-resource-policy")
            assert policy == (None if setting == "off" else "cross-origin")


def send_preflight(client: httpx.Client, url: str, origin: str) -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "accept,authorization",
    }
    return client.options(url, headers=headers)


class TestProxies:
    @pytest.mark.parametrize(
        ("headers", "base"),
        [
            (
                {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "pacs.example.org"},
                "https://pacs.example.org",
            ),
            (
                {"X-Forwarded-Host": "pacs.example.org", "X-Forwarded-Port": "8443"},
                "http://pacs.example.org:8443",
            ),
            (
                {"Forwarded": 'for=10.0.0.9;Proto=https;host="pacs.example.org:444", for=10.1.1.1'},
                "https://pacs.example.org:444",
            ),
            (
                {
                    "Forwarded": "proto=https; host=pacs.example.org",
                    "X-Forwarded-Prefix": "/imaging",
                },
                "https://pacs.example.org/imaging",
            ),
        ],
    )
    def test_urls_are_those_of_the_proxy(
        self, collection: Collection, headers: dict[str, str], base: str
    ) -> None:
        answer = collection.get("/studies", headers=headers)
        assert answer.headers["content-location"].startswith(f"{base}/dicomweb/")

    def test_the_api_document_names_the_proxy(self, collection: Collection) -> None:
        headers = {"X-Forwarded-Host": "pacs.example.org", "X-Forwarded-Prefix": "/imaging"}
        url = f"{collection.server.http}/schema/openapi.json"
        document = collection.client.get(url, headers=headers).json()
        assert document["servers"] == [{"url": "http://pacs.example.org/imaging"}]
        assert "/api/v1/datasets/{dataset}" in document["paths"]
        direct = collection.client.get(url).json()
        assert direct["servers"] == [{"url": collection.server.http}]

    @pytest.mark.parametrize(
        ("trusted", "is_believed"),
        [("127.0.0.0/8", True), ("10.0.0.0/8,::1", False), ("", False), ("127.0.0.1", True)],
    )
    def test_only_trusted_ones_are_believed(
        self, tmp_path: Path, trusted: str, is_believed: bool
    ) -> None:
        settings = {"trusted_proxies": trusted or "192.0.2.1"}
        with serve(tmp_path / "data", dimse="off", **settings) as running:
            told = {"Forwarded": "host=evil.example.org", "X-Forwarded-Host": "evil.example.org"}
            answer = httpx.get(running.root() + "/studies", headers=told)
            told_host = httpx.URL(answer.headers["content-location"]).host
            assert (told_host == "evil.example.org") is is_believed

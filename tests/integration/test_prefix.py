"""Behind a real nginx with a path prefix every absolute URL leads back through it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.nginx import PREFIX, SITE, nginx
from tests.harness.samples import make_instance
from tests.harness.server import serve

UIDS = ("1.2.3", "1.2.3.1", "1.2.3.1.1")
INSTANCE = "/studies/{}/series/{}/instances/{}".format(*UIDS)
URL = re.compile(rb"https?://[^\s\"'<>\\)]+")
NAMESPACES = (b"http://wadl.dev.java.net", b"http://dicom.nema.org")
PATHS = [
    "/studies",
    "/studies?limit=1",
    "/instances?includefield=all",
    "/studies/1.2.3/metadata",
    f"{INSTANCE}/metadata",
    INSTANCE,
    f"{INSTANCE}/frames/1",
    f"{INSTANCE}/bulkdata/7FE00010",
    "/studies/1.2.3/pixeldata",
    "/studies/1.2.3/rendered",
    f"{INSTANCE}/rendered",
    "/studies?nonsense=1",
]

FORWARDED = """proxy_set_header Forwarded 'proto=$scheme;host="$http_host"';"""


def use_forwarded(site: str) -> str:
    """Return a site that tells its host by RFC 7239, and its prefix as ever."""
    kept = [line for line in site.splitlines() if "X-Forwarded-Proto" not in line]
    kept = [line for line in kept if "X-Forwarded-Host" not in line]
    return "\n".join(kept).replace('proxy_set_header Forwarded "";', FORWARDED)


@dataclass
class Front:
    """A server behind nginx.

    Attributes:
        url: Of the server, as clients see it.
    """

    url: str
    collection: Collection

    def root(self, revision: str = "main") -> str:
        """URL of a DICOMweb root, as clients see it."""
        return f"{self.url}/dicomweb/{self.collection.name}/{revision}"

    def list_urls(self, answer: httpx.Response) -> list[bytes]:
        """Return the absolute URLs in an answer's headers and body."""
        text = b"\n".join([*(value for _, value in answer.headers.raw), answer.content])
        return [url for url in URL.findall(text) if not url.startswith(NAMESPACES)]


@pytest.fixture(scope="module", params=["X-Forwarded", "Forwarded"])
def front(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("prefix")
    site = SITE.read_text()
    if request.param == "Forwarded":
        site = use_forwarded(site)
    with (
        serve(folder / "data", dimse="off") as server,
        nginx(folder / "nginx", server.http, site) as url,
        open_client() as client,
    ):
        collection = make_collection(client, server)
        collection.store_well(make_instance())
        assert collection.make_ref("tags", "v1").status_code == 201
        yield Front(url, collection)


@pytest.mark.parametrize("revision", ["main", "v1", "main~0", "main%7E0"])
def test_answers(front: Front, revision: str) -> None:
    client = front.collection.client
    for path in PATHS:
        answer = client.get(front.root(revision) + path)
        assert answer.status_code == 200, (path, answer.text)
        found = front.list_urls(answer)
        assert found, path
        for url in found:
            assert url.decode().startswith(f"{front.url}/dicomweb/"), (path, url)


def test_urls_lead_back(front: Front) -> None:
    client = front.collection.client
    answer = client.get(front.root() + f"{INSTANCE}/metadata")
    (uri,) = (one["7FE00010"]["BulkDataURI"] for one in answer.json())
    assert client.get(uri).content == bytes(512)
    pinned = client.get(answer.headers["content-location"])
    assert pinned.headers["lamella-commit"] == front.collection.head()
    (study,) = client.get(front.root() + "/studies").json()
    assert client.get(study["00081190"]["Value"][0]).status_code == 200


def test_a_store(front: Front) -> None:
    target = make_collection(front.collection.client, front.collection.server)
    url = f"{front.url}/dicomweb/{target.name}/studies"
    headers = {"Content-Type": "application/dicom"}
    answer = target.client.post(url, content=make_instance(), headers=headers)
    assert answer.status_code == 200
    found = front.list_urls(answer)
    assert len(found) == 2
    for one in found:
        assert target.client.get(one.decode()).status_code == 200


def test_capabilities(front: Front) -> None:
    for accept in ("application/json", "application/vnd.sun.wadl+xml"):
        answer = front.collection.client.options(front.root(), headers={"Accept": accept})
        assert {url.rstrip(b"/") for url in front.list_urls(answer)} == {front.root().encode()}


def test_pages(front: Front) -> None:
    client = front.collection.client
    page = client.get(f"{front.url}/")
    links = re.findall(r'href="([^"]+)"', page.text)
    assert len(links) >= 10
    for link in links:
        assert link.startswith(f"{front.url}/")
        assert client.get(link).status_code == 200, link
    document = client.get(f"{front.url}/schema/openapi.json").json()
    assert document["servers"] == [{"url": front.url}]
    assert front.url.endswith(PREFIX)


def test_the_original_file(front: Front) -> None:
    url = f"{front.url}/api/v1/datasets/{front.collection.name}/instances/{UIDS[2]}/file"
    answer = front.collection.client.get(url)
    assert answer.content == make_instance()
    assert answer.headers["content-location"].startswith(url)

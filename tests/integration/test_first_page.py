"""The first page: its links, and how far jobs are."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from lamella.app.application import build_application
from lamella.archive.outbox import State, claim, enqueue, finish, renew
from lamella.dicomweb.services import Services
from lamella.settings import Settings
from tests.integration.small_installation import Installation, make_file, open_installation

# of how handlers declare parameters; the application is built in this very process
pytestmark = [
    pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Deprecated 'query' parameter:DeprecationWarning"),
]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Installation]:
    opened = await open_installation(tmp_path / "data")
    yield opened
    await opened.archive.close()


@pytest.fixture
async def client(site: Installation) -> AsyncIterator[httpx.AsyncClient]:
    services = Services(site.repository, Settings(data_dir=site.folder))
    transport = httpx.ASGITransport(build_application(services))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://archive.test") as opened:
        yield opened
    await services.decoders.close()


async def read_page(client: httpx.AsyncClient) -> str:
    answer = await client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    return answer.text


async def test_every_link_leads_somewhere(site: Installation, client: httpx.AsyncClient) -> None:
    await site.store([make_file(1, 1, 1)])
    await site.archive.database.write(lambda c: enqueue(c, "gc", {}))
    links = set(re.findall(r'href="([^"]+)"', await read_page(client)))
    assert "http://archive.test/api/v1/jobs" in links
    for link in links:
        assert (await client.get(link)).status_code == 200, link


async def test_nothing_is_said_of_work_where_there_is_none(client: httpx.AsyncClient) -> None:
    page = await read_page(client)
    assert "<h2>Work</h2>" not in page
    assert "http-equiv" not in page


async def test_jobs_have_bars(site: Installation, client: httpx.AsyncClient) -> None:
    def work(connection: sa.Connection) -> None:
        for kind in ("failing", "counting", "guessing", "waiting", "gone"):
            enqueue(connection, kind, {})
        for kind in ("failing", "counting", "guessing", "gone"):
            job = claim(connection, [kind], "me")
            assert job is not None
            if kind == "failing":
                finish(connection, job.id, "me", State.DEAD, error="No <room>.")
            elif kind == "gone":
                finish(connection, job.id, "me", State.DONE)
            elif kind == "counting":
                renew(connection, job.id, "me", {"done": 3, "total": 8, "note": "blobs & packs"})
            else:
                renew(connection, job.id, "me", {"done": 7})

    await site.archive.database.write(work)
    page = await read_page(client)
    assert '<progress max="8" value="3"></progress> 3 of 8 blobs &amp; packs' in page
    assert "<progress></progress> 7" in page
    assert "<td>failed</td><td> No &lt;room&gt;.</td>" in page
    assert "<td>waiting</td><td>waiting</td>" in page
    assert "<td>gone</td>" not in page
    assert '<meta http-equiv="refresh" content="5">' in page

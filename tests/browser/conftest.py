"""One server and one browser for all tests here: they are what takes the time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.browser import VIEWER, find_chromium, launch_browser
from tests.browser.desk import REVISIONS, Desk
from tests.browser.documents import make_cine, make_pdf, read_ecg
from tests.browser.overlays import make_overlays
from tests.browser.specimens import make_head, make_stack
from tests.browser.viewer_site import serve_viewer
from tests.harness.collection import make_collection, open_client
from tests.harness.server import serve

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    find_chromium(VIEWER)
    shots = ROOT / "build" / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)
    with (
        serve(tmp_path_factory.mktemp("browser") / "data", dimse="off") as server,
        open_client() as client,
    ):
        collection = make_collection(client, server, duplicates="replace")
        first = collection.store_well(*make_stack())
        assert collection.make_ref("tags", "v1").status_code == 201
        objects = [*make_overlays(), make_cine(), make_pdf(), read_ecg()[1]]
        collection.store_well(*make_stack(is_inverted=True), make_head(), *objects)
        names = dict(zip(REVISIONS, ["main", "v1", first], strict=True))
        roots = {kind: f"/dicomweb/{collection.name}/{name}" for kind, name in names.items()}
        with (
            serve_viewer(VIEWER, server.http.removeprefix("http://"), roots) as site,
            launch_browser(shots) as browser,
        ):
            yield Desk(browser, site, names)


@pytest.fixture(autouse=True)
def nothing_is_refused(desk: Desk) -> Iterator[None]:
    """Whatever the viewer asked for, it got."""
    desk.site.exchanges.clear()
    yield
    assert [each for each in desk.site.exchanges if each[2] >= 400] == []

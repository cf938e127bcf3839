"""The real OHIF in Chromium, on a branch, a tag and an old commit of one dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest

from tests.browser.browser import CANVAS, VIEWER, Browser, find_chromium, launch_browser
from tests.browser.specimens import CT_STUDY, N_SLICES, make_head, make_stack
from tests.browser.viewer_site import Site, serve_viewer
from tests.harness.collection import make_collection, open_client
from tests.harness.server import serve

ROOT = Path(__file__).parents[2]
REVISIONS = ["branch", "tag", "commit"]


@dataclass
class Desk:
    """A person at a viewer: the branch has the inverted stack, tag and commit the first one.

    Attributes:
        names: What each kind of revision is called in a path.
    """

    browser: Browser
    site: Site
    names: dict[str, str]

    def open_list(self, revision: str, **filters: str) -> None:
        """Open the study list of a revision."""
        query = urlencode({**filters, "datasources": revision})
        self.browser.do("open", url=f"{self.site.url}/?{query}")

    def open_study(self, study_uid: str, revision: str = "branch", mode: str = "viewer") -> None:
        """Open a study of a revision."""
        self.site.exchanges.clear()
        url = f"{self.site.url}/{mode}/{revision}?StudyInstanceUIDs={study_uid}"
        self.browser.do("open", url=url)

    def read_roots(self) -> set[str]:
        """Return the revisions that the viewer asked, as the paths say them."""
        return {path.split("/")[3] for _, path, _ in self.site.exchanges}

    def open_stack(self, revision: str) -> np.ndarray:
        """Open the CT study and return its first slice as it is shown."""
        self.open_study(CT_STUDY, revision)
        return self.browser.wait_for_picture(f"stack-{revision}", shows_rings)


def shows_rings(picture: np.ndarray) -> bool:
    """Tell whether a picture has light and dark in the middle, as the phantom does."""
    grey = find_middle(picture)
    return bool(grey.size and grey.std() > 40)


def find_middle(picture: np.ndarray) -> np.ndarray:
    """Return the grey levels of the middle of a picture, where no text is laid over it."""
    rows, columns, _ = picture.shape
    middle = picture[rows // 4 : -rows // 4, columns // 3 : -columns // 3]
    return middle.mean(axis=2)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    find_chromium()
    shots = ROOT / "build" / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)
    with (
        serve(tmp_path_factory.mktemp("browser") / "data", dimse="off") as server,
        open_client() as client,
    ):
        collection = make_collection(client, server, duplicates="replace")
        first = collection.store_well(*make_stack())
        assert collection.make_ref("tags", "v1").status_code == 201
        collection.store_well(*make_stack(is_inverted=True), make_head())
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


def test_the_study_list_is_that_of_the_revision(desk: Desk) -> None:
    desk.open_list("branch")
    desk.browser.wait_for_text("Head, Plain")
    assert "Rings, Concentric" in desk.browser.text()
    desk.browser.shoot("list-branch")
    desk.open_list("tag")
    desk.browser.wait_for_text("Rings, Concentric")
    assert "Head, Plain" not in desk.browser.text()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("patientName", "Hea"),
        ("mrn", "HEAD"),
        ("accession", "ACC2"),
        ("description", "Head"),
        ("modalities", "MR"),
    ],
)
def test_a_filter_leaves_what_matches(desk: Desk, name: str, value: str) -> None:
    desk.open_list("branch", **{name: value})
    desk.browser.wait_for_text("Head, Plain")
    assert "Rings, Concentric" not in desk.browser.text()


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_stack_is_scrolled_and_windowed(desk: Desk, revision: str) -> None:
    first = desk.open_stack(revision)
    assert desk.read_roots() == {desk.names[revision]}
    assert f"1/{N_SLICES}" in desk.browser.text().replace(" ", "")
    desk.browser.do("wheel", selector=CANVAS, by=100)
    second = desk.browser.wait_for_picture(
        f"scrolled-{revision}", lambda picture: differ(picture, first)
    )
    desk.browser.do("drag", selector=CANVAS, by=[200, 0])
    desk.browser.wait_for_picture(
        f"windowed-{revision}",
        lambda picture: find_middle(picture).std() < 0.9 * find_middle(second).std(),
    )


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two pictures show different things."""
    return bool(np.abs(find_middle(one) - find_middle(other)).mean() > 5)


def test_two_commits_show_different_pixels(desk: Desk) -> None:
    branch, tag, commit = (find_middle(desk.open_stack(revision)) for revision in REVISIONS)
    assert np.abs(tag - commit).mean() < 1
    assert np.corrcoef(branch.ravel(), tag.ravel())[0, 1] < -0.95, "the branch has it inverted"

"""The real OHIF in Chromium on a static export that nginx serves: no Lamella runs behind it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.browser.browser import CANVAS, VIEWER
from tests.browser.desk import Desk, differ, find_middle
from tests.browser.documents import make_pdf
from tests.browser.overlays import make_overlays
from tests.browser.specimens import CT_STUDY, N_SLICES, make_head, make_stack
from tests.browser.viewer_site import serve_viewer
from tests.harness.nginx import nginx

SITE = Path(__file__).parents[2] / "docs" / "examples" / "nginx-static.conf"


def run(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "lamella", "--data-dir", str(folder / "data"), *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def static_desk(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A viewer on an export, in the browser that the other tests use."""
    folder = tmp_path_factory.mktemp("static")
    files = folder / "files"
    files.mkdir()
    for number, data in enumerate([*make_stack(), make_head(), make_pdf(), *make_overlays()]):
        (files / f"{number}.dcm").write_bytes(data)
    run(folder, "import", str(files))
    run(folder, "export", "main", str(folder / "srv" / "dicomweb"), "--static")
    text = SITE.read_text().replace("/srv/imaging", str(folder / "srv"))
    with (
        nginx(folder / "nginx", "", text) as url,
        serve_viewer(VIEWER, url.split("/")[2], {"static": "/dicomweb"}, is_static=True) as site,
    ):
        yield Desk(desk.browser, site, {"static": ""})


@pytest.fixture(autouse=True)
def nothing_is_missing(static_desk: Desk) -> Iterator[None]:
    """Whatever the viewer asked for, the export has."""
    static_desk.site.exchanges.clear()
    yield
    assert static_desk.site.exchanges != []
    assert [each for each in static_desk.site.exchanges if each[2] >= 400] == []


def test_the_list_is_filtered_by_the_viewer(static_desk: Desk) -> None:
    static_desk.open_list("static")
    static_desk.browser.wait_for_text("Rings, Concentric")
    assert "Head, Plain" in static_desk.browser.text()
    static_desk.browser.shoot("list-static")
    static_desk.open_list("static", patientName="Hea")
    static_desk.browser.wait_for_text("Head, Plain")
    assert "Rings, Concentric" not in static_desk.browser.text()


def test_a_stack_is_shown_and_scrolled_as_on_a_server(static_desk: Desk, desk: Desk) -> None:
    first = static_desk.open_stack("static")
    assert f"1/{N_SLICES}" in static_desk.browser.text().replace(" ", "")
    static_desk.browser.do("wheel", selector=CANVAS, by=100)
    static_desk.browser.wait_for_picture("scrolled-static", lambda picture: differ(picture, first))
    served = desk.open_stack("tag")
    assert abs(find_middle(first).mean() - find_middle(served).mean()) < 3
    assert CT_STUDY in str(static_desk.site.exchanges)


def test_a_segmentation_comes_out_of_its_file(static_desk: Desk) -> None:
    static_desk.open_stack("static")
    static_desk.browser.do("click", selector="text=Segmented square", count=2)

    def has_red_square(picture: np.ndarray) -> bool:
        levels = picture.astype(int)
        red = levels[:, :, 0] - levels[:, :, 1:].max(axis=2) > 40
        return bool(abs(np.sqrt(red.sum()) / len(picture) - 0.25) < 0.02)

    static_desk.browser.wait_for_picture("segmentation-static", has_red_square)

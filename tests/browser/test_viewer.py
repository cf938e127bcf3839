"""The real OHIF in Chromium, on a branch, a tag and an old commit of one dataset."""

from __future__ import annotations

import numpy as np
import pytest

from tests.browser.browser import CANVAS
from tests.browser.desk import REVISIONS, Desk, differ, find_middle
from tests.browser.specimens import N_SLICES


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


def test_two_commits_show_different_pixels(desk: Desk) -> None:
    branch, tag, commit = (find_middle(desk.open_stack(revision)) for revision in REVISIONS)
    assert np.abs(tag - commit).mean() < 1
    assert np.corrcoef(branch.ravel(), tag.ravel())[0, 1] < -0.95, "the branch has it inverted"

"""What is no plain stack, in the real OHIF: overlays, MPR, cine, PDF, ECG, and an upload."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.browser.browser import CANVAS
from tests.browser.desk import Desk, find_middle
from tests.browser.documents import CINE_STUDY, COLOURS, N_FRAMES, PDF_STUDY, read_ecg
from tests.browser.specimens import CT_STUDY
from tests.harness.samples import make_instance

PANE = "[data-cy=viewport-pane]"  # canvas and what is drawn over it
PLAY = "[data-cy=cine-player-play-pause]"
RED, GREEN, BLUE = range(3)


def find_colour(picture: np.ndarray, channel: int) -> np.ndarray:
    """Return which pixels are clearly of one colour."""
    levels = picture.astype(int)
    others = np.delete(levels, channel, axis=2).max(axis=2)
    return np.asarray(levels[:, :, channel] - others > 40)


def measure_square(picture: np.ndarray) -> tuple[float, float, float]:
    """Return height and width of what is red, as parts of the picture's height, and its filling."""
    rows, columns = np.nonzero(find_colour(picture, RED))
    if not rows.size:
        return 0, 0, 0
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    return height / len(picture), width / len(picture), rows.size / (height * width)


def is_quarter(height: float, width: float) -> bool:
    """Tell whether something is as large as the square over the slices: a quarter of a side."""
    return abs(height - 0.25) < 0.02 and abs(width - 0.25) < 0.02


def show_overlay(desk: Desk, name: str) -> None:
    """Open the CT study and load a series over it."""
    desk.open_stack("branch")
    desk.browser.do("click", selector=f"text={name}", count=2)


def test_a_segmentation_lies_over_the_stack(desk: Desk) -> None:
    show_overlay(desk, "Segmented square")

    def is_filled(picture: np.ndarray) -> bool:
        height, width, filling = measure_square(picture)
        return is_quarter(height, width) and filling > 0.9

    desk.browser.wait_for_picture("segmentation", is_filled)


def test_contours_lie_over_the_stack(desk: Desk) -> None:
    show_overlay(desk, "Contoured square")

    def is_outlined(picture: np.ndarray) -> bool:
        height, width, filling = measure_square(picture)
        return is_quarter(height, width) and 0 < filling < 0.2

    desk.browser.wait_for_picture("contours", is_outlined, PANE)


def test_a_report_draws_its_measurement(desk: Desk) -> None:
    show_overlay(desk, "Measured line")
    desk.browser.wait_for_text("68.00 mm")
    desk.browser.wait_for_picture(
        "report", lambda picture: find_colour(picture, GREEN).sum() > 100, PANE
    )


def test_a_stack_is_cut_in_three_planes(desk: Desk) -> None:
    desk.open_study(CT_STUDY, query="&hangingprotocolId=mpr")
    for index in range(3):
        desk.browser.wait_for_picture(
            f"plane-{index}", lambda picture: picture.std() > 20, f"{CANVAS} >> nth={index}"
        )
    assert desk.browser.do("count", selector=CANVAS) == 3


def test_a_cine_plays_in_colour(desk: Desk) -> None:
    desk.open_study(CINE_STUDY)

    def wait_for(colour: tuple[int, int, int], name: str) -> None:
        desk.browser.wait_for_picture(
            name,
            lambda picture: np.abs(find_part(picture) - colour).max() < 8,
        )

    def find_part(picture: np.ndarray) -> np.ndarray:
        rows, columns, _ = picture.shape
        return picture[rows // 3 : rows // 2, columns // 3 : columns // 2].mean(axis=(0, 1))

    wait_for(COLOURS[0], "cine-first")
    assert f"1/{N_FRAMES}" in desk.browser.text()
    desk.browser.do("click", selector=PLAY)
    wait_for(COLOURS[1], "cine-odd")
    wait_for(COLOURS[0], "cine-even")


def test_a_document_is_shown_as_pdf(desk: Desk) -> None:
    desk.open_study(PDF_STUDY)
    desk.browser.wait_for_picture(
        "pdf", lambda picture: find_colour(picture, BLUE).mean() > 0.1, "object"
    )


def test_an_ecg_is_drawn(desk: Desk) -> None:
    study_uid, _ = read_ecg()
    desk.open_study(study_uid)
    desk.browser.wait_for_picture("ecg", lambda picture: find_middle(picture).std() > 20, PANE)


def test_an_upload_is_a_commit(desk: Desk, tmp_path: Path) -> None:
    study = "1.2.826.0.1.3680043.10.9999.7"
    file = tmp_path / "new.dcm"
    file.write_bytes(make_instance(study, f"{study}.1", f"{study}.1.1", PatientName="New^Comer"))
    desk.open_list("branch")
    desk.browser.wait_for_text("Rings, Concentric")
    desk.browser.do("click", selector="text=Upload")
    desk.browser.do("upload", selector="input[type=file]", files=[str(file)])
    posted = ("POST", 200)
    desk.browser.wait(
        "store", lambda: posted in [(each[0], each[2]) for each in desk.site.exchanges]
    )
    desk.browser.shoot("upload")
    desk.open_list("branch")
    desk.browser.wait_for_text("New, Comer")
    desk.open_list("tag")
    desk.browser.wait_for_text("Rings, Concentric")
    assert "New, Comer" not in desk.browser.text()

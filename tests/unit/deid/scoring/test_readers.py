"""The second reader reads; what it is asked in place of a flat region has to be readable."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from lamella.deid.scoring.readers import find_tesseract
from lamella.errors import InvalidRequest


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")
@pytest.mark.parametrize("size", [14, 28])
def test_tesseract_reads_a_line_and_nothing_in_a_flat_region(size: int) -> None:
    image = Image.new("L", (260, 40))
    ImageDraw.Draw(image).text((6, 4), "PATIENT 4711", fill=255, font=ImageFont.load_default(size))
    read = find_tesseract()
    assert "4711" in read(np.asarray(image))
    assert read(np.zeros((40, 260), "u1")).strip() == ""


def test_a_reader_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(InvalidRequest, match="tesseract-ocr"):
        find_tesseract()

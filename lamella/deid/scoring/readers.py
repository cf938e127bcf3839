"""A reader of text in pixels that is not the pipeline's own: tesseract, as a program."""

from __future__ import annotations

import io
import shutil
import subprocess

from PIL import Image

from lamella.deid.scoring.pixels import Array, Reader
from lamella.errors import InvalidRequest, LamellaError

_LEAST_ROWS = 48
"""Tesseract reads lines of some 30 pixels best: smaller ones are enlarged."""
_MARGIN = 16
_SPARSE_TEXT = "11"
_TIMEOUT_S = 60


class ReaderFailed(LamellaError):
    """The reader of text ended with an error."""

    title = "Reader failed"


def find_tesseract() -> Reader:
    """Return a reader that runs tesseract.

    Raises:
        InvalidRequest: It is not installed.
    """
    program = shutil.which("tesseract")
    if program is None:
        raise InvalidRequest("tesseract is not installed (Debian: tesseract-ocr).")

    def read(grey: Array) -> str:
        return _read(program, grey)

    return read


def _read(program: str, grey: Array) -> str:
    picture = Image.fromarray(grey)
    if picture.height < _LEAST_ROWS:
        times = -(-_LEAST_ROWS // picture.height)
        picture = picture.resize((picture.width * times, picture.height * times))
    # letters at the very edge are not seen
    framed = Image.new("L", (picture.width + 2 * _MARGIN, picture.height + 2 * _MARGIN))
    framed.paste(picture, (_MARGIN, _MARGIN))
    stream = io.BytesIO()
    framed.save(stream, "PNG")
    run = subprocess.run(
        # its threads wait for each other by spinning: one is faster for pictures this small
        ["env", "OMP_THREAD_LIMIT=1", program, "-", "-", "--psm", _SPARSE_TEXT],
        input=stream.getvalue(),
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if run.returncode:
        raise ReaderFailed(f"tesseract ended with status {run.returncode}.")
    return run.stdout.decode("utf-8", "replace")

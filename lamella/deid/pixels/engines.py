"""Engines that find text in pictures, behind one protocol. None of them is needed to start.

Measured on 60 burned-in lines of 10 to 20 px: rapidocr-onnxruntime finds all of them at about
1 s of CPU a picture, EasyOCR 0.84 at 6 to 14 s, tesseract 0.42.
"""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import numpy as np

from lamella.deid.pixels.boxes import Box
from lamella.errors import InvalidRequest

Picture = np.ndarray[Any, np.dtype[np.uint8]]
"""Shape (rows, columns) or (rows, columns, 3)."""

_TESSERACT_TIMEOUT_S = 120
_LEAST_CONFIDENCE = 30.0  # of tesseract, in percent: below, it reads texture


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text in a picture.

    Attributes:
        box: Where it is.
        text: What it says, as far as the engine can tell.
        score: How sure the engine is, 0 to 1.
    """

    box: Box
    text: str
    score: float


class BurnedInTextFinder(Protocol):
    """An engine that finds lines of text."""

    @property
    def name(self) -> str:
        """What it is and its version: a part of what a commit tells."""
        ...

    def find(self, picture: Picture) -> Sequence[Line]:
        """Return the lines of a picture of up to about 2,000 pixels a side, in any order."""
        ...


class RapidFinder:
    """rapidocr-onnxruntime: PaddleOCR's models, which lie in its wheel."""

    def __init__(self) -> None:
        try:
            from rapidocr_onnxruntime import RapidOCR
        except ImportError as error:
            raise _explain_missing("rapidocr", "lamella[deid]") from error
        # one thread: a pool of processes has the other cores
        self._read = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)
        self.name = f"rapidocr-onnxruntime {version('rapidocr-onnxruntime')}"

    def find(self, picture: Picture) -> list[Line]:
        """Return the lines of a picture."""
        found, _ = self._read(np.ascontiguousarray(picture), use_cls=False)
        return [
            Line(_surround(corners), str(text), float(score))
            for corners, text, score in found or ()
        ]


class EasyFinder:
    """EasyOCR, with weights that are there already: it never downloads any."""

    def __init__(self) -> None:
        try:
            import easyocr
        except ImportError as error:
            raise _explain_missing("easyocr", "easyocr") from error
        try:
            self._reader = easyocr.Reader(["en"], gpu=False, download_enabled=False, verbose=False)
        except FileNotFoundError as error:
            raise InvalidRequest("EasyOCR has no weights for English on this machine.") from error
        self.name = f"easyocr {version('easyocr')}"

    def find(self, picture: Picture) -> list[Line]:
        """Return the lines of a picture."""
        return [
            Line(_surround(corners), str(text), float(score))
            for corners, text, score in self._reader.readtext(np.ascontiguousarray(picture))
        ]


class TesseractFinder:
    """The tesseract command."""

    def __init__(self) -> None:
        command = shutil.which("tesseract")
        if command is None:
            raise _explain_missing("tesseract", "Debian's tesseract-ocr")
        self._command = command
        told = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
        self.name = (told.stdout or told.stderr).splitlines()[0]

    def find(self, picture: Picture) -> list[Line]:
        """Return the lines of a picture."""
        from PIL import Image

        with io.BytesIO() as file:
            Image.fromarray(picture).save(file, "PNG")
            told = subprocess.run(
                [self._command, "stdin", "stdout", "--psm", "11", "tsv"],
                input=file.getvalue(),
                capture_output=True,
                timeout=_TESSERACT_TIMEOUT_S,
                check=True,
            )
        rows = csv.DictReader(
            told.stdout.decode("utf-8", "replace").splitlines(),
            delimiter="\t",
            quoting=csv.QUOTE_NONE,
        )
        lines: dict[tuple[str, ...], list[Line]] = {}
        for row in rows:
            text, confidence = (row["text"] or "").strip(), float(row["conf"])
            if text and confidence >= _LEAST_CONFIDENCE:
                left, top = int(row["left"]), int(row["top"])
                box = Box(left, top, left + int(row["width"]), top + int(row["height"]))
                place = tuple(row[name] for name in ("block_num", "par_num", "line_num"))
                lines.setdefault(place, []).append(Line(box, text, confidence / 100))
        return [_join(words) for words in lines.values()]


ENGINES: dict[str, Callable[[], BurnedInTextFinder]] = {
    "rapidocr": RapidFinder,
    "easyocr": EasyFinder,
    "tesseract": TesseractFinder,
}
"""What a profile's `pixels.finder` may name."""


_PACKAGES = {"rapidocr": "rapidocr-onnxruntime", "easyocr": "easyocr"}


def open_engine(name: str) -> BurnedInTextFinder:
    """Return an engine, loaded. Make it once in a process.

    Raises:
        InvalidRequest: There is no such engine, or it is not installed.
    """
    make = ENGINES.get(name)
    if make is None:
        raise InvalidRequest(
            f"There is no burned-in text finder {name!r}; there are: {', '.join(ENGINES)}."
        )
    return make()


def describe_engine(name: str) -> str:
    """Return what an engine will be called, without loading it.

    Raises:
        InvalidRequest: There is no such engine, or it is not installed.
    """
    package = _PACKAGES.get(name)
    if package is None:
        return open_engine(name).name
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError as error:
        raise _explain_missing(name, "lamella[deid]" if name == "rapidocr" else name) from error


def _explain_missing(name: str, package: str) -> InvalidRequest:
    return InvalidRequest(
        f"The profile reads burned-in text with {name}, which is not installed: "
        f"install {package}, or name another finder in the profile."
    )


def _surround(corners: Iterable[Sequence[float]]) -> Box:
    """Return the upright box around corners."""
    points = np.asarray(list(corners), float)
    low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
    return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def _join(words: Sequence[Line]) -> Line:
    box = words[0].box
    for word in words[1:]:
        box = box.join(word.box)
    return Line(box, " ".join(word.text for word in words), min(word.score for word in words))

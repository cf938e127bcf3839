"""Where devices are known to burn text in: the rules of PyPI deid, and ultrasound regions.

Source:
    PyPI deid's recipe `deid.dicom` (from RSNA's CTP); PS3.3 §C.8.5.5 (US Region Calibration).
"""

from __future__ import annotations

import re
import warnings
from functools import cache
from importlib.util import find_spec
from typing import Any

from pydicom import Dataset, FileDataset

from lamella.deid.pixels.boxes import Box
from lamella.errors import InvalidRequest

_NUMBER = re.compile(r"-?\d+")
_REMOVE = 0  # in deid's results; 1 marks what is kept


_ASKED = (
    "BurnedInAnnotation",
    "Columns",
    "CommentsOnRadiationDose",
    "DateOfSecondaryCapture",
    "ImageType",
    "Manufacturer",
    "ManufacturerModelName",
    "Modality",
    "ProtocolName",
    "Rows",
    "SOPClassUID",
    "SecondaryCaptureDeviceManufacturer",
    "SecondaryCaptureDeviceManufacturerModelName",
    "SecondaryCaptureDeviceSoftwareVersions",
    "SeriesDescription",
    "StudyDescription",
    "WindowWidth",
)
"""What the rules look at: the rest of a header would only cost time."""


_MISSING = (
    "The profile blacks what devices are known to burn in, for which PyPI deid is needed: install "
    "lamella[deid], or set pixels.boxes to false in the profile."
)


class DeviceRules:
    """deid's pixel rules, loaded. Make it once in a process: the import takes seconds."""

    def __init__(self) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it uses what pydicom 4 will not have
                from deid.config import DeidRecipe
                from deid.dicom.pixels import has_burned_pixels
            from deid.logger import bot
            from deid.logger.message import QUIET
        except ImportError as error:
            raise InvalidRequest(_MISSING) from error
        bot.level = QUIET  # it would tell on stderr of values that it does not like
        self._judge = has_burned_pixels
        self._recipe: Any = DeidRecipe("dicom")

    def find_boxes(self, attributes: Dataset) -> tuple[Box, ...]:
        """Return where an instance's device burns text in, by what its header says of it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some of its rules misspell an attribute
            judged = self._judge(_copy_asked(attributes), deid=self._recipe)
        texts = [
            text
            for result in judged["results"]
            for value, texts in result["coordinates"]
            if int(value) == _REMOVE
            for text in ([texts] if isinstance(texts, str) else texts)
        ]
        return tuple(box for text in texts if (box := _read_box(text)) is not None)


def _copy_asked(attributes: Dataset) -> FileDataset:
    header = FileDataset("", {})  # the rules take nothing less
    for keyword in _ASKED:
        if keyword in attributes:
            header[keyword] = attributes[keyword]
    return header


@cache
def open_rules() -> DeviceRules:
    """Return the rules of this process.

    Raises:
        InvalidRequest: PyPI deid is not installed.
    """
    return DeviceRules()


def require_rules() -> None:
    """See that the rules can be loaded, without the time that loading takes.

    Raises:
        InvalidRequest: PyPI deid is not installed.
    """
    if find_spec("deid") is None:
        raise InvalidRequest(_MISSING)


def find_banner(attributes: Dataset) -> tuple[Box, ...]:
    """Return the strip above an ultrasound image's regions, where patients' names stand."""
    tops, columns = [], attributes.get("Columns")
    for region in attributes.get("SequenceOfUltrasoundRegions") or ():
        top = region.get("RegionLocationMinY0")
        if isinstance(top, int):
            tops.append(top)
    return (Box(0, 0, int(columns), min(tops)),) if tops and columns and min(tops) > 0 else ()


def _read_box(text: str) -> Box | None:
    numbers = [int(number) for number in _NUMBER.findall(text)]
    if len(numbers) != 4:
        return None
    left, top, right, bottom = numbers
    box = Box(min(left, right), min(top, bottom), max(left, right), max(top, bottom))
    return box if box.area else None

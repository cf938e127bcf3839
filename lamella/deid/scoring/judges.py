"""One judge an action: whether a check holds of an output, and if not, why, in one word or two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pydicom.dataset import Dataset

from lamella.deid.scoring.answers import Action, Check
from lamella.deid.scoring.elements import find_element, iterate_texts, show_value
from lamella.deid.scoring.pixels import Pixels, Reader, are_retained, is_hidden, read_pixels
from lamella.deid.scoring.texts import keeps, lacks, measure_shift
from lamella.errors import LamellaError

PASSED = ""


@dataclass
class Output:
    """One instance of the output, with what was decoded of it."""

    attributes: Dataset
    uids: Mapping[str, str]
    patients: Mapping[str, str]
    reader: Reader | None = None
    pixel_trouble: str = field(default="", init=False)

    @cached_property
    def pixels(self) -> Pixels | None:
        """The decoded frames; None where they cannot be."""
        try:
            return read_pixels(self.attributes)
        except (LamellaError, KeyError, ValueError, IndexError) as error:
            self.pixel_trouble = type(error).__name__
            return None

    @cached_property
    def all_text(self) -> str:
        """Every value's text, folded, a line each."""
        return "\n".join(iterate_texts(self.attributes)).casefold()


def judge(output: Output, check: Check) -> str:
    """Return '' if a check holds, else why it does not.

    Consistency among instances is the scorer's: a date's shift is here only different from 0.

    Raises:
        ValueError: The key's path is none.
    """
    return _JUDGES[check.action](output, check)


def _judge_tag_retained(output: Output, check: Check) -> str:
    return PASSED if find_element(output.attributes, check.path) is not None else "gone"


def _judge_text_notnull(output: Output, check: Check) -> str:
    return PASSED if show_value(find_element(output.attributes, check.path)) else "empty"


def _judge_text_retained(output: Output, check: Check) -> str:
    element = find_element(output.attributes, check.path)
    if element is None:
        return "gone"
    return PASSED if keeps(show_value(element), check.text or check.value) else "changed"


def _judge_text_removed(output: Output, check: Check) -> str:
    text = check.text or check.value
    if not lacks(show_value(find_element(output.attributes, check.path)), text):
        return "left"
    if check.anywhere and text.casefold() in output.all_text:
        return "left elsewhere"
    return PASSED


def _judge_date_shifted(output: Output, check: Check) -> str:
    new = show_value(find_element(output.attributes, check.path))
    if not new:
        return "gone"
    shift = measure_shift(check.value, new)
    if shift is None:
        return "no date"
    return PASSED if shift else "not shifted"


def _judge_uid_changed(output: Output, check: Check) -> str:
    new = show_value(find_element(output.attributes, check.path))
    if not new:
        return "gone"
    if set(new.split("\\")) & set(check.value.split("\\")):
        return "left"
    is_uid = all(set(uid) <= set("0123456789.") and len(uid) <= 64 for uid in new.split("\\"))
    return PASSED if is_uid else "no UID"


def _judge_uid_consistent(output: Output, check: Check) -> str:
    new = show_value(find_element(output.attributes, check.path))
    mapped = [output.uids.get(uid) for uid in check.value.split("\\")]
    if not new:
        return "gone"
    if None in mapped:
        return "not in the map"
    return PASSED if new.split("\\") == mapped else "unlike the map"


def _judge_patid_consistent(output: Output, check: Check) -> str:
    new = show_value(find_element(output.attributes, check.path))
    mapped = output.patients.get(check.value)
    if mapped is None:
        return "not in the map"
    return PASSED if new == mapped and new != check.value else "unlike the map"


def _judge_pixels_hidden(output: Output, check: Check) -> str:
    pixels = output.pixels
    if pixels is None:
        return f"not decoded: {output.pixel_trouble}"
    return PASSED if is_hidden(pixels, check.text, output.reader) else "shown"


def _judge_pixels_retained(output: Output, check: Check) -> str:
    if "PixelData" not in output.attributes:
        return "gone"
    needs = output.pixels if check.text.startswith("{") else None
    return PASSED if are_retained(output.attributes, needs, check.text) else "changed"


_JUDGES: dict[Action, Callable[[Output, Check], str]] = {
    "tag_retained": _judge_tag_retained,
    "text_notnull": _judge_text_notnull,
    "text_retained": _judge_text_retained,
    "text_removed": _judge_text_removed,
    "date_shifted": _judge_date_shifted,
    "uid_changed": _judge_uid_changed,
    "uid_consistent": _judge_uid_consistent,
    "patid_consistent": _judge_patid_consistent,
    "pixels_hidden": _judge_pixels_hidden,
    "pixels_retained": _judge_pixels_retained,
}

"""Content items of structured reports: told by their concept, not by their tags.

Source:
    PS3.3 §C.17.3 (SR Document Content); PS3.15 §E.3.4, Table E.3.4-1.
"""

from __future__ import annotations

from pydicom import DataElement, Dataset

from lamella.deid.actions import Action
from lamella.deid.lenient import UNREADABLE

CONCEPT_NAME = 0x0040A043
CONTENT = frozenset({0x0040A160, 0x0040A123, 0x0040A120, 0x0040A121, 0x0040A122, 0x0040A124})
"""Where an item's value stands: text, person name, date and time, date, time, UID. References are
of their own attributes, and measured numbers and codes identify nobody."""
STRUCTURES = frozenset({0x0040A730, 0x00700001, 0x0040B020, 0x00400555})
"""Sequences of which a dummy keeps the shape, codes and numbers: content, graphic and waveform
annotations, acquisition context. Whatever tells something in them has a rule of its own."""
CODES = frozenset({0x00080100, 0x00080102, 0x00080103, 0x00080119, 0x00080120})
"""Code value, scheme and its version, long and URN code value: numbers that are no ids."""
CODE_MEANING = 0x00080104

_VALUE_TYPE = 0x0040A040


def find_code(item: Dataset) -> tuple[str, str, str] | None:
    """Return code and scheme of an item's concept name, and its value type.

    Returns:
        None for what is no content item.
    """
    try:
        names = item.get(CONCEPT_NAME)
        if names is None or not names.value:
            return None
        name = names.value[0]
        code = str(name.get("CodeValue", "")), str(name.get("CodingSchemeDesignator", ""))
        return *code, str(item.get(_VALUE_TYPE, DataElement(_VALUE_TYPE, "CS", "")).value)
    except UNREADABLE:
        return "", "", ""


def find_value_action(wanted: str | None, options: frozenset[str]) -> Action | None:
    """Return what happens to the value of an item.

    Args:
        wanted: Of Table E.3.4-1; None if it does not know the concept.
        options: Of the profile.

    Returns:
        None to leave it to the rules of its attributes.
    """
    if wanted is not None:
        return Action(wanted)
    return Action.CLEAN if "clean_structured_content" in options else Action.DUMMY


def is_standard_code(item: Dataset) -> bool:
    """Tell whether a coded concept is of a scheme that others publish: its meaning is theirs.

    Source:
        PS3.16 §8 (coding schemes; those that begin with `99` or `L` are local).
    """
    try:
        scheme = str(item.get("CodingSchemeDesignator", "") or "")
    except UNREADABLE:
        return False
    return bool(scheme) and not scheme.startswith("99") and scheme != "L"

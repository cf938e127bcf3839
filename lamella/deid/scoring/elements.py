"""Elements by path, as answer keys write it.

    <(0010,0010)>
    <(0008,1140)>[<0000>]<(0008,1155)>          the item with index 0
    <(0019,"SIEMENS CT VA0  COAD",92)>          a private element, by its creator
    <(0040,a730)>[<121106,DCM>]<(0040,a160)>    the first item that has this Concept Name Code

The last form is not MIDI-B's: where items of a report are removed, an index names another item.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

_STEP = re.compile(r'<\(([0-9a-fA-F]{4}),(?:"([^"]*)",)?([0-9a-fA-F]{2,4})\)>(?:\[<([^>]*)>\])?')
_CONCEPT_NAME, _CODE_VALUE, _SCHEME = Tag(0x0040A043), Tag(0x00080100), Tag(0x00080102)


def find_element(attributes: Dataset, path: str) -> DataElement | None:
    """Return the element at a path, or None.

    Raises:
        ValueError: It is no path.
    """
    steps = list(_STEP.finditer(path))
    if not steps or "".join(step[0] for step in steps) != path:
        raise ValueError(f"no path: {path}")
    level: Dataset | None = attributes
    for step in steps[:-1]:
        element = _find_step(level, step)
        level = None if element is None else _find_item(element, step[4] or "0")
        if level is None:
            return None
    return _find_step(level, steps[-1])


def show_value(element: DataElement | None) -> str:
    """Return a value as text, several with a backslash between them; '' for none or nothing."""
    if element is None or element.VR == "SQ" or element.value is None:
        return ""
    value = element.value
    if isinstance(value, bytes):
        return value.decode("latin-1").strip("\0 ")
    if isinstance(value, (MultiValue, list, tuple)):
        return "\\".join(str(one) for one in value).strip()
    return str(value).strip()


def iterate_texts(attributes: Dataset) -> Iterator[str]:
    """Yield the text of every value at every depth, pixel data aside."""
    for element in attributes:
        if element.VR == "SQ":
            for item in element.value or ():
                yield from iterate_texts(item)
        elif element.tag.group != 0x7FE0:
            yield show_value(element)


def _find_step(level: Dataset | None, step: re.Match[str]) -> DataElement | None:
    if level is None:
        return None
    tag = _find_tag(level, int(step[1], 16), step[2], int(step[3], 16))
    return level[tag] if tag is not None and tag in level else None


def _find_tag(level: Dataset, group: int, creator: str | None, element: int) -> BaseTag | None:
    if creator is None:
        return Tag(group, element)
    for block in range(0x10, 0x100):
        reserved = level.get(Tag(group, block))
        if reserved is not None and str(reserved.value).upper() == creator.upper():
            return Tag(group, block << 8 | element)
    return None


def _find_item(element: DataElement, which: str) -> Dataset | None:
    items: Sequence[Dataset] = element.value if element.VR == "SQ" and element.value else ()
    if "," not in which:
        index = int(which)
        return items[index] if index < len(items) else None
    code, _, scheme = which.partition(",")
    for item in items:
        names = item[_CONCEPT_NAME].value if _CONCEPT_NAME in item else None
        name = names[0] if names else Dataset()
        if str(name.get(_CODE_VALUE, "")) and (
            str(name[_CODE_VALUE].value),
            str(name[_SCHEME].value) if _SCHEME in name else "",
        ) == (code, scheme):
            return item
    return None

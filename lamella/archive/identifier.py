"""C-FIND identifiers as queries.

Every element of an identifier is a return key, those with a value are matching keys too.

Source:
    PS3.4 §C.4.1.1.3 (identifier), §C.2.2 (matching).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from lamella.archive.levels import (
    COMPUTED,
    TIMEZONE_OFFSET,
    UNIQUE_KEYS,
    Level,
    Path,
)
from lamella.archive.query import (
    RANGE_VRS,
    Attribute,
    Key,
    Query,
    UidList,
    Universal,
    parse_attribute,
    parse_condition,
    parse_query_offset,
)

NOT_KEYS: Final = frozenset({"00080005", "00080052", "00080053", TIMEZONE_OFFSET})
"""Elements of an identifier that speak about the query: charset, level, view, time zone."""


def query_from_identifier(
    ds: Dataset,
    level: Level,
    *,
    fuzzy: bool = False,
    combined: bool = False,
    empty_values: bool = False,
    multiple_values: bool = False,
) -> Query:
    """Return the query that a C-FIND identifier stands for.

    Every element is a return key, those with a value are matching keys too. Keys below `level`
    are left out with a warning. The flags are what extended negotiation agreed on.

    Raises:
        InvalidRequest: A value is no value, range or list for its VR.

    Source:
        PS3.4 §C.4.1.1.3 (identifier), §C.5.1.1.1 (extended negotiation).
    """
    keys: list[Key] = []
    include: set[Path] = set()
    warnings: list[str] = []
    for attribute, text in _walk_identifier(ds, ()):
        if attribute.level > level:
            warnings.append(f"{attribute.name} is below the level of the query and was ignored.")
            continue
        include.add(attribute.path)
        if attribute.path[0] in COMPUTED or attribute.is_private or attribute.is_private_creator:
            continue
        condition = parse_condition(
            attribute, text, empty_values=empty_values, multiple_values=multiple_values
        )
        if not isinstance(condition, Universal):
            keys.append(Key(attribute.path, attribute.vr, condition))
    offset = _read_text(ds, int(TIMEZONE_OFFSET, 16), "SH") if TIMEZONE_OFFSET in ds else ""
    return Query(
        level=level,
        study_uid=_read_unique(keys, Level.STUDY),
        series_uid=_read_unique(keys, Level.SERIES),
        sop_uid=_read_unique(keys, Level.INSTANCE),
        keys=tuple(sorted(keys, key=lambda key: key.path)),
        include=frozenset(include),
        with_defaults=False,
        fuzzy=fuzzy,
        combined=combined,
        offset_us=parse_query_offset(offset),
        warnings=tuple(warnings),
    )


def _read_unique(keys: list[Key], unique: Level) -> str | None:
    for key in keys:
        if key.path == (UNIQUE_KEYS[unique],) and isinstance(key.condition, UidList):
            return key.condition.uids[0] if len(key.condition.uids) == 1 else None
    return None


def _walk_identifier(ds: Dataset, above: Path) -> Iterator[tuple[Attribute, str]]:
    for tag in sorted(ds.keys()):
        name = f"{int(tag):08X}"
        known = parse_attribute(name)
        if name in NOT_KEYS or known is None:
            continue
        attribute = Attribute((*above, name), known.vr)
        if known.vr != "SQ":
            yield attribute, _read_text(ds, int(tag), known.vr)
            continue
        items = ds[tag].value or []
        nested = list(_walk_identifier(items[0], attribute.path)) if len(items) else []
        yield from nested or [(attribute, "")]


def _read_text(ds: Dataset, tag: int, vr: str) -> str:
    """Return an element's value as text, unparsed where parsing would refuse a range or wildcard.

    Source:
        PS3.4 §C.2.2.2: a key may hold what no value of its VR could.
    """
    element: Any = ds.get_item(tag)
    if isinstance(element, RawDataElement) and vr in (
        RANGE_VRS | {"AE", "AS", "CS", "DS", "IS", "UI"}
    ):
        return bytes(element.value or b"").decode("ascii", "replace").strip(" \0")
    value = ds[tag].value
    if value is None or isinstance(value, bytes):
        return ""
    if isinstance(value, BaseTag):
        return f"{value:08X}"
    if isinstance(value, (MultiValue, list, tuple)):
        return "\\".join(str(part) for part in value)
    return str(value)

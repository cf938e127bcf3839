"""Exact matching of DICOM JSON against keys; the catalog's SQL only narrows before it.

- An attribute with several values matches when any of them does.
- An attribute without a value matches universal and empty keys only. (PS3.4 §C.2.2.1.2 lets an
  unknown value match any key; no archive does, and a search by name that lists the nameless
  helps nobody.)
- Text is compared without leading and trailing spaces, with regard to case; person names as
  `person_name` says; numbers as numbers; UIDs as text.
- Keys under one sequence must match within one and the same item.
- Where the query names a time zone and the data set its own, pairs of date and time are moved
  into the query's zone before they are compared. Datetimes that bear an offset, or whose data
  set names one, are compared in UTC; else as their clocks read.

Source:
    PS3.4 §C.2.2.2; PS3.18 §8.3.4.1.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from math import isclose
from typing import Any, Final

from lamella.archive import temporal
from lamella.archive.levels import TIMEZONE_OFFSET
from lamella.archive.person_name import build_name_test, matches_wildcard
from lamella.archive.query import (
    NUMERIC_VRS,
    AllOf,
    AnyOf,
    Condition,
    Empty,
    Key,
    Query,
    Range,
    Single,
    Step,
    UidList,
    Universal,
    Wildcard,
)

Attributes = Mapping[str, Any]
Matcher = Callable[[Attributes], bool]
ValueTest = Callable[[Any], bool]

DATE_TIME_PAIRS: Final = {
    "00080012": "00080013",
    "00080020": "00080030",
    "00080021": "00080031",
    "00080022": "00080032",
    "00080023": "00080033",
    "00100030": "00100032",
    "00400002": "00400003",
    "00400244": "00400245",
    "00400250": "00400251",
}
"""Dates and the times that complete them (PS3.4 §C.2.2.2.5.2)."""

FLOAT_TOLERANCE: Final = 1e-6
"""Relative; a 32-bit FL value has about seven digits."""


def matches(
    attributes: Attributes,
    keys: Iterable[Key],
    *,
    fuzzy: bool = False,
    combined: bool = False,
    offset_us: int | None = None,
) -> bool:
    """Tell whether one data set (DICOM JSON) matches all keys; the flags are as in `Query`."""
    return build_matcher(tuple(keys), fuzzy, combined, offset_us)(attributes)


def match_query(query: Query) -> Matcher:
    """Return a function that tells whether a data set (DICOM JSON) matches the query's keys."""
    return build_matcher(query.scope_keys(), query.fuzzy, query.combined, query.offset_us)


def list_tags(query: Query) -> frozenset[str] | None:
    """Return the tags of the attributes that decide whether a data set matches.

    Returns:
        None where that depends on the data set: on its private creators, on its time zone.
    """
    keys = query.scope_keys()
    if query.offset_us is not None or any(key.creators or key.vr == "DT" for key in keys):
        return None
    return frozenset(key.path[0] for key in keys)


@lru_cache(maxsize=256)
def build_matcher(
    keys: tuple[Key, ...],
    fuzzy: bool = False,
    combined: bool = False,
    offset_us: int | None = None,
) -> Matcher:
    """Compile keys into one function over DICOM JSON; the flags are as in `Query`."""
    tests = _build_tests(keys, 0, fuzzy, combined, offset_us)
    if offset_us is None:
        return lambda attributes: all(test(attributes) for test in tests)
    pairs = {date: time for date, time in DATE_TIME_PAIRS.items() if _is_asked(keys, date, time)}

    def match(attributes: Attributes) -> bool:
        moved = _move_zone(attributes, pairs, offset_us)
        return all(test(moved) for test in tests)

    return match


def _is_asked(keys: tuple[Key, ...], *tags: str) -> bool:
    return any(key.path == (tag,) for key in keys for tag in tags)


def _build_tests(
    keys: tuple[Key, ...], depth: int, fuzzy: bool, combined: bool, offset_us: int | None
) -> list[Matcher]:
    flat = {key.step(depth): key for key in keys if len(key.path) == depth + 1}
    nested: dict[Step, list[Key]] = {}
    for key in keys:
        if len(key.path) > depth + 1:
            nested.setdefault(key.step(depth), []).append(key)
    tests: list[Matcher] = []
    if combined:
        tests += [_build_pair_test(*pair) for pair in _take_pairs(flat)]
    tests += [_build_element_test(*step, key, fuzzy, offset_us) for step, key in flat.items()]
    for step, inner in nested.items():
        item = _build_tests(tuple(inner), depth + 1, fuzzy, combined, offset_us)
        tests.append(_build_item_test(*step, item))
    return tests


def _take_pairs(flat: dict[Step, Key]) -> list[tuple[str, str, Range, Range]]:
    """Take out of `flat` the date and time keys that are ranges of the same form."""
    pairs = []
    for date, time in DATE_TIME_PAIRS.items():
        days = flat[date, None].condition if (date, None) in flat else None
        times = flat[time, None].condition if (time, None) in flat else None
        if not (isinstance(days, Range) and isinstance(times, Range)):
            continue
        same_form = (days.first is None, days.last is None) == (
            times.first is None,
            times.last is None,
        )
        if same_form:
            pairs.append((date, time, days, times))
            del flat[date, None], flat[time, None]
    return pairs


def _build_pair_test(date: str, time: str, days: Range, times: Range) -> Matcher:
    first = days.first + _bound(times.first)[0] if days.first and times.first else ""
    last = days.last + _bound(times.last)[1] if days.last and times.last else "~"
    date_test = _build_date_test(days)

    def test(attributes: Attributes) -> bool:
        clock = next((temporal.bound_time(str(v)) for v in read_values(attributes, time)), None)
        for value in read_values(attributes, date):
            day = temporal.normalize_date(str(value))
            if clock is None:  # a time that is not known excludes nothing
                if date_test(value):
                    return True
            elif day is not None and first <= day + clock[0] <= last:
                return True
        return False

    return test


def _build_element_test(
    tag: str, creator: str | None, key: Key, fuzzy: bool, offset_us: int | None
) -> Matcher:
    if isinstance(key.condition, Universal):
        return lambda attributes: True
    if isinstance(key.condition, Empty):
        return lambda attributes: not has_value(attributes, resolve_tag(attributes, tag, creator))
    if creator is not None and tag[4:6] == "00":
        return lambda attributes: resolve_tag(attributes, tag, creator) is not None
    if key.vr == "DT":
        return _build_datetime_test(tag, creator, key.condition, offset_us)
    if isinstance(key.condition, AllOf):
        tests = [_build_value_test(key.vr, part, fuzzy) for part in key.condition.members]
    else:
        tests = [_build_value_test(key.vr, key.condition, fuzzy)]
    if creator is None:
        return lambda attributes: _match_values(read_values(attributes, tag), tests)
    return lambda attributes: _match_values(
        read_values(attributes, resolve_tag(attributes, tag, creator)), tests
    )


def _match_values(values: list[Any], tests: list[ValueTest]) -> bool:
    return all(any(test(value) for value in values) for test in tests)


def _build_item_test(tag: str, creator: str | None, tests: list[Matcher]) -> Matcher:
    def test(attributes: Attributes) -> bool:
        held = read_values(attributes, resolve_tag(attributes, tag, creator))
        items = [item for item in held if isinstance(item, Mapping)]
        return any(all(test(item) for test in tests) for item in items)

    return test


def read_values(attributes: Attributes, tag: str | None) -> list[Any]:
    """Return the values of an attribute that say something: no nulls, no empty texts."""
    element = attributes.get(tag) if tag else None
    values = element.get("Value") if element else None
    return [value for value in values if value is not None and value != ""] if values else []


def has_value(attributes: Attributes, tag: str | None) -> bool:
    """Tell whether an attribute is there and holds anything, bulk data included."""
    element = attributes.get(tag) if tag else None
    if not element:
        return False
    return (
        "BulkDataURI" in element or "InlineBinary" in element or bool(read_values(attributes, tag))
    )


def resolve_tag(attributes: Attributes, tag: str, creator: str | None) -> str | None:
    """Return the tag that a private attribute has in this data set, None if it is not there.

    Source:
        PS3.5 §7.8.1: a creator's block may be any of 0x10 to 0xFF.
    """
    if creator is None:
        return tag
    for block in attributes:
        if (
            block[:4] == tag[:4]
            and block[4:6] == "00"
            and creator in _read_texts(attributes, block)
        ):
            return tag[:4] + block[6:] + tag[6:]
    return None


def _read_texts(attributes: Attributes, tag: str) -> list[str]:
    return [str(value).strip() for value in read_values(attributes, tag)]


def _build_value_test(vr: str, condition: Condition, fuzzy: bool) -> ValueTest:
    if isinstance(condition, AnyOf):
        tests = [_build_value_test(vr, member, fuzzy) for member in condition.members]
        return lambda value: any(test(value) for test in tests)
    if isinstance(condition, UidList):
        uids = frozenset(condition.uids)
        return lambda value: str(value).strip(" \0") in uids
    if vr == "DA":
        return _build_date_test(condition)
    if vr == "TM":
        return _build_time_test(condition)
    if isinstance(condition, Wildcard):
        if vr == "PN":
            return build_name_test(condition.pattern, fuzzy)
        return lambda value: matches_wildcard(condition.pattern, str(value).strip())
    if not isinstance(condition, Single):
        raise TypeError(f"no value of VR {vr} can be tested for {type(condition).__name__}")
    return _build_single_test(vr, condition.value, fuzzy)


def _build_single_test(vr: str, text: str, fuzzy: bool) -> ValueTest:
    if vr == "PN":
        return build_name_test(text, fuzzy)
    if vr in NUMERIC_VRS:
        return _build_number_test(vr, text)
    if vr == "AT":
        return lambda value: str(value).upper() == text
    return lambda value: str(value).strip() == text


def _build_number_test(vr: str, text: str) -> ValueTest:
    wanted = Decimal(text)

    def test(value: Any) -> bool:
        try:
            held = Decimal(str(value).strip())
            if vr in ("FL", "FD"):
                return isclose(held, wanted, rel_tol=FLOAT_TOLERANCE)
            return held == wanted
        except (InvalidOperation, ValueError):
            return False  # a value that is no number equals none, nor does a signalling NaN

    return test


def _build_date_test(condition: Condition) -> ValueTest:
    if isinstance(condition, Single):
        return lambda value: temporal.normalize_date(str(value)) == condition.value
    if not isinstance(condition, Range):
        raise TypeError(f"a date cannot be tested for {type(condition).__name__}")
    first, last = condition.first or "", condition.last or "~"

    def test(value: Any) -> bool:
        day = temporal.normalize_date(str(value))
        return day is not None and first <= day <= last

    return test


def _build_time_test(condition: Condition) -> ValueTest:
    if isinstance(condition, Single):
        first, last = _bound(condition.value)
    elif isinstance(condition, Range):
        first = _bound(condition.first)[0] if condition.first else ""
        last = _bound(condition.last)[1] if condition.last else "~"
    else:
        raise TypeError(f"a time cannot be tested for {type(condition).__name__}")

    def test(value: Any) -> bool:
        clock = temporal.bound_time(str(value))
        return clock is not None and first <= clock[0] <= last

    return test


def _bound(text: str) -> tuple[str, str]:
    bounds = temporal.bound_time(text)
    if bounds is None:
        raise ValueError("a time key was not checked when it was parsed")
    return bounds


def _build_datetime_test(
    tag: str, creator: str | None, condition: Condition, offset_us: int | None
) -> Matcher:
    if isinstance(condition, (AnyOf, AllOf)):
        tests = [_build_datetime_test(tag, creator, part, offset_us) for part in condition.members]
        join = any if isinstance(condition, AnyOf) else all
        return lambda attributes: join(test(attributes) for test in tests)
    first, last = _bound_datetimes(condition)

    def test(attributes: Attributes) -> bool:
        zone_us = read_offset(attributes)
        for value in read_values(attributes, resolve_tag(attributes, tag, creator)):
            held = temporal.bound_datetime(str(value))
            if held and _lies_between(held, zone_us, first, last, offset_us):
                return True
        return False

    return test


def _bound_datetimes(
    condition: Condition,
) -> tuple[temporal.DateTimeBounds | None, temporal.DateTimeBounds | None]:
    if isinstance(condition, Single):
        bounds = temporal.bound_datetime(condition.value)
        return bounds, bounds
    if not isinstance(condition, Range):
        raise TypeError(f"a datetime cannot be tested for {type(condition).__name__}")
    return (
        temporal.bound_datetime(condition.first) if condition.first else None,
        temporal.bound_datetime(condition.last) if condition.last else None,
    )


def _lies_between(
    held: temporal.DateTimeBounds,
    zone_us: int | None,
    first: temporal.DateTimeBounds | None,
    last: temporal.DateTimeBounds | None,
    offset_us: int | None,
) -> bool:
    own = held.offset_us if held.offset_us is not None else zone_us

    def gap(end: temporal.DateTimeBounds) -> int:
        other = end.offset_us if end.offset_us is not None else offset_us
        return own - other if own is not None and other is not None else 0

    after = first is None or held.first_us - gap(first) >= first.first_us
    return after and (last is None or held.first_us - gap(last) <= last.last_us)


def read_offset(attributes: Attributes) -> int | None:
    """Return the data set's Timezone Offset From UTC in microseconds, None where it has none."""
    values = read_values(attributes, TIMEZONE_OFFSET)
    return temporal.parse_offset(str(values[0])) if values else None


def _move_zone(attributes: Attributes, pairs: dict[str, str], offset_us: int) -> Attributes:
    own = read_offset(attributes)
    if own is None or own == offset_us:
        return attributes
    moved = dict(attributes)
    for date, time in pairs.items():
        days, clocks = read_values(attributes, date), read_values(attributes, time)
        day = temporal.normalize_date(str(days[0])) if days else None
        clock = temporal.bound_time(str(clocks[0])) if clocks else None
        if day is None or clock is None:
            continue
        new_day, new_clock = temporal.shift(day, clock[0], offset_us - own)
        moved[date] = {"vr": "DA", "Value": [new_day]}
        moved[time] = {"vr": "TM", "Value": [f"{new_clock[:6]}.{new_clock[6:]}"]}
    return moved

"""Dates, times and datetimes of DICOM as comparable values, with the precision they were given in.

A time of reduced precision is an interval: `10` is 10:00:00 to 10:59:59.999999. A stored value
is judged by its first moment, a matching key by both ends, so `10` finds 10:30 and `1030` does
not find a stored `10`.

Source:
    PS3.5 §6.2 (DA, TM, DT); PS3.4 §C.2.2.2.5 (Range Matching).
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

_DATE: Final = re.compile(r"(\d{4})(\.?)(\d{2})\2(\d{2})", re.ASCII)
_TIME: Final = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?", re.ASCII)
_DATETIME: Final = re.compile(
    r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(?:(\d{2})(?:\.(\d{1,6}))?)?([+-]\d{4})?",
    re.ASCII,
)
_OFFSET: Final = re.compile(r"[+-]\d{4}", re.ASCII)
_ORIGIN: Final = datetime(1, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
LOWEST_OFFSET_MINUTES: Final = -12 * 60
HIGHEST_OFFSET_MINUTES: Final = 14 * 60


@dataclass(frozen=True, slots=True)
class DateTimeBounds:
    """First and last moment that a DT value covers, in microseconds since year 1, as on its clock.

    Attributes:
        offset_us: The value's offset from UTC in microseconds; None where it has none.
    """

    first_us: int
    last_us: int
    offset_us: int | None


def normalize_date(text: str) -> str | None:
    """Return a DA value as `YYYYMMDD` (the retired `YYYY.MM.DD` too), None if it is no date."""
    found = _DATE.fullmatch(text.strip())
    if found is None:
        return None
    year, month, day = int(found[1]), int(found[3]), int(found[4])
    if not (year >= 1 and 1 <= month <= 12 and 1 <= day <= monthrange(year, month)[1]):
        return None
    return found[1] + found[3] + found[4]


def bound_time(text: str) -> tuple[str, str] | None:
    """Return the first and last moment of a TM value as 12 digits, None if it is no time."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    hour, minute, second, fraction = found.groups()
    if int(hour) > 23 or int(minute or 0) > 59 or int(second or 0) > 60:
        return None
    given = hour + (minute or "") + (second or "") + (fraction or "")
    return given + "000000000000"[len(given) :], given + "995959999999"[len(given) :]


def parse_offset(text: str) -> int | None:
    """Return an offset from UTC (`+0100`) in microseconds, None if it is none.

    Source:
        PS3.5 §6.2, DT: `&ZZXX` lies between -1200 and +1400.
    """
    if not _OFFSET.fullmatch(text.strip()):
        return None
    sign, digits = text.strip()[0], text.strip()[1:]
    minutes = (int(digits[:2]) * 60 + int(digits[2:])) * (-1 if sign == "-" else 1)
    if int(digits[2:]) > 59 or not LOWEST_OFFSET_MINUTES <= minutes <= HIGHEST_OFFSET_MINUTES:
        return None
    return minutes * 60_000_000


def bound_datetime(text: str) -> DateTimeBounds | None:
    """Return what a DT value covers, None if it is no datetime."""
    found = _DATETIME.fullmatch(text.strip())
    if found is None:
        return None
    *parts, fraction, zone = found.groups()
    offset_us = parse_offset(zone) if zone else None
    if zone and offset_us is None:
        return None
    first = _count_us([int(part) for part in parts if part is not None], fraction)
    if first is None:
        return None
    last = first + _length_us([part for part in parts if part is not None], fraction) - 1
    return DateTimeBounds(first, last, offset_us)


def split_range(text: str) -> tuple[str, str] | None:
    """Split a range of dates or times at its hyphen; None if it has none."""
    first, hyphen, last = text.partition("-")
    return (first.strip(), last.strip()) if hyphen else None


def split_datetime_range(text: str) -> tuple[str, str] | None:
    """Split a range of datetimes, whose offsets may hold hyphens of their own.

    `2010-0500` is a year with an offset, `2010-2012` a range: no offset lies beyond -1200.
    """
    if bound_datetime(text):
        return None
    for place in (found.start() for found in re.finditer("-", text)):
        first, last = text[:place].strip(), text[place + 1 :].strip()
        if all(not end or bound_datetime(end) for end in (first, last)):
            return first, last
    return None


def shift(day: str, moment: str, offset_us: int) -> tuple[str, str]:
    """Move a normalized date and a 12-digit time by an offset in microseconds."""
    start = datetime.combine(date(int(day[:4]), int(day[4:6]), int(day[6:])), datetime.min.time())
    of_day = (int(moment[:2]) * 60 + int(moment[2:4])) * 60 + int(moment[4:6])
    try:
        moved = start + timedelta(seconds=of_day, microseconds=int(moment[6:]) + offset_us)
    except OverflowError:  # the first day of year 1, the last of 9999: no calendar beyond them
        return day, moment
    return f"{moved:%Y%m%d}".zfill(8), f"{moved:%H%M%S%f}"


def _count_us(parts: list[int], fraction: str | None) -> int | None:
    year, month, day, hour, minute, second = (*parts, *(0, 1, 1, 0, 0, 0)[len(parts) :])
    microsecond = int((fraction or "0").ljust(6, "0"))
    try:  # a leap second counts as the second before it
        moment = datetime(year, month, day, hour, minute, min(second, 59), microsecond, tzinfo=UTC)
    except ValueError:
        return None
    return None if second > 60 else (moment - _ORIGIN) // _MICROSECOND


def _length_us(parts: list[str], fraction: str | None) -> int:
    if fraction:
        return int(10 ** (6 - len(fraction)))
    year = int(parts[0])
    days = {1: 365 + (monthrange(year, 2)[1] == 29)}
    if len(parts) == 2:
        days[2] = monthrange(year, int(parts[1]))[1]
    lengths = {3: 86_400, 4: 3_600, 5: 60, 6: 1}
    seconds = lengths[len(parts)] if len(parts) in lengths else days[len(parts)] * 86_400
    return seconds * 1_000_000

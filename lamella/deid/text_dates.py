"""Dates as people write them in free text: found, and moved in the form they were in."""

from __future__ import annotations

import re
from collections.abc import Set
from datetime import date, timedelta

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_MONTH = (
    r"(?P<{}>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_YEAR = r"(?:19|20)\d\d"
FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"(?P<y>{_YEAR})(?P<s>[-/.])(?P<m>\d{{1,2}})(?P=s)(?P<d>\d{{1,2}})(?!\d)",
        rf"(?P<a>\d{{1,2}})(?P<s>[-/.])(?P<b>\d{{1,2}})(?P=s)(?P<y>{_YEAR})(?!\d)",
        rf"(?P<y>{_YEAR})(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])(?!\d)",
        rf"{_MONTH.format('n')}[ -]?(?P<d>\d{{1,2}})(?:st|nd|rd|th)?,?[ -]+(?P<y>{_YEAR})(?!\d)",
        rf"(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[ -]?(?:of )?{_MONTH.format('n')},?[ -]?"
        rf"(?P<y>{_YEAR})(?!\d)",
        r"(?P<a>\d{1,2})(?P<s>[-/])(?P<b>\d{1,2})(?P=s)(?P<yy>\d{2})(?![\d/-])",
        rf"{_MONTH.format('n')},?[ -]?(?P<y>{_YEAR})(?!\d)",
        r"(?P<d>\d{1,2})[ -]" + _MONTH.format("n") + r"[ -](?P<yy>\d{2})(?!\d)",
    )
)
"""With their parts: year `y` or `yy`, month `m` or by name `n`, day `d`; a and b are either."""


def move_date(text: str, days: int, secret: Set[str]) -> str:
    """Return a date of one of the forms moved, in its own form.

    Args:
        text: Just the date.
        days: 0 lets it stay.
        secret: Dates, as `YYYYMMDD`, that do not stay in any form.

    Returns:
        Empty for what has no day, cannot be a date, or may be read as one that is secret.
    """
    for form in FORMS:
        found = form.fullmatch(text)
        if found is not None:
            readings = _read(found)
            if not readings or any(f"{day:%Y%m%d}" in secret for day in readings):
                return ""
            return text if days == 0 else _write(found, readings[0] + timedelta(days=days))
    return ""


def _read(found: re.Match[str]) -> list[date]:
    """Return the days it may be: two where day and month cannot be told apart."""
    parts = found.groupdict()
    short = parts.get("yy")
    years = (
        [int(parts["y"])] if parts.get("y") else [1900 + int(short or 0), 2000 + int(short or 0)]
    )
    if parts.get("a"):
        a, b = int(parts["a"]), int(parts["b"])
        pairs = [(a, b), (b, a)]
    else:
        name = (parts.get("n") or "").lower()
        number = int(parts.get("m") or 0) or next(
            (index for index, month in enumerate(MONTHS, 1) if name and month.startswith(name[:3])),
            0,
        )
        pairs = [(number, int(parts.get("d") or 0))]
    days = []
    for year in reversed(years):
        for month, day in pairs:
            try:
                days.append(date(year, month, day))
            except ValueError:
                continue
    return days


def _write(found: re.Match[str], day: date) -> str:
    """Return a day in the form of another, months by name in English."""
    parts = found.groupdict()
    if parts.get("n"):
        name = MONTHS[day.month - 1]
        name = name[: len(parts["n"])] if len(parts["n"]) == 3 else name
        return f"{day.day} {name.capitalize()} {day.year}"
    separator = parts.get("s") or ""
    if parts.get("a"):
        first, second = day.month, day.day
        if int(parts["a"]) > 12:
            first, second = second, first
        return f"{first:02}{separator}{second:02}{separator}{day.year}"
    return f"{day.year}{separator}{day.month:02}{separator}{day.day:02}"

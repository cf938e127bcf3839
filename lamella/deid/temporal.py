"""Dates moved by whole days, in DICOM's forms.

Source:
    PS3.5 §6.2 (DA, DT, TM); PS3.15 §E.3.6 (Retain Longitudinal Temporal Information).
"""

from __future__ import annotations

import re
from datetime import date, timedelta

DUMMIES = {"DA": "20000101", "TM": "000000", "DT": "20000101000000"}
"""A value for each VR where one must be."""

_DATE = re.compile(r"(\d{4})[.\-]?(\d{2})[.\-]?(\d{2})(.*)", re.DOTALL)
_COARSE = re.compile(r"\d{4}(\d{2})?([+-]\d{4})?")


def shift(value: str, days: int) -> str:
    """Return a DA or DT value moved by whole days; its time of day and its offset stay.

    Returns:
        Empty for what is no date. A DT without a day is no date that can be moved.
    """
    text = value.strip(" \0")
    if not text or _COARSE.fullmatch(text):
        return ""
    found = _DATE.fullmatch(text)
    if found is None:
        return ""
    try:
        moved = date(int(found[1]), int(found[2]), int(found[3])) + timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{moved.year:04}{moved.month:02}{moved.day:02}{_keep_time(found[4])}"


def _keep_time(rest: str) -> str:
    return rest if re.fullmatch(r"\d{0,6}(\.\d{1,6})?([+-]\d{4})?", rest) else ""

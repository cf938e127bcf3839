"""Where something stands in a text, and what it is."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """What a stretch of text is."""

    KNOWN = "known"
    NAME = "name"
    DATE = "date"
    NUMBER = "number"
    CONTACT = "contact"
    PLACE = "place"
    UID = "uid"
    AGE = "age"


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` up to, not including, `end`."""

    start: int
    end: int
    kind: Kind

"""What of a text is still there."""

from __future__ import annotations

import re
from datetime import date, timedelta

_WORD = re.compile(r"[^\W_]+(?:[.'’][^\W_]+)*")
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")
_DAY = re.compile(
    r"\d{8}|\d{1,4}[-./ ]\d{1,2}[-./ ]\d{1,4}"
    r"|\d{1,2} [A-Za-z]{3,9} \d{4}|[A-Za-z]{3,9} \d{1,2}, \d{4}"
)
_STOP_WORDS = frozenset(
    {
        "a",
        "an",
        "and",
        "as",
        "at",
        "be",
        "by",
        "for",
        "from",
        "had",
        "has",
        "he",
        "her",
        "his",
        "in",
        "is",
        "it",
        "no",
        "not",
        "of",
        "on",
        "or",
        "she",
        "that",
        "the",
        "this",
        "to",
        "was",
        "were",
        "with",
        "you",
    }
)


def keeps(value: str, text: str) -> bool:
    """Tell whether a value still says all of a text, be it in another form."""
    if _compare_numbers(value, text):
        return True
    words = list_words(text)
    if not words:
        return text.strip().casefold() in value.casefold()
    kept = set(list_words(value))
    return all(word in kept for word in words)


def lacks(value: str, text: str) -> bool:
    """Tell whether a value says nothing of a text any more."""
    if not text.strip():
        return not value.strip()
    if text.strip().casefold() in value.casefold() or _compare_numbers(value, text):
        return False
    if _DAY.fullmatch(text.strip()):
        return True  # a day that moved may have its year still, or its month
    kept = set(list_words(value))
    return not any(word in kept for word in list_words(text) if word not in _STOP_WORDS)


def list_words(text: str) -> list[str]:
    """Return the words and numbers of a text, folded."""
    return [word.casefold() for word in _WORD.findall(text)]


def measure_shift(old: str, new: str) -> timedelta | None:
    """Return by how much the first date in a value has moved; None where one has no date.

    Args:
        old, new: DA or DT values, or text with a date as eight digits in it.
    """
    before, after = _find_date(old), _find_date(new)
    return None if before is None or after is None else after - before


def _find_date(text: str) -> date | None:
    for match in _DATE.finditer(text.replace("-", "").replace(".", "").replace("/", "")):
        try:
            return date(int(match[1]), int(match[2]), int(match[3]))
        except ValueError:
            continue
    return None


def _compare_numbers(value: str, text: str) -> bool:
    try:
        return float(value) == float(text)
    except ValueError:
        return False

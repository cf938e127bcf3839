"""Terms: what an index of an attribute holds for a value, and what a key asks of it.

A value has one term, in a form that compares as the value is matched; a person's name has one for
each of its words and sounds. Each clause holds for a term of every value that `matching` would
accept; it may hold for more. What a clause cannot say (absence, a term's middle beyond its
length) narrows nothing, so that matching the attributes themselves decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Any, Final

from lamella.archive import temporal
from lamella.archive.clauses import (
    TRUE,
    Clause,
    compare,
    contains_part,
    escape_like,
    is_one_of,
    join_all,
    join_any,
)
from lamella.archive.person_name import split_groups, split_words
from lamella.archive.phonetics import list_sounds
from lamella.archive.query import (
    NUMERIC_VRS,
    AllOf,
    AnyOf,
    Condition,
    Range,
    Single,
    UidList,
    Wildcard,
)

LONGEST_TERM: Final = 100
"""Characters; PostgreSQL's index rows are 2,700 bytes at most."""

SOUND: Final = "~"
"""Begins the term of a sound; no word begins with it."""

MOST_VALUES: Final = 8_192
MOST_ALTERNATIVES: Final = 32
_HIGHEST: Final = "\U0010ffff"
_WILDCARDS: Final = re.compile(r"[*?]+")
_WIDEST_ZONES_US: Final = 28 * 3_600_000_000
"""How far the clocks of two zones differ at most, with room to spare."""

_MOMENT_DIGITS: Final = 20


def make_terms(vr: str, values: Iterable[Any]) -> set[str]:
    """Return the terms of an attribute's values, as DICOM JSON has them."""
    return {term for value in values for term in _list_terms(vr, value) if term}


def _list_terms(vr: str, value: Any) -> Iterable[str]:
    if vr == "PN":
        words = {word for group in split_groups(value) for word in split_words(group)}
        sounds = {SOUND + code for word in words for code in list_sounds(word)}
        return [*map(_tidy, words), *sounds]
    text = str(value).strip(" \0") if vr == "UI" else str(value).strip()
    if vr == "DA":
        return [temporal.normalize_date(text) or ""]
    if vr == "TM":
        bounds = temporal.bound_time(text)
        return [bounds[0]] if bounds else []
    if vr == "DT":
        moments = temporal.bound_datetime(text)
        return [_write_moment(moments.first_us)] if moments else []
    if vr in NUMERIC_VRS:
        return [_write_number(vr, text)]
    return [_tidy(text.upper() if vr == "AT" else text)]


def narrow_terms(vr: str, condition: Condition, column: str, *, fuzzy: bool) -> list[Clause] | None:
    """Return what holds for some term of every value that matches; None if nothing is known.

    Args:
        vr: Of the attribute, as in `make_terms`.
        condition: What the values have to match.
        column: Name of the column of terms.
        fuzzy: Whether names are matched fuzzily.

    Returns:
        Alternatives, each of them one range or list of terms: for an OR of them SQLite would scan
        the index.
    """
    if isinstance(condition, (AnyOf, AllOf)):
        parts = [narrow_terms(vr, part, column, fuzzy=fuzzy) for part in condition.members]
        known = [part for part in parts if part is not None]
        if isinstance(condition, AllOf):
            return known[0] if known else None  # each of them holds for a term of its own
        if len(known) < len(parts):
            return None
        clauses = list(chain.from_iterable(known))
        return clauses if len(clauses) <= MOST_ALTERNATIVES else [join_any(clauses)]
    if vr == "PN":
        return _narrow_name(condition, column, fuzzy)
    narrow = _narrow_moment if vr in ("DA", "TM", "DT") else _narrow_text
    clause = narrow(vr, condition, column)
    return None if clause is None else [clause]


def _narrow_text(vr: str, condition: Condition, column: str) -> Clause | None:
    if isinstance(condition, UidList):
        uids = [_tidy(uid) for uid in condition.uids]
        return is_one_of(column, uids) if len(uids) <= MOST_VALUES else None
    if isinstance(condition, Single):
        if vr in NUMERIC_VRS:
            return is_one_of(column, _list_near(vr, condition.value))
        return compare(column, "=", _tidy(condition.value.strip()))
    if not isinstance(condition, Wildcard):
        return None
    prefix, *pieces = _WILDCARDS.split(condition.pattern)
    return _join_known([_begins(column, prefix), _contains(column, pieces)])


def _narrow_moment(vr: str, condition: Condition, column: str) -> Clause | None:
    if isinstance(condition, Single):
        first: str | None = condition.value
        last = first
    elif isinstance(condition, Range):
        first, last = condition.first, condition.last
    else:
        return None
    lowest = _bound_moment(vr, first, is_last=False) if first else None
    highest = _bound_moment(vr, last, is_last=True) if last else None
    return _join_known(
        [
            compare(column, ">=", lowest) if lowest else None,
            compare(column, "<=", highest) if highest else None,
        ]
    )


def _bound_moment(vr: str, text: str, *, is_last: bool) -> str | None:
    """Return the lowest or highest term that a value within this bound can have."""
    if vr == "DA":
        return text
    if vr == "TM":
        bounds = temporal.bound_time(text)
        return bounds[is_last] if bounds else None
    moments = temporal.bound_datetime(text)
    if moments is None:
        return None
    if is_last:
        return _write_moment(moments.last_us + _WIDEST_ZONES_US)
    return _write_moment(max(0, moments.first_us - _WIDEST_ZONES_US))


def _narrow_name(condition: Condition, column: str, fuzzy: bool) -> list[Clause] | None:
    if not isinstance(condition, (Single, Wildcard)):
        return None
    pattern = condition.value if isinstance(condition, Single) else condition.pattern
    words = split_words(pattern)
    heads = {word: _WILDCARDS.split(word)[0] for word in words}
    word = max(words, key=lambda word: len(heads[word]), default="")
    if not heads.get(word):
        pieces = [piece for word in words for piece in _WILDCARDS.split(word)]
        found = [_contains(column, pieces)]
    else:
        sounds = sorted(SOUND + code for code in list_sounds(word)) if fuzzy else []
        found = [_begins(column, heads[word]), is_one_of(column, sounds) if sounds else None]
    return [clause for clause in found if clause is not None] or None


def _begins(column: str, prefix: str) -> Clause | None:
    start = _tidy(prefix)
    if not start:
        return None
    return join_all([compare(column, ">=", start), compare(column, "<", start + _HIGHEST)])


def _contains(column: str, pieces: list[str]) -> Clause | None:
    """Return what holds for terms with the longest of these pieces, and for those cut short."""
    piece = _tidy(max(pieces, key=len, default=""))
    if not piece:
        return None
    whole = contains_part(column, f"%{escape_like(piece)}%")
    return join_any([whole, Clause(f"length({column}) >= ?", (LONGEST_TERM,))])


def _join_known(clauses: list[Clause | None]) -> Clause | None:
    joined = join_all(clause for clause in clauses if clause is not None)
    return None if joined == TRUE else joined


def _tidy(text: str) -> str:
    """Return text as both databases can hold it, cut to the length of a term."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")[:LONGEST_TERM]


def _write_moment(microseconds: int) -> str:
    return f"{microseconds:0{_MOMENT_DIGITS}d}"


def _write_number(vr: str, text: str) -> str:
    try:
        number = float(Decimal(text))
    except (InvalidOperation, ValueError):
        return ""  # no number, or a signalling NaN
    return _write_float(vr, number)


def _write_float(vr: str, number: float) -> str:
    digits = 4 if vr in ("FL", "FD") else 12
    return f"{number + 0.0:.{digits}e}"  # adding it makes zero of minus zero


def _list_near(vr: str, text: str) -> list[str]:
    """Return the terms of the numbers that equal this one within the tolerance of FL and FD."""
    number = float(Decimal(text))
    if vr not in ("FL", "FD"):
        return [_write_float(vr, number)]
    return sorted({_write_float(vr, number * factor) for factor in (1 - 2e-6, 1.0, 1 + 2e-6)})

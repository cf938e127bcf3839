"""SQL predicates that narrow a catalog search without losing a match.

Each predicate holds for every row that `matching` would accept; it may hold for more. Keys that
have no column, and conditions that SQL could only get wrong, narrow nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from typing import Final, Literal

from lamella.archive.attribute_index import NAMES, AttributeIndex
from lamella.archive.catalog import order_date
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
from lamella.archive.index_terms import narrow_terms
from lamella.archive.levels import STUDY_INSTANCE_UID, Level
from lamella.archive.matching import DATE_TIME_PAIRS
from lamella.archive.person_name import fold, normalize_group
from lamella.archive.query import (
    AllOf,
    AnyOf,
    Condition,
    Empty,
    Key,
    Query,
    Range,
    Single,
    UidList,
    Wildcard,
)

Kind = Literal["text", "list", "date", "order", "name"]

PATIENT_NAME: Final = "00100010"
STUDY_COLUMNS: Final[dict[str, tuple[Kind, str]]] = {
    STUDY_INSTANCE_UID: ("text", "study_row.study_uid"),
    "00080020": ("order", "study_row.sort_key"),
    "00080050": ("text", "study_row.accession_number"),
    "00080061": ("list", "study_row.modalities"),
    "00080062": ("list", "study_row.sop_classes"),
    "00080090": ("list", "study_row.referring_physician"),
    "00081030": ("text", "study_row.study_description"),
    PATIENT_NAME: ("name", "study_row.patient_name"),
    "00100020": ("text", "study_row.patient_id"),
    "00100021": ("text", "study_row.issuer_of_patient_id"),
    "00100030": ("date", "study_row.patient_birth_date"),
    "00100040": ("text", "study_row.patient_sex"),
    "00200010": ("text", "study_row.study_id"),
}
SERIES_COLUMNS: Final[dict[str, tuple[Kind, str]]] = {
    STUDY_INSTANCE_UID: ("text", "series_row.study_uid"),
    "0020000E": ("text", "series_row.series_uid"),
    "00080060": ("text", "series_row.modality"),
    "00080021": ("date", "series_row.series_date"),
    "00400244": ("date", "series_row.step_start_date"),
}
INDEXED: Final = frozenset({STUDY_INSTANCE_UID, "0020000E", "00080050", PATIENT_NAME, "00100020"})
"""Attributes whose columns have an index of their own; that of names covers a search in them."""

ZONED: Final = frozenset({"00080020", "00080021", "00100030", "00400244"})
"""Dates that a time zone in the query may move to the next day or the one before."""

LONGEST_PATTERN: Final = 1000
"""Characters; SQLite refuses LIKE patterns of 50,000 bytes, so longer ones narrow nothing."""

LONGEST_LIST: Final = 100
"""Members of a list that become OR terms; SQLite's parser allows a depth of 1,000."""

MOST_VALUES: Final = 8_192
"""Values of one IN; both drivers allow about 32,000 parameters a statement."""

_WILDCARDS: Final = re.compile(r"[*?]+")
_HIGHEST: Final = "\U0010ffff"
_AFTER_UNKNOWN: Final = "\x7f"


def narrow_studies(query: Query) -> list[Clause]:
    """Return predicates over table `study_row` for the query's keys."""
    return _narrow_keys(query, STUDY_COLUMNS)


def narrow_series(query: Query) -> list[Clause]:
    """Return predicates over table `series_row` for the query's keys."""
    return _narrow_keys(query, SERIES_COLUMNS)


def pick_studies(query: Query) -> list[list[Clause]]:
    """Return searches of `study_row`, each by an index of its own, that find all candidates.

    None if no key is likely to leave few rows. Names take two: SQLite would scan a whole index
    for an OR of the alphabetic group and the others.
    """
    if not _is_selective(query):
        return []
    for key in query.keys:
        named = key.path == (PATIENT_NAME,) and isinstance(key.condition, (Single, Wildcard))
        if named and not query.fuzzy:
            rest = narrow_studies(replace(query, keys=tuple(k for k in query.keys if k != key)))
            names = _list_names("study_row.patient_name", key.condition, query.fuzzy)
            return [[*rest, name] for name in names] if names else [rest]
    return [narrow_studies(query)]


def pick_series(query: Query) -> list[list[Clause]]:
    """Return searches of `series_row` likewise."""
    return [narrow_series(query)] if _is_selective(query) else []


def ask_indexes(
    query: Query, level: Level, indexes: Iterable[AttributeIndex]
) -> list[tuple[AttributeIndex, list[Clause]]]:
    """Return what declared indexes of a level know of the query's keys.

    Args:
        query: What is searched for.
        level: Whose rows or instances are searched.
        indexes: Those that are ready.

    Returns:
        Indexes with clauses over the column `term` of their entries; whatever matches the query
        has in each of them an entry that one of the clauses holds for.
    """
    found = []
    for key, index in product(query.scope_keys(), indexes):
        if (index.level, index.path, index.creators) != (level, key.path, key.creators):
            continue
        if _is_moved(query, key) or (index == NAMES and not query.fuzzy):
            continue
        clauses = narrow_terms(index.vr, key.condition, "term", fuzzy=query.fuzzy)
        if clauses is not None:
            found.append((index, clauses))
    return found


def _is_moved(query: Query, key: Key) -> bool:
    """Whether a date or time is compared as another one, or together with its pair."""
    tag, times = key.path[-1], DATE_TIME_PAIRS.values()
    if query.offset_us is not None and (tag in DATE_TIME_PAIRS or tag in times):
        return True
    return query.combined and tag in times


def _is_selective(query: Query) -> bool:
    return any(
        key.path[0] in INDEXED
        and len(key.path) == 1
        and (not query.fuzzy if key.vr == "PN" else _has_beginning(key.condition))
        for key in query.scope_keys()
    )


def _has_beginning(condition: Condition) -> bool:
    if isinstance(condition, AnyOf):
        return all(_has_beginning(member) for member in condition.members)
    if isinstance(condition, Wildcard):
        return not condition.pattern.startswith(("*", "?"))
    return isinstance(condition, (Single, UidList))


def _narrow_keys(query: Query, columns: dict[str, tuple[Kind, str]]) -> list[Clause]:
    found = []
    for key in query.scope_keys():
        if len(key.path) > 1 or key.path[0] not in columns:
            continue
        if query.offset_us is not None and key.path[0] in ZONED:
            continue
        predicate = _narrow_key(key, *columns[key.path[0]], query.fuzzy)
        if predicate is not None:
            found.append(predicate)
    return found


def _narrow_key(key: Key, kind: Kind, column: str, fuzzy: bool) -> Clause | None:
    if key.path[0] == "00080090":  # names in search form, searched for a part of the key
        return _narrow_name_part(key.condition, column, fuzzy)
    return _narrow(kind, column, key.condition, fuzzy)


def _narrow(kind: Kind, column: str, condition: Condition, fuzzy: bool) -> Clause | None:
    if isinstance(condition, (AnyOf, AllOf)):
        if len(condition.members) > LONGEST_LIST:
            return None
        members = [_narrow(kind, column, member, fuzzy) for member in condition.members]
        if isinstance(condition, AllOf):
            return _join_all(members)
        return _join_any(members)
    if isinstance(condition, Empty):
        return None if kind == "order" else compare(column, "=", "")
    if kind in ("order", "date"):
        return _narrow_date(kind, column, condition)
    if kind == "name":
        return _narrow_name(column, condition, fuzzy)
    if kind == "list":
        return _narrow_list(column, condition)
    return _narrow_text(column, condition)


def _join_all(members: Iterable[Clause | None]) -> Clause | None:
    known = [member for member in members if member is not None]
    return join_all(known) if known else None


def _join_any(members: list[Clause | None]) -> Clause | None:
    known = [member for member in members if member is not None]
    return join_any(known) if known and len(known) == len(members) else None


def _narrow_text(column: str, condition: Condition) -> Clause | None:
    if isinstance(condition, UidList):
        return is_one_of(column, condition.uids) if len(condition.uids) <= MOST_VALUES else None
    if isinstance(condition, Single):
        return compare(column, "=", condition.value.strip())
    if not isinstance(condition, Wildcard) or len(condition.pattern) > LONGEST_PATTERN:
        return None
    prefix = _WILDCARDS.split(condition.pattern)[0]
    pattern = escape_like(condition.pattern).replace("*", "%").replace("?", "_")
    return join_all([_begins(column, prefix), contains_part(column, pattern)])


def _narrow_list(column: str, condition: Condition) -> Clause | None:
    if isinstance(condition, UidList):
        few = condition.uids[:LONGEST_LIST]
        return join_any(_contains(column, uid) for uid in few) if few == condition.uids else None
    if isinstance(condition, Single):
        return _contains(column, condition.value.strip())
    if isinstance(condition, Wildcard):
        return _contains(column, _longest(condition.pattern))
    return None


def _narrow_date(kind: Kind, column: str, condition: Condition) -> Clause | None:
    if isinstance(condition, Single):
        first: str | None = condition.value
        last = first
    elif isinstance(condition, Range):
        first, last = condition.first, condition.last
    else:
        return None
    if kind == "order":  # the newest first: the last day has the lowest key
        return _join_all(
            [
                compare(column, ">=", order_date(last)) if last else None,
                compare(column, "<", (order_date(first) if first else "") + _AFTER_UNKNOWN),
            ]
        )
    return _join_all(
        [compare(column, ">=", first or "0"), compare(column, "<=", last) if last else None]
    )


def _narrow_name(column: str, condition: Condition, fuzzy: bool) -> Clause | None:
    return _join_any([*_list_names(column, condition, fuzzy)])


def _list_names(column: str, condition: Condition, fuzzy: bool) -> list[Clause]:
    """Return alternatives, one of which holds for a row that matches; none if nothing is known.

    They look at the alphabetic group; a row with other groups stays in where those may match.
    """
    pattern = _read_pattern(condition)
    if pattern is None:
        return []
    if fuzzy:
        return []  # an index of words knows
    has_other = compare("study_row.patient_name_other", ">", "")
    first, *others = [normalize_group(group) for group in pattern.split("=")]
    if not first:
        return []
    family = fold(_WILDCARDS.split(first.split("^")[0])[0])
    if family:
        return [_begins(column, family)] if others else [_begins(column, family), has_other]
    here = _contains(column, _longest_part(first))
    return [here] if others else [join_any([here, has_other])]


def _narrow_name_part(condition: Condition, column: str, fuzzy: bool) -> Clause | None:
    if isinstance(condition, Empty):
        return compare(column, "=", "")
    pattern = _read_pattern(condition)
    if pattern is None:
        return None
    if fuzzy:
        return None  # what only sounds alike has no part in common
    groups = [_longest_part(normalize_group(group)) for group in pattern.split("=")]
    return _contains(column, max(groups, key=len))


def _read_pattern(condition: Condition) -> str | None:
    text = condition.value if isinstance(condition, Single) else None
    text = condition.pattern if isinstance(condition, Wildcard) else text
    return text if text is not None and len(text) <= LONGEST_PATTERN else None


def _longest_part(group: str) -> str:
    return max((fold(_longest(part)) for part in group.split("^")), key=len)


def _longest(pattern: str) -> str:
    return max(_WILDCARDS.split(pattern), key=len)


def _begins(column: str, prefix: str) -> Clause:
    if not prefix:
        return TRUE
    return join_all([compare(column, ">=", prefix), compare(column, "<", prefix + _HIGHEST)])


def _contains(column: str, part: str) -> Clause:
    return contains_part(column, f"%{escape_like(part)}%") if part else TRUE

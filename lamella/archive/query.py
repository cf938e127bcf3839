"""The one query model: what QIDO, C-FIND and the clients parse into, and the catalog answers.

    text of a key ── parse_condition ──► Condition ─┐
    identifier    ── parse_attribute ──► Attribute ─┴─► Key ─► Query
    C-FIND data set ── identifier.query_from_identifier ────► Query

Source:
    PS3.4 §C.2.2 (matching); PS3.18 §8.3.4 (search parameters).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

from pydicom.datadict import (
    dictionary_has_tag,
    dictionary_VR,
    keyword_for_tag,
    private_dictionary_VR,
    tag_for_keyword,
)

from lamella.archive import temporal
from lamella.archive.levels import (
    UNIQUE_KEYS,
    Level,
    Path,
    level_of,
)
from lamella.errors import InvalidRequest

WILDCARD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"})
RANGE_VRS: Final = frozenset({"DA", "TM", "DT"})
NUMERIC_VRS: Final = frozenset(
    {"DS", "IS", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"}
)  # fmt: skip
BULK_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
ONE_VALUE_VRS: Final = frozenset({"LT", "ST", "UT", "UR"})
"""Their values hold backslashes; they are never lists (PS3.5 §6.2)."""

Creators = tuple[str | None, ...]
Step = tuple[str, str | None]
"""A tag, and the private creator that tells in which block of a data set it is found."""

_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_LIST: Final = re.compile(r"[,\\]")


@dataclass(frozen=True, slots=True)
class Universal:
    """Matches whatever is there, and what is not there (PS3.4 §C.2.2.2.3)."""


@dataclass(frozen=True, slots=True)
class Empty:
    """Matches an attribute that is absent or has no value (Empty Value Matching)."""


@dataclass(frozen=True, slots=True)
class Single:
    """Matches one value; dates are normalized (PS3.4 §C.2.2.2.1)."""

    value: str


@dataclass(frozen=True, slots=True)
class Wildcard:
    """Matches text with `*` and `?` (PS3.4 §C.2.2.2.4)."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Range:
    """Matches dates, times or datetimes from `first` to `last`, one of which may be open.

    Source:
        PS3.4 §C.2.2.2.5.
    """

    first: str | None
    last: str | None


@dataclass(frozen=True, slots=True)
class UidList:
    """Matches any of the UIDs (PS3.4 §C.2.2.2.2)."""

    uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Matches when any member does: a list of values where no rule asks for all of them."""

    members: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Matches when each member matches some value (Multiple Value Matching)."""

    members: tuple[Condition, ...]


Condition = Universal | Empty | Single | Wildcard | Range | UidList | AnyOf | AllOf


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that a request named.

    Attributes:
        path: Tags from the top level down, 8 upper-case hex digits each.
        vr: Value representation of the last; `UN` for private ones that nobody knows.
    """

    path: Path
    vr: str

    @property
    def is_private(self) -> bool:
        """Whether the attribute, or a sequence that it stands in, is private."""
        return any(map(is_private, self.path))

    @property
    def is_private_creator(self) -> bool:
        """Whether the attribute reserves a block of private elements (PS3.5 §7.8.1)."""
        tag = self.path[-1]
        return is_odd(tag) and tag[4:6] == "00" and int(tag[6:], 16) >= 0x10

    @property
    def level(self) -> Level:
        """The level that the attribute belongs to; private ones belong to instances."""
        return level_of(self.path[0])

    @property
    def name(self) -> str:
        """Keywords, or tags where there is none, joined by dots: for messages."""
        return ".".join(keyword_for_tag(int(tag, 16)) or tag for tag in self.path)


@dataclass(frozen=True, slots=True)
class Key:
    """One matching key.

    Attributes:
        path: Tags from the top level down; keys under one sequence must match in one item.
        creators: For each tag of the path its private creator or None; empty if none has one.
            A creator's block may be another in each data set.
    """

    path: Path
    vr: str
    condition: Condition
    creators: Creators = ()

    def step(self, depth: int) -> Step:
        """Return the tag at a depth of the path, with its creator."""
        return self.path[depth], self.creators[depth] if self.creators else None


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of a view. All parts are immutable, so a query can be a cache key.

    Attributes:
        level: Level of the results.
        study_uid: Study that the request's target (or its unique key) names.
        series_uid: Series likewise.
        sop_uid: Instance likewise.
        keys: Matching keys, all of which must match; none below `level`, none universal.
        include: Paths to return besides the defaults.
        include_all: Return all attributes of the level and of those above.
        with_defaults: Return the tables of PS3.18 §10.6.3.3; false for C-FIND, which returns
            what was asked, empty where unknown.
        default_levels: Levels whose tables are returned.
        limit: Highest number of results; None for no limit.
        offset: Matches to skip.
        fuzzy: Match person names fuzzily.
        combined: Match ranges of a date and its time as one range of datetimes.
        offset_us: Time zone of dates and times in the keys, microseconds from UTC, if given.
        creators: (path of the creator's element, creator) of the private blocks that the request
            speaks of.
        warnings: Sentences for the client about what was left undone.
    """

    level: Level
    study_uid: str | None = None
    series_uid: str | None = None
    sop_uid: str | None = None
    keys: tuple[Key, ...] = ()
    include: frozenset[Path] = frozenset()
    include_all: bool = False
    with_defaults: bool = True
    default_levels: frozenset[Level] = frozenset()
    limit: int | None = None
    offset: int = 0
    fuzzy: bool = False
    combined: bool = True
    offset_us: int | None = None
    creators: tuple[tuple[Path, str], ...] = ()
    warnings: tuple[str, ...] = ()

    def scope_keys(self) -> tuple[Key, ...]:
        """Return the keys together with those that the target's UIDs stand for."""
        scope = ((Level.STUDY, self.study_uid), (Level.SERIES, self.series_uid),
                 (Level.INSTANCE, self.sop_uid))  # fmt: skip
        named = [Key((UNIQUE_KEYS[level],), "UI", UidList((uid,))) for level, uid in scope if uid]
        return (*named, *(key for key in self.keys if key not in named))

    def narrow_to(self, level: Level) -> Query:
        """Return the part of the query that a search at a higher level can answer.

        It has no limit and no offset: what it finds still has to be searched for the rest.
        """
        return replace(
            self,
            level=level,
            sop_uid=self.sop_uid if level >= Level.INSTANCE else None,
            series_uid=self.series_uid if level >= Level.SERIES else None,
            keys=tuple(key for key in self.keys if level_of(key.path[0]) <= level),
            limit=None,
            offset=0,
        )


@lru_cache(maxsize=4096)
def parse_attribute(text: str) -> Attribute | None:
    """Return the attribute that `text` names, None if there is no such attribute.

    Args:
        text: Keywords or 8-digit tags of either case, joined by dots; all but the last are
            sequences, or private and may be.

    Source:
        PS3.18 §8.3.4.1 (attribute-id).
    """
    path: list[str] = []
    vr = ""
    for part in text.split("."):
        if not part or (path and vr != "SQ" and not is_private(path[-1])):
            return None
        tag = int(part, 16) if _TAG.fullmatch(part) else tag_for_keyword(part)
        found = _vr_of(tag) if tag else None
        if tag is None or found is None:
            return None
        path.append(f"{tag:08X}")
        vr = found
    return Attribute(tuple(path), vr)


def _vr_of(tag: int) -> str | None:
    group = tag >> 16
    if group < 8:  # commands, file meta information and DICOMDIR are no attributes of instances
        return None
    if group % 2:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    if not dictionary_has_tag(tag) and not keyword_for_tag(tag):
        return None
    return str(dictionary_VR(tag)).split(" or ")[0]


def is_odd(tag: str) -> bool:
    """Tell whether a tag's group is odd."""
    return int(tag[3], 16) % 2 == 1


def is_private(tag: str) -> bool:
    """Tell whether a tag is that of a private attribute (odd group, element beyond creators)."""
    return is_odd(tag) and tag[4:6] != "00"


def find_creators(path: Path, known: Mapping[Path, str]) -> Creators | None:
    """Return the creators of a path's private tags; None if one of them is not known.

    Args:
        path: Tags from the top level down.
        known: Path of a creator's element → creator.
    """
    if not any(map(is_private, path)):
        return ()
    creators: list[str | None] = []
    for depth, tag in enumerate(path):
        block = (*path[:depth], f"{tag[:4]}00{tag[4:6]}")
        creators.append(known.get(block) if is_private(tag) else None)
        if is_private(tag) and creators[-1] is None:
            return None
    return tuple(creators)


def parse_private_vr(attribute: Attribute, creator: str) -> Attribute:
    """Return a private attribute with the VR that is known for it under `creator`.

    Unknown ones are matched as text.
    """
    try:
        vr = private_dictionary_VR(int(attribute.path[-1], 16), creator).split(" or ")[0]
    except KeyError:
        vr = "LO"
    return replace(attribute, vr="LO" if vr == "UN" else vr)


def check_uid(text: str, name: str) -> str:
    """Return the UID that `text` is.

    Leading zeros in a component are let through: there are files that have them.

    Raises:
        InvalidRequest: It is no UID (PS3.5 §9.1).
    """
    uid = text.strip()
    if len(uid) > 64 or not _UID.fullmatch(uid):
        raise InvalidRequest(f"{name} is not a valid UID.")
    return uid


def parse_condition(
    attribute: Attribute, text: str, *, empty_values: bool = False, multiple_values: bool = False
) -> Condition:
    r"""Return the condition that the text of a key stands for.

    Args:
        text: Decoded. Empty, or one asterisk: universal matching.
        empty_values: `""` (two quotation marks) matches what has no value.
        multiple_values: Values separated by comma or backslash must all match. Without it a
            list of UIDs, codes (CS: no code has a comma) or values separated by backslash
            matches any of them.

    Raises:
        InvalidRequest: The text is no value, range or list for the attribute's VR.

    Source:
        PS3.4 §C.2.2.2; PS3.18 §8.3.4.1, §8.3.4.5, §8.3.4.6.
    """
    text = text.strip(" \0")
    if not text or text == "*":
        return Universal()
    if empty_values and text == '""':
        return Empty()
    if attribute.vr == "SQ":
        raise InvalidRequest(f"{attribute.name} is a sequence: name an attribute inside it.")
    if attribute.vr in BULK_VRS:
        raise InvalidRequest(f"{attribute.name} holds binary data, which cannot be matched.")
    parts = _split_list(attribute.vr, text, multiple_values)
    if not parts:
        return Universal()
    if attribute.vr == "UI":
        return UidList(tuple(check_uid(part, attribute.name) for part in parts))
    members = tuple(_parse_one(attribute, part) for part in parts)
    if len(members) == 1:
        return members[0]
    return AllOf(members) if multiple_values else AnyOf(members)


def _split_list(vr: str, text: str, multiple_values: bool) -> list[str]:
    if multiple_values or vr in ("UI", "CS"):
        parts = _LIST.split(text)
    elif vr in ONE_VALUE_VRS:
        parts = [text]
    else:
        parts = text.split("\\")
    return [part.strip() for part in parts if part.strip()]


def _parse_one(attribute: Attribute, text: str) -> Condition:
    vr = attribute.vr
    if vr in RANGE_VRS:
        return _parse_temporal(attribute, text)
    if vr in NUMERIC_VRS:
        if not _is_number(text):
            raise InvalidRequest(f"{attribute.name} is not a valid number.")
        return Single(text)
    if vr == "AT":
        if not _TAG.fullmatch(text):
            raise InvalidRequest(f"{attribute.name} is not a valid tag of 8 hexadecimal digits.")
        return Single(text.upper())
    if vr in WILDCARD_VRS and ("*" in text or "?" in text):
        return Wildcard(text)
    return Single(text)


def _is_number(text: str) -> bool:
    if not _NUMBER.fullmatch(text):
        return False
    try:
        Decimal(text)
    except InvalidOperation:
        return False  # its exponent is beyond all bounds
    return True


def _parse_temporal(attribute: Attribute, text: str) -> Condition:
    # A plus sign that was not percent-encoded arrives as a space.
    text = re.sub(r" (?=[0-9]{4}($|-))", "+", text) if attribute.vr == "DT" else text
    split = temporal.split_datetime_range if attribute.vr == "DT" else temporal.split_range
    ends = split(text)
    if ends is None:
        return Single(_check_moment(attribute, text))
    if not any(ends):
        raise InvalidRequest(f"{attribute.name} is a range without ends.")
    first, last = (_check_moment(attribute, end) if end else None for end in ends)
    return Range(first, last)


def _check_moment(attribute: Attribute, text: str) -> str:
    kinds = {"DA": "date (YYYYMMDD)", "TM": "time (HHMMSS.FFFFFF)", "DT": "datetime"}
    if attribute.vr == "DA":
        valid = temporal.normalize_date(text)
    elif attribute.vr == "TM":
        valid = text if temporal.bound_time(text) else None
    else:
        valid = text if temporal.bound_datetime(text) else None
    if valid is None:
        kind = kinds[attribute.vr]
        raise InvalidRequest(f"{attribute.name} is not a valid {kind}, nor a range of them.")
    return valid


def parse_query_offset(text: str) -> int | None:
    """Return the time zone that a query names, in microseconds from UTC; None if it names none.

    Raises:
        InvalidRequest: The text is no offset from UTC.
    """
    if not text.strip():
        return None
    offset_us = temporal.parse_offset(text.strip().rjust(5, "+"))
    if offset_us is None:
        raise InvalidRequest("TimezoneOffsetFromUTC is not a valid offset (+HHMM or -HHMM).")
    return offset_us

"""The query string of a search, read into the archive's `Query`.

Matching keys are attribute names; everything else is one of the parameters of PS3.18 §8.3.4.
Fuzzy, empty value and multiple value matching are all supported, so none of the standard's
warnings about their absence is ever due. What is not understood is ignored and named in
`Query.warnings`; what is understood and wrong is an `InvalidRequest`.

Choices that the standard leaves open:

- A key that repeats is refused, as §8.3.4.1 forbids it.
- Without `multiplevaluematching` a comma separates UIDs, and codes (VR CS) of which any may match
  (`ModalitiesInStudy=CT,MR`); in other values it is a comma.
- A key of a level below the results' (`/studies?Modality=CT`) is ignored with a warning.
- Private attributes belong to instances; a key or `includefield` needs the creator as one more
  key (`00091001=X&00090010=ACME`), whose block number need not be that of the stored object. The
  creator is a matching key as well. Inside a sequence the creator stands there too
  (`00400275.00091001=X&00400275.00090010=ACME`), and a sequence may itself be private.

Source:
    PS3.18 §8.3.4, §10.6.1.2.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from lamella.archive.levels import (
    COMPUTED,
    SPECIFIC_CHARACTER_SET,
    TIMEZONE_OFFSET,
    Level,
    Path,
)
from lamella.archive.query import (
    Attribute,
    Key,
    Query,
    Universal,
    check_uid,
    find_creators,
    parse_attribute,
    parse_condition,
    parse_private_vr,
    parse_query_offset,
)
from lamella.errors import InvalidRequest

MAXIMUM_RESULTS: Final = 10_000
"""Results of one response at most (`maxResults` of §8.3.4.4); a client asks on with `offset`."""

MORE_RESULTS: Final = "There are additional results that can be requested"
"""Warning of §8.3.4.4.1, without the number: it would have to be counted."""

CONTROLS: Final = frozenset(
    {
        "limit",
        "offset",
        "includefield",
        "fuzzymatching",
        "emptyvaluematching",
        "multiplevaluematching",
    }
)
ACCEPT: Final = "accept"
"""The parameter of §8.3.3.1, which content negotiation reads."""

CHARSET: Final = "charset"
"""The parameter of §8.3.3.2; results are UTF-8 whatever it names, which JSON and XML allow."""

_CHARSET_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,39}")

_UNSIGNED: Final = re.compile(r"[0-9]+")
_LONGEST_NAME: Final = 64


@dataclass
class _Parts:
    """What has been gathered from the query string so far."""

    controls: dict[str, str] = field(default_factory=dict)
    include: set[Path] = field(default_factory=set)
    include_all: bool = False
    matches: dict[Path, tuple[Attribute, str]] = field(default_factory=dict)
    creators: dict[Path, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def parse_search(
    parameters: Iterable[tuple[str, str]],
    level: Level,
    study_uid: str | None = None,
    series_uid: str | None = None,
) -> Query:
    """Return the query that a search request makes.

    Args:
        parameters: Names and values of the query string in order, percent-decoded.
        level: Level of the target's results: studies, series or instances.
        study_uid: Study in the target's path, if any.
        series_uid: Series in the target's path, if any.

    Raises:
        InvalidRequest: A value is not valid for its parameter or attribute, or one is repeated.
    """
    parts = _Parts()
    for name, value in parameters:
        _gather(parts, name.strip(), value)
    keys = _build_keys(parts, level)
    _warn_of_lost_includes(parts)
    zone = parts.matches.get((TIMEZONE_OFFSET,))
    return Query(
        level=level,
        study_uid=check_uid(study_uid, "The study in the path") if study_uid else None,
        series_uid=check_uid(series_uid, "The series in the path") if series_uid else None,
        keys=keys,
        include=frozenset(parts.include | _list_asked(parts, level)),
        include_all=parts.include_all,
        default_levels=_choose_defaults(level, study_uid, series_uid),
        limit=min(_read_unsigned(parts, "limit", MAXIMUM_RESULTS), MAXIMUM_RESULTS),
        offset=_read_unsigned(parts, "offset", 0),
        fuzzy=_read_flag(parts, "fuzzymatching"),
        offset_us=parse_query_offset(zone[1]) if zone else None,
        creators=tuple(sorted(parts.creators.items())),
        warnings=tuple(dict.fromkeys(parts.warnings)),
    )


def _choose_defaults(
    level: Level, study_uid: str | None, series_uid: str | None
) -> frozenset[Level]:
    """Return the levels whose tables are returned: the target's own and those its path leaves open.

    Source:
        PS3.18 §10.6.3.3.2, §10.6.3.3.3.
    """
    levels = {level}
    if study_uid is None:
        levels.add(Level.STUDY)
    if series_uid is None and level is Level.INSTANCE:
        levels.add(Level.SERIES)
    return frozenset(levels)


def _gather(parts: _Parts, name: str, value: str) -> None:
    if name == "includefield":
        _gather_include(parts, value)
    elif name in CONTROLS:
        if name in parts.controls:
            raise InvalidRequest(f"The parameter {name} is given more than once.")
        parts.controls[name] = value.strip()
    elif name == CHARSET:
        _check_charset(value)
    elif name != ACCEPT:
        _gather_match(parts, name, value)


def _check_charset(value: str) -> None:
    """Refuse a list of character sets that names none there is."""
    names = [member.partition(";")[0].strip() for member in value.split(",")]
    if not any(name == "*" or _is_charset(name) for name in names):
        raise InvalidRequest("The parameter charset names no known character set.")


def _is_charset(name: str) -> bool:
    if not _CHARSET_NAME.fullmatch(name):
        return False
    try:
        codecs.lookup(name)
    except LookupError:
        return False
    return True


def _gather_include(parts: _Parts, value: str) -> None:
    for name in filter(None, (part.strip() for part in value.split(","))):
        attribute = parse_attribute(name)
        if name == "all":
            parts.include_all = True
        elif attribute is None:
            parts.warnings.append(f"The includefield {_show(name)} is unknown and was ignored.")
        else:
            parts.include.add(attribute.path)


def _gather_match(parts: _Parts, name: str, value: str) -> None:
    attribute = parse_attribute(name)
    if attribute is None:
        parts.warnings.append(f"The parameter {_show(name)} is unknown and was ignored.")
        return
    if attribute.path in parts.matches:
        raise InvalidRequest(f"The attribute {attribute.name} is given more than once.")
    parts.matches[attribute.path] = (attribute, value)
    if attribute.is_private_creator and value.strip():
        parts.creators[attribute.path] = value.strip()


def _build_keys(parts: _Parts, level: Level) -> tuple[Key, ...]:
    empty_values = _read_flag(parts, "emptyvaluematching")
    multiple_values = _read_flag(parts, "multiplevaluematching")
    keys = []
    for path, (attribute, value) in sorted(parts.matches.items()):
        creators = find_creators(path, parts.creators)
        if creators is None:
            parts.warnings.append(
                f"The private attribute {attribute.name} came without its creator and was ignored."
            )
            continue
        if attribute.is_private_creator:
            creators = (*(creators[:-1] or (None,) * (len(path) - 1)), parts.creators.get(path))
        elif creators and creators[-1]:
            attribute = parse_private_vr(attribute, creators[-1])
        condition = parse_condition(
            attribute, value, empty_values=empty_values, multiple_values=multiple_values
        )
        if not isinstance(condition, Universal) and _can_match(parts, attribute, level):
            keys.append(Key(path, attribute.vr, condition, creators))
    return tuple(keys)


def _can_match(parts: _Parts, attribute: Attribute, level: Level) -> bool:
    if attribute.path in ((TIMEZONE_OFFSET,), (SPECIFIC_CHARACTER_SET,)):
        return False  # they say how to read the request
    if attribute.path[0] in COMPUTED:
        parts.warnings.append(f"{attribute.name} cannot be matched and was ignored.")
        return False
    if attribute.level > level:
        parts.warnings.append(
            f"{attribute.name} is below the {level.name.lower()} level and was ignored."
        )
        return False
    return True


def _list_asked(parts: _Parts, level: Level) -> set[Path]:
    """Return the paths of the match parameters, which are returned too, universal or not."""
    return {
        path
        for path, (attribute, _) in parts.matches.items()
        if attribute.level <= level and not attribute.is_private_creator
    }


def _warn_of_lost_includes(parts: _Parts) -> None:
    for path in sorted(parts.include):
        attribute = Attribute(path, "UN")
        if find_creators(path, parts.creators) is None:
            parts.warnings.append(
                f"The includefield {attribute.name} came without its private creator"
                " and was ignored."
            )


def _read_unsigned(parts: _Parts, name: str, default: int) -> int:
    text = parts.controls.get(name)
    if text is None:
        return default
    if not _UNSIGNED.fullmatch(text) or len(text) > 18:
        raise InvalidRequest(f"The parameter {name} is not an unsigned integer.")
    return int(text)


def _read_flag(parts: _Parts, name: str) -> bool:
    text = parts.controls.get(name, "false").lower()
    if text not in ("true", "false"):
        raise InvalidRequest(f"The parameter {name} is neither true nor false.")
    return text == "true"


def _show(name: str) -> str:
    """Return a name from the request in a form that a header field can carry."""
    return quote(name[:_LONGEST_NAME], safe=" .,-_()[]")

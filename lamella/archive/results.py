"""What of a match is returned.

A QIDO result has the attributes of PS3.18's table for its level (for a target without a study or
series also those of the levels above), the matching keys, and what `includefield` asked for. A
C-FIND response has what the identifier asked for, empty where unknown. Both have the unique keys
of their level and those above, and neither has attributes of a level below.

Source:
    PS3.18 §10.6.3.3; PS3.4 §C.4.1.1.3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from lamella.archive.levels import (
    COMPUTED,
    DEFAULTS,
    INSTANCE_AVAILABILITY,
    RETRIEVE_URL,
    SPECIFIC_CHARACTER_SET,
    TIMEZONE_OFFSET,
    UNIQUE_KEYS,
    Level,
    Path,
    level_of,
)
from lamella.archive.matching import DATE_TIME_PAIRS, Attributes, resolve_tag
from lamella.archive.query import (
    Query,
    Step,
    Universal,
    find_creators,
    is_odd,
    is_private,
    parse_attribute,
)

Shaper = Callable[[Attributes, Mapping[str, int], str | None], dict[str, Any]]
Tree = dict[Step, Any]
"""Step → None (all of the attribute) or the tree of what to keep in a sequence's items."""

ONLINE = "ONLINE"
_ANY = Universal()


def shape_result(
    attributes: Attributes,
    query: Query,
    counts: Mapping[str, int] | None = None,
    retrieve_url: str | None = None,
) -> dict[str, Any]:
    """Return the result for one match as DICOM JSON, tags ascending.

    Args:
        attributes: DICOM JSON of the match (`Row.attributes`, or an instance's document).
        query: The query that it matches.
        counts: Tag of a count (Number of Study Related Instances, …) → its value.
        retrieve_url: Absolute URL of the match, if it can be retrieved.
    """
    return build_shaper(query)(attributes, counts or {}, retrieve_url)


def list_tags(query: Query) -> frozenset[str] | None:
    """Return the top-level tags that matching and shaping look at; None if it may be any."""
    wanted, _ = _plan(query)
    steps = {key.step(0) for key in query.keys} | set(wanted)
    if query.include_all or any(creator for _, creator in steps):
        return None  # in which block they are, only the whole tells
    keyed = {key.path[0] for key in query.scope_keys()}
    for date, time in DATE_TIME_PAIRS.items():
        if date in keyed or time in keyed:
            keyed |= {date, time}
    return frozenset({*(tag for tag, _ in wanted), *keyed, TIMEZONE_OFFSET})


def strip_values(query: Query) -> Query:
    """Return what of a query decides the form of its results: the same for any value of a key."""
    keys = tuple(replace(key, condition=_ANY) for key in query.keys)
    return Query(
        level=query.level,
        keys=keys,
        include=query.include,
        include_all=query.include_all,
        with_defaults=query.with_defaults,
        default_levels=query.default_levels,
        creators=query.creators,
    )


class Part(NamedTuple):
    """One element of a result whose elements are named beforehand.

    Attributes:
        name: What stands before it in a JSON object: comma, tag, colon.
        below: What to keep of its items; None for all.
        otherwise: Its JSON where the match has no such attribute; None for no element.
    """

    name: bytes
    tag: str
    below: Tree | None
    otherwise: bytes | None


def plan_form(query: Query) -> tuple[Part, ...] | None:
    """Return the elements of a query's results, tags ascending, but for what is computed.

    Returns:
        None where a match itself decides which there are: all, or private ones.
    """
    steps, empties = _plan(query)
    wanted = {tag: below for (tag, creator), below in steps.items() if creator is None}
    if query.include_all or len(wanted) < len(steps) or not wanted.keys() >= empties.keys():
        return None
    given = empties | {INSTANCE_AVAILABILITY: _compute({}, None)[INSTANCE_AVAILABILITY]}
    return tuple(
        Part(
            *(name_element(tag), tag, wanted[tag]),
            msgspec.json.encode(given[tag]) if tag in given else None,
        )
        for tag in sorted(wanted)
    )


def name_element(tag: str) -> bytes:
    """Return what stands before an element in a JSON object that has others before it."""
    return b',"%s":' % tag.encode()


def prune_encoded(element: bytes | msgspec.Raw, below: Tree) -> bytes:
    """Return the JSON of a sequence with what is wanted of its items."""
    return msgspec.json.encode(_prune(msgspec.json.decode(element), below))


def build_shaper(query: Query) -> Shaper:
    """Return `shape_result` for one query as a function of attributes, counts and URL."""
    return _build_shaper(strip_values(query))


@lru_cache(maxsize=256)
def _build_shaper(query: Query) -> Shaper:
    steps, empties = _plan(query)
    wanted = {tag: tree for (tag, creator), tree in steps.items() if creator is None}
    private = {step: tree for step, tree in steps.items() if step[1] is not None}

    def shape(
        attributes: Attributes, counts: Mapping[str, int], retrieve_url: str | None
    ) -> dict[str, Any]:
        known = _compute(counts, retrieve_url)
        result = dict(empties)
        if query.include_all:
            result |= {tag: attributes[tag] for tag in attributes if level_of(tag) <= query.level}
        for tag, tree in wanted.items():
            element = known.get(tag) or attributes.get(tag)
            if element is not None and not (query.include_all and tag in result and tree):
                result[tag] = element if tree is None else _prune(element, tree)
        if private:
            result |= _take(attributes, private)
        return dict(sorted(result.items()))

    return shape


def _plan(query: Query) -> tuple[Tree, dict[str, Any]]:
    """Return what to take, and what to return empty where it is unknown."""
    top = min(query.level, Level.STUDY)
    paths: set[Path] = {(UNIQUE_KEYS[level],) for level in Level if top <= level <= query.level}
    if query.with_defaults:
        paths.add((SPECIFIC_CHARACTER_SET,))
    empties: dict[str, Any] = {}
    for level in query.default_levels:
        paths |= set(DEFAULTS[level])
        empties |= {path[0]: {"vr": vr} for path, vr in DEFAULTS[level].items() if vr}
    named = query.include | {key.path for key in query.keys}
    asked = {path for path in named if level_of(path[0]) <= query.level}
    if not query.with_defaults:
        empties |= {path[0]: {"vr": _vr_of(path[:1])} for path in asked if not is_odd(path[0])}
    return _grow_tree(paths | asked, dict(query.creators)), empties


def _vr_of(path: Path) -> str:
    attribute = parse_attribute(".".join(path))
    return attribute.vr if attribute else "UN"


def _grow_tree(paths: Iterable[Path], known: Mapping[Path, str]) -> Tree:
    tree: Tree = {}
    for path in sorted(paths, key=len):  # the whole of a sequence before parts of it
        creators = find_creators(path, known)
        if creators is None or (is_odd(path[-1]) and not is_private(path[-1])):
            continue  # creators come with what they stand for, and nothing private without them
        place = tree
        *above, last = zip(path, creators or (None,) * len(path), strict=True)
        for step in above:
            below = place.setdefault(step, {})
            if below is None:
                break
            place = below
        else:
            place[last] = None
    return tree


def _take(attributes: Attributes, tree: Tree) -> dict[str, Any]:
    """Return of a data set or item what is wanted, private attributes with their creators."""
    found: dict[str, Any] = {}
    for (tag, creator), below in tree.items():
        held = tag if creator is None else resolve_tag(attributes, tag, creator)
        if held is None or held not in attributes:
            continue
        if creator is not None:
            block = f"{held[:4]}00{held[4:6]}"
            found[block] = attributes[block]
        found[held] = attributes[held] if below is None else _prune(attributes[held], below)
    return found


def _compute(counts: Mapping[str, int], retrieve_url: str | None) -> dict[str, Any]:
    known: dict[str, Any] = {
        tag: {"vr": "IS", "Value": [count]} for tag, count in counts.items() if tag in COMPUTED
    }
    known[INSTANCE_AVAILABILITY] = {"vr": "CS", "Value": [ONLINE]}
    if retrieve_url is not None:
        known[RETRIEVE_URL] = {"vr": "UR", "Value": [retrieve_url]}
    return known


def _prune(element: Mapping[str, Any], tree: Tree) -> Mapping[str, Any]:
    values = element.get("Value", ())
    items = [dict(sorted(_take(item, tree).items())) for item in values if item]
    return {"vr": element["vr"], "Value": items} if items else {"vr": element["vr"]}

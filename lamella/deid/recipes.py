"""Profiles from files: our own form in TOML, and the recipes of PyPI's deid.

What a recipe says comes on top of a built-in profile, so that what it forgets is not kept. What
cannot be understood is refused, never passed over.

Source:
    https://pydicom.github.io/deid/user-docs/recipe-headers (the form of recipes).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from pydicom.datadict import DicomDictionary, keyword_for_tag, tag_for_keyword

from lamella.deid.actions import Action
from lamella.deid.plans import make_plan
from lamella.deid.profiles import BUILT_IN, Profile, SiteRule, TextPolicy
from lamella.errors import InvalidRequest

_ACTIONS = {
    "REMOVE": Action.REMOVE,
    "BLANK": Action.ZERO,
    "KEEP": Action.KEEP,
    "REPLACE": Action.DUMMY,
    "JITTER": Action.CLEAN,
}
_OURS = frozenset({"PatientIdentityRemoved", "DeidentificationMethod"})
"""What a recipe may ADD, since it is written in any case."""
_SELECTORS: dict[str, Callable[[str, str], bool]] = {
    "startswith": str.startswith,
    "endswith": str.endswith,
    "contains": lambda keyword, part: part in keyword,
}


def read_profile(name: str) -> Profile:
    """Return a built-in profile by its name, or one out of a file.

    Args:
        name: A built-in's name; else the path of a TOML file, or of a recipe of PyPI's deid.

    Raises:
        InvalidRequest: There is no such profile, or the file cannot be understood.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    path = Path(name)
    if not path.is_file():
        raise InvalidRequest(
            f"There is no profile {name!r}: it is none of {', '.join(BUILT_IN)}, and no file."
        )
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest(f"The profile {path.name!r} is not text in UTF-8.") from None
    read = read_toml if path.suffix == ".toml" else read_recipe
    profile = read(text, path.stem)
    make_plan(profile)  # says now what is wrong with its edition or its tags
    return profile


def read_toml(text: str, name: str) -> Profile:
    """Return a profile written as TOML: `extends` a built-in, then whatever differs from it.

    Raises:
        InvalidRequest: It is no TOML, or says what a profile does not have.
    """
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest(f"The profile {name!r} cannot be read: {error}.") from error
    return read_fields(fields, name)


def read_fields(fields: dict[str, Any], name: str) -> Profile:
    """Return a profile of fields as TOML or JSON has them.

    Raises:
        InvalidRequest: They say what a profile does not have.
    """
    given = dict(fields)
    try:
        base = BUILT_IN.get(str(given.pop("extends", "basic")))
        if base is None:
            raise InvalidRequest(f"The profile {name!r} extends none of {', '.join(BUILT_IN)}.")
        rules = [rule for entry in given.pop("rules", []) for rule in _read_entry(entry)]
        pixels = {**msgspec.to_builtins(base.pixels), **given.pop("pixels", {})}
        merged = {**msgspec.to_builtins(base), "name": name, **given, "pixels": pixels}
        merged["rules"] = msgspec.to_builtins([*base.rules, *rules])
        profile = msgspec.convert(merged, Profile)
    except (msgspec.ValidationError, TypeError, ValueError, AttributeError) as error:
        raise InvalidRequest(f"The profile {name!r} cannot be read: {error}.") from error
    make_plan(profile)  # says now what is wrong with its edition or its tags
    return profile


def _read_entry(entry: dict[str, Any]) -> Iterator[SiteRule]:
    fields = dict(entry)
    field = str(fields.pop("tag", ""))
    if fields.get("creator"):
        yield msgspec.convert({"tag": field.replace(",", "").lower(), **fields}, SiteRule)
        return
    for tag in _find_tags(field):
        yield msgspec.convert({"tag": tag, **fields}, SiteRule)


def read_recipe(text: str, name: str) -> Profile:
    """Return a profile of a recipe of PyPI's deid, on top of the Basic Profile.

    Its `%header` lines become site rules. Its `%filter` sections tell images with burned-in text
    by their headers; in their place, all text is taken out of all pixels.

    Raises:
        InvalidRequest: A line cannot be understood.
    """
    rules: list[SiteRule] = []
    section = ""
    pixels = BUILT_IN["basic"].pixels
    for line in (line.split("#", 1)[0].strip() for line in text.splitlines()):
        if not line or line.upper().startswith("FORMAT"):
            continue
        if line.startswith("%"):
            section = line.split()[0]
            if section == "%filter":
                pixels = msgspec.structs.replace(pixels, text=TextPolicy.ALL)
            elif section not in ("%header", "%labels"):
                raise InvalidRequest(f"The recipe {name!r} has a section {section!r}.")
        elif section == "%header":
            rules += _read_line(line, name)
    dates = any(rule.action is Action.CLEAN for rule in rules)
    options = ("retain_longitudinal_modified_dates",) if dates else ()
    return Profile(name=name, rules=tuple(rules), options=options, pixels=pixels)


def _read_line(line: str, name: str) -> Iterable[SiteRule]:
    parts = line.split(maxsplit=2)
    action = _ACTIONS.get(parts[0].upper())
    if parts[0].upper() == "ADD" and len(parts) == 3 and parts[1] in _OURS:
        return ()
    if action is None or len(parts) < 2:
        raise InvalidRequest(f"The recipe {name!r} has a line {line!r}, which is not understood.")
    value = parts[2] if action is Action.DUMMY and len(parts) == 3 else ""
    if value.startswith(("var:", "func:", "deid_func:")):
        value = ""  # what a caller's own code would put there: here the profile's dummy
    return [
        SiteRule(tag=tag, action=_fit(action, tag, value), value=value)
        for tag in _find_tags(parts[1])
    ]


def _fit(action: Action, tag: str, value: str) -> Action:
    """Replace a UID by a UID: no other value is valid there."""
    vr = DicomDictionary[int(tag, 16)][0] if int(tag, 16) in DicomDictionary else ""
    return Action.UID if action is Action.DUMMY and vr == "UI" and not value else action


def _find_tags(field: str) -> list[str]:
    """Return the tags that a field names: a keyword, a tag, or all keywords that fit."""
    selector, _, part = field.partition(":")
    if field == "ALL":
        return [f"{tag:08x}" for tag in DicomDictionary]
    if part and selector in _SELECTORS:
        fits = _SELECTORS[selector]
        return [f"{tag:08x}" for tag in DicomDictionary if fits(keyword_for_tag(tag), part)]
    tag = tag_for_keyword(field)
    if tag is not None:
        return [f"{tag:08x}"]
    digits = field.strip("()").replace(",", "").lower()
    if len(digits) == 8 and all(digit in "0123456789abcdefx" for digit in digits):
        return [digits]
    raise InvalidRequest(f"{field!r} names no attribute.")

"""A profile made ready: what is looked up for each attribute, worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from lamella.deid.actions import Action
from lamella.deid.profiles import Profile, SiteRule
from lamella.deid.tables import Rule, read_safe_private, read_table
from lamella.errors import InvalidRequest

_GRAPHIC_GROUPS = frozenset((*range(0x5000, 0x5100), *range(0x6000, 0x6100)))
"""Curves and overlays: all of whose rows in Table E.1-1 are X, or C."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a profile wants.

    Attributes:
        profile: Whose plan this is.
        options: Of the profile.
        actions: By tag, maybe compound.
        site: Site rules for one attribute each, by tag.
        site_patterns: Site rules with `x` in their tags, the last first.
        site_private: Site rules for private attributes, by creator, group and low byte.
        content_items: By code value, scheme and value type.
        coded_items: The same by code value and scheme alone, for value types not foreseen.
        safe_private: What stays of private attributes; empty if none does.
        kept_creators: Of whose blocks something may stay.
    """

    profile: Profile
    options: frozenset[str]
    actions: Mapping[int, str]
    site: Mapping[int, SiteRule]
    site_patterns: tuple[SiteRule, ...]
    site_private: Mapping[tuple[str, int, int], SiteRule]
    content_items: Mapping[tuple[str, str, str], str]
    coded_items: Mapping[tuple[str, str], str]
    safe_private: frozenset[tuple[str, int, int]]
    kept_creators: frozenset[str]

    def find_site_rule(self, tag: int) -> SiteRule | None:
        """Return the site's rule for a standard attribute."""
        rule = self.site.get(tag)
        if rule is None and self.site_patterns:
            digits = f"{tag:08x}"
            return next((one for one in self.site_patterns if _fits(one.tag, digits)), None)
        return rule

    def find_item_action(self, code: str, scheme: str, value_type: str) -> str | None:
        """Return what Table E.3.4-1 wants of a content item; None if it does not know it."""
        exact = self.content_items.get((code, scheme, value_type))
        return exact or self.coded_items.get((code, scheme))

    def keeps_private(self, creator: str, group: int, element: int) -> bool:
        """Tell whether something stays of a private attribute, by the low byte of its element."""
        key = (creator, group, element)
        rule = self.site_private.get(key)
        return rule.action is not Action.REMOVE if rule else key in self.safe_private

    def find_action(self, tag: int) -> str | None:
        """Return the table's action, maybe compound; None if the table says nothing."""
        if tag >> 16 in _GRAPHIC_GROUPS:
            # graphics made of bits can be cleaned by removal only; what is left of such a group
            # without its bits would be no overlay
            return "X"
        return self.actions.get(tag)


@lru_cache(maxsize=16)
def make_plan(profile: Profile) -> Plan:
    """Return a profile's plan.

    Raises:
        InvalidRequest: The profile names an edition or a tag that there is not.
    """
    table = read_table(profile.edition)
    options = frozenset(profile.options)
    standard = [rule for rule in profile.rules if not rule.creator]
    site_private = {_read_private(rule): rule for rule in profile.rules if rule.creator}
    safe = read_safe_private() if "retain_safe_private" in options else frozenset()
    items = {item: _choose_item(rule, options) for item, rule in table.content_items.items()}
    return Plan(
        profile=profile,
        options=options,
        actions={tag: rule.choose(options) for tag, rule in table.attributes.items()},
        site={_read_tag(rule): rule for rule in standard if "x" not in rule.tag.lower()},
        site_patterns=tuple(rule for rule in reversed(standard) if "x" in rule.tag.lower()),
        site_private=site_private,
        content_items=items,
        coded_items={(code, scheme): action for (code, scheme, _), action in items.items()},
        safe_private=safe,
        kept_creators=frozenset(creator for creator, _, _ in (*safe, *site_private)),
    )


def _choose_item(rule: Rule, options: frozenset[str]) -> str:
    """Return a content item's action; an X that a template forbids is a D: D is right for both."""
    action = rule.choose(options)
    return "D" if action == "X/D" else action


def _fits(pattern: str, digits: str) -> bool:
    return all(
        wanted in ("x", digit) for wanted, digit in zip(pattern.lower(), digits, strict=True)
    )


def _read_tag(rule: SiteRule) -> int:
    try:
        return int(rule.tag, 16)
    except ValueError:
        raise InvalidRequest(f"A site rule's tag {rule.tag!r} is not 8 hex digits.") from None


def _read_private(rule: SiteRule) -> tuple[str, int, int]:
    try:
        return rule.creator, int(rule.tag[:4], 16), int(rule.tag[6:], 16)
    except ValueError:
        raise InvalidRequest(
            f"A site rule's private tag {rule.tag!r} is not of the form ggggxxee."
        ) from None

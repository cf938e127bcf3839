"""The tables of PS3.15 Annex E as data, and what they say under a set of options.

Source:
    PS3.15 Table E.1-1 (attributes), Table E.3.4-1 (content items), Table E.3.10-1 (safe private
    attributes); where the data come from: `data/README.md`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from lamella.errors import InvalidRequest

EDITIONS = ("2026d",)
_DATA = resources.files("lamella.deid") / "data"
_OPTIONAL = ("C", "K")
"""The two actions that options ask for, the stricter first: it wins where two options meet."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row.

    Attributes:
        basic: The Basic Profile's action, which may be compound (`X/Z/D`).
        options: What each option that has a say wants instead: `K` or `C`.
    """

    basic: str
    options: Mapping[str, str]

    def choose(self, options: frozenset[str]) -> str:
        """Return the action under these options: cleaning wins over keeping."""
        wanted = {action for option, action in self.options.items() if option in options}
        return next((action for action in _OPTIONAL if action in wanted), self.basic)


@dataclass(frozen=True, slots=True)
class Table:
    """One edition.

    Attributes:
        attributes: By tag, as a number.
        curve_data, overlay_data, overlay_comments, private: Of whole groups.
        content_items: By code value, scheme and value type.
        digest: SHA-256 of the file it was read from, in hex.
    """

    attributes: Mapping[int, Rule]
    curve_data: Rule
    overlay_data: Rule
    overlay_comments: Rule
    private: Rule
    content_items: Mapping[tuple[str, str, str], Rule]
    digest: str


def read_data(name: str) -> Any:
    """Return one JSON file of this room's data."""
    return json.loads((_DATA / name).read_text("utf-8"))


@lru_cache(maxsize=len(EDITIONS))
def read_table(edition: str) -> Table:
    """Return an edition's table.

    Raises:
        InvalidRequest: There is no such edition here.
    """
    if edition not in EDITIONS:
        raise InvalidRequest(
            f"There is no table of edition {edition!r}; there is {', '.join(EDITIONS)}."
        )
    content = (_DATA / f"ps315_{edition}.json").read_bytes()
    table = json.loads(content)
    rules = {row["tag"]: Rule(row["basic"], row["options"]) for row in table["rules"]}
    groups = {tag: rules.pop(tag) for tag in ("50xxxxxx", "60xx3000", "60xx4000", "PRIVATE")}
    return Table(
        attributes={int(tag, 16): rule for tag, rule in rules.items()},
        curve_data=groups["50xxxxxx"],
        overlay_data=groups["60xx3000"],
        overlay_comments=groups["60xx4000"],
        private=groups["PRIVATE"],
        content_items={
            (row["code"], row["scheme"], row["value_type"]): Rule(row["basic"], row["options"])
            for row in table["content_items"]
        },
        digest=hashlib.sha256(content).hexdigest(),
    )


@lru_cache(maxsize=1)
def read_safe_private() -> frozenset[tuple[str, int, int]]:
    """Return private attributes that tell nothing: creator, group, low byte of the element."""
    creators = read_data("safe_private.json")["creators"]
    return frozenset(
        (creator, int(group, 16), int(element, 16))
        for creator, groups in creators.items()
        for group, elements in groups.items()
        for element in elements.split()
    )

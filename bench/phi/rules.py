"""Table E.1-1 and Table E.3.4-1 as data, and what they say under a set of options."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

PROFILES = {
    "basic": frozenset[str](),
    "research": frozenset(
        {
            "clean_descriptors",
            "clean_structured_content",
            "retain_device_identity",
            "retain_longitudinal_modified_dates",
            "retain_patient_characteristics",
            "retain_safe_private",
        }
    ),
}


@dataclass(frozen=True)
class Rule:
    """What a table says of a tag or concept, under the options chosen.

    Attributes:
        code: X, Z, D, C, U, K or a compound; of several options that apply, C before K.
    """

    key: str
    name: str
    code: str
    value_type: str = ""


@cache
def read_rules(profile: str) -> dict[str, Rule]:
    """Return the rules of Table E.1-1 by tag, 8 hex digits; repeating groups and PRIVATE aside."""
    rules = _read()["rules"]
    return {
        rule["tag"]: Rule(rule["tag"], rule["name"], _resolve(rule, profile))
        for rule in rules
        if "x" not in rule["tag"] and rule["tag"] != "PRIVATE"
    }


@cache
def read_concepts(profile: str) -> list[Rule]:
    """Return the rules of Table E.3.4-1; the key is code and scheme."""
    return [
        Rule(
            f"{item['code']},{item['scheme']}",
            item["meaning"],
            _resolve(item, profile),
            item["value_type"],
        )
        for item in _read()["content_items"]
    ]


def _resolve(rule: dict[str, Any], profile: str) -> str:
    codes = {code for option, code in rule["options"].items() if option in PROFILES[profile]}
    return "C" if "C" in codes else "K" if "K" in codes else str(rule["basic"])


@cache
def _read() -> dict[str, Any]:
    path = files("lamella.deid") / "data" / "ps315_2026d.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))

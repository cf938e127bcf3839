"""Blocks of private attributes by their creators.

Source:
    PS3.5 §7.8.1; PS3.15 §E.3.10.
"""

from __future__ import annotations

from pydicom import Dataset

from lamella.deid.lenient import UNREADABLE
from lamella.deid.plans import Plan


def find_creators(attributes: Dataset, plan: Plan) -> dict[int, str]:
    """Return the creators of blocks of which something stays, by the tag of the creator element.

    Empty where the plan keeps nothing private, which costs nothing then.
    """
    if not plan.kept_creators:
        return {}
    present = set(attributes.keys())
    found = {}
    for tag in present:
        if tag.is_private_creator:
            creator = _read_creator(attributes, tag)
            if creator in plan.kept_creators and _keeps_any(present, tag, creator, plan):
                found[int(tag)] = creator
    return found


def _read_creator(attributes: Dataset, tag: int) -> str:
    try:
        return str(attributes[tag].value or "").strip(" \0")
    except UNREADABLE:
        return ""


def _keeps_any(present: set[int], creator_tag: int, creator: str, plan: Plan) -> bool:
    group, block = creator_tag >> 16, creator_tag & 0xFF
    return any(
        tag >> 16 == group
        and (tag >> 8) & 0xFF == block
        and plan.keeps_private(creator, group, tag & 0xFF)
        for tag in present
    )

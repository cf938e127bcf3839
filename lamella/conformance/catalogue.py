"""All checks, in the order in which they run, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from lamella.conformance.check import Check, Group
from lamella.conformance.checks import (
    capabilities,
    deleting,
    frames,
    http,
    instances,
    json_values,
    metadata,
    refusals,
    rendered,
    search_matching,
    search_negotiation,
    search_paging,
    search_resources,
    storing,
    uri_service,
)

GROUPS: tuple[Group, ...] = (
    capabilities.GROUP,
    search_resources.GROUP,
    search_matching.GROUP,
    search_paging.GROUP,
    search_paging.INCLUDE,
    search_negotiation.GROUP,
    metadata.GROUP,
    json_values.GROUP,
    instances.GROUP,
    frames.GROUP,
    frames.BULK,
    rendered.GROUP,
    rendered.THUMBNAIL,
    storing.GROUP,
    refusals.GROUP,
    deleting.GROUP,
    http.GROUP,
    http.CORS,
    uri_service.GROUP,
)


def list_checks(patterns: Sequence[str] = ()) -> list[Check]:
    """Return the checks whose id, group or level fits one of some patterns; all if there are none.

    Args:
        patterns: With `*` and `?`, as `match`, `shall`, `*/unknown*`.
    """
    every = [check for group in GROUPS for check in group.checks]
    return [check for check in every if not patterns or _fits(check, patterns)]


def _fits(check: Check, patterns: Sequence[str]) -> bool:
    names = (check.id, check.group, str(check.level))
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)

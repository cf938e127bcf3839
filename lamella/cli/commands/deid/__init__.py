"""`deid SRC DST` and what belongs to it: keys, review, rules, reports, scores.

`deid SRC DST` is short for `deid run SRC DST`.
"""

from __future__ import annotations

from lamella.cli.commands.deid import keys, reporting, reviewing, ruling, running, scoring
from lamella.cli.flags import Family

_GROUPS = (running, reporting, reviewing, ruling, keys, scoring)


def add_commands(family: Family) -> None:
    """Add the family of commands about de-identification."""
    what = "SRC DST|review|rule|…"
    deid = family.add_family("deid", "de-identify, and what belongs to it", what, default="run")
    for group in _GROUPS:
        group.add_commands(deid)

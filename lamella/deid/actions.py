"""What may be done to an attribute.

Source:
    PS3.15 Table E.1-1a (action codes).
"""

from __future__ import annotations

import enum


class Action(enum.StrEnum):
    """An action without alternatives. Compound ones are resolved by `attribute_types`."""

    DUMMY = "D"
    ZERO = "Z"
    REMOVE = "X"
    KEEP = "K"
    CLEAN = "C"
    UID = "U"

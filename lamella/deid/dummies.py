"""Values that stand where one must be, valid for their VR.

Source:
    PS3.5 §6.2 (value representations); PS3.15 Table E.1-1a (D).
"""

from __future__ import annotations

from typing import Any

from lamella.deid.temporal import DUMMIES as DATES

REMOVED = "REMOVED"
"""Fits every text VR, and is a valid CS and AE."""

_BY_VR: dict[str, Any] = {
    **DATES,
    "AS": "000D",
    "AT": 0,
    "DS": "0",
    "FD": 0.0,
    "FL": 0.0,
    "IS": "0",
    "SL": 0,
    "SS": 0,
    "SV": 0,
    "UL": 0,
    "UR": "urn:removed",
    "US": 0,
    "UV": 0,
}
_OPAQUE = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})


def make_dummy(vr: str) -> Any:
    """Return a value that tells nothing and is valid. Not for SQ and UI, which have their own."""
    return bytes(8) if vr in _OPAQUE else _BY_VR.get(vr, REMOVED)

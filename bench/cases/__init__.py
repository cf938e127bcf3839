"""All cases, in the order they are measured: those that store come last."""

from __future__ import annotations

from bench.cases import dimse, dimse_get, frames, metadata, rendered, search, store
from bench.measure import Case

CASES: tuple[Case, ...] = (
    *search.CASES,
    *metadata.CASES,
    *frames.CASES,
    *rendered.CASES,
    *dimse_get.CASES,
    *store.CASES,
    *dimse.CASES,
)
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(case.group for case in CASES))
NEEDS: dict[str, tuple[str, ...]] = {
    "search": ("tiny", "series"),
    "metadata": ("tiny", "series"),
    "frames": ("series", "multiframe"),
    "rendered": ("series",),
    "retrieve": ("series",),
    "store": ("tiny",),
    "dimse": ("tiny",),
}

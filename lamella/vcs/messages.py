"""Messages of commits that describe themselves."""

from __future__ import annotations

from collections.abc import Sequence

from lamella.vcs.judgement import Verdict

_VERBS: dict[Verdict, str] = {
    Verdict.STORED: "Store",
    Verdict.VERSION: "Change",
    Verdict.DELETED: "Delete",
}


def describe_changes(verdicts: Sequence[Verdict], n_rejected: int) -> str:
    """Return a sentence such as `Store 1 instance, Reject 2 instances`."""
    counts = {verb: verdicts.count(verdict) for verdict, verb in _VERBS.items()}
    counts["Reject"] = n_rejected
    parts = [
        f"{verb} {count} instance{'s' if count > 1 else ''}"
        for verb, count in counts.items()
        if count
    ]
    return ", ".join(parts)

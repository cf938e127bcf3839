"""Scores as tables, JSON and CSV; without values, so they may be shown."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import TextIO

from lamella.deid.scoring.scorer import Score, Tally


def describe(score: Score) -> dict[str, object]:
    """Return a score as JSON has it."""
    return {
        "share": score.overall.share,
        "passed": score.overall.passed,
        "checks": score.overall.total,
        "instances": score.instances,
        "missing": score.missing,
        "missing_share": score.missing_share,
        "unexpected": score.unexpected,
        "actions": _describe_tallies(score.actions),
        "categories": _describe_tallies(score.categories),
        "over_redaction": _describe_tallies(score.over_redaction),
        "reasons": dict(score.reasons.most_common()),
    }


def list_rows(score: Score) -> list[tuple[str, str, int, int, float]]:
    """Return (part, name, passed, of, share) of everything that was counted."""
    rows = [("all", "", score.overall.passed, score.overall.total, score.overall.share)]
    parts = (
        ("action", score.actions),
        ("category", score.categories),
        ("over-redaction", score.over_redaction),
    )
    for part, tallies in parts:
        rows.extend(
            (part, name, tally.passed, tally.total, tally.share)
            for name, tally in sorted(tallies.items())
        )
    return rows


def write_csv(score: Score, stream: TextIO) -> None:
    """Write what was counted, a line each."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["part", "name", "passed", "checks", "share"])
    writer.writerows((*row[:4], f"{row[4]:.6f}") for row in list_rows(score))


def write_failures(score: Score, stream: TextIO) -> None:
    """Write the checks that failed, a line each: where and why, no values."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["answer", "instance", "modality", "path", "action", "category", "why"])
    writer.writerows(
        (one.number, one.sop_uid, one.modality, one.path, one.action, one.category, one.why)
        for one in score.failures
    )


def _describe_tallies(tallies: Mapping[str, Tally]) -> dict[str, dict[str, float]]:
    return {
        name: {"share": tally.share, "passed": tally.passed, "checks": tally.total}
        for name, tally in sorted(tallies.items())
    }

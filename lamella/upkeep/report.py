"""What fsck found: findings by kind, and the report that gathers them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MAX_FINDINGS = 10_000
"""Findings kept in full; of more only the number is. A lost disk has as many as instances."""

Progress = Callable[[str, int], None]
"""Told the name of a check and how many objects it has looked at so far."""


class Kind(StrEnum):
    """What is wrong with an object."""

    PACK_MISSING = "pack-missing"
    PACK_SIZE = "pack-size"
    PACK_UNKNOWN = "pack-unknown"
    LOCATION_WRONG = "location-wrong"
    BYTES_DAMAGED = "bytes-damaged"
    INSTANCE_LOST = "instance-lost"
    INSTANCE_ALTERED = "instance-altered"
    INSTANCE_MISSING = "instance-missing"
    DERIVED_MISSING = "derived-missing"
    DERIVED_ALTERED = "derived-altered"
    COMMIT_MISSING = "commit-missing"
    COMMIT_DAMAGED = "commit-damaged"
    COMMIT_ROW_ALTERED = "commit-row-altered"
    NODE_MISSING = "node-missing"
    NODE_DAMAGED = "node-damaged"
    TREE_WRONG = "tree-wrong"
    REF_DANGLING = "ref-dangling"
    REFLOG_WRONG = "reflog-wrong"
    CATALOG_ROW_ALTERED = "catalog-row-altered"
    CATALOG_ROW_MISSING = "catalog-row-missing"
    CATALOG_COUNTER = "catalog-counter"
    VISIBLE_SET_ALTERED = "visible-set-altered"
    INDEX_COUNT = "index-count"
    INDEX_ENTRY_MISSING = "index-entry-missing"
    INDEX_ENTRY_WRONG = "index-entry-wrong"
    STAGED_STRAY = "staged-stray"
    CONFLICT_STRAY = "conflict-stray"
    HIDDEN_WRONG = "hidden-wrong"
    MASK_WRONG = "mask-wrong"
    CONTINUED = "continued"


NOTES = frozenset({Kind.PACK_UNKNOWN, Kind.CONTINUED})
"""Worth saying, but nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that fsck has to say.

    Attributes:
        kind: What is wrong.
        name: Which object: a pack's name, a UID, a digest, a commit id, `dataset@branch`.
        sentence: The same for a person; UIDs and names, never patient values.
        repaired: Whether it was mended in this run.
    """

    kind: Kind
    name: str
    sentence: str
    repaired: bool = False

    @property
    def is_problem(self) -> bool:
        """Whether something is wrong now: not a mere note, and not mended."""
        return self.kind not in NOTES and not self.repaired

    def to_json(self) -> dict[str, Any]:
        """Return the finding as `--json` shows it."""
        return {
            "kind": str(self.kind),
            "object": self.name,
            "sentence": self.sentence,
            "problem": self.is_problem,
            "repaired": self.repaired,
        }


@dataclass(slots=True)
class Report:
    """The outcome of one run.

    Attributes:
        findings: In the order they were found, at most `MAX_FINDINGS`.
        checked: How many objects each check looked at.
        omitted: How many findings of each kind did not fit.
        omitted_problems: How many of those are problems.
    """

    findings: list[Finding] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)
    omitted: Counter[str] = field(default_factory=Counter)
    omitted_problems: int = 0
    _kept_problems: int = 0

    @property
    def problems(self) -> list[Finding]:
        """What is wrong now. Never empty while anything is wrong."""
        return [finding for finding in self.findings if finding.is_problem]

    @property
    def repaired(self) -> list[Finding]:
        """What was wrong and has been mended."""
        return [finding for finding in self.findings if finding.repaired]

    @property
    def notes(self) -> list[Finding]:
        """What is worth knowing."""
        return [finding for finding in self.findings if finding.kind in NOTES]

    def add(self, kind: Kind, name: str, sentence: str, *, repaired: bool = False) -> None:
        """Take a finding; a problem is kept in full as long as there are not too many."""
        finding = Finding(kind, name, sentence, repaired)
        first_problem = finding.is_problem and not self._kept_problems
        if len(self.findings) < MAX_FINDINGS or first_problem:
            self.findings.append(finding)
            self._kept_problems += finding.is_problem
            return
        self.omitted[kind] += 1
        self.omitted_problems += finding.is_problem

    def to_json(self) -> dict[str, Any]:
        """Return the report as `--json` shows it."""
        return {
            "problems": len(self.problems) + self.omitted_problems,
            "repaired": len(self.repaired),
            "findings": [finding.to_json() for finding in self.findings],
            "omitted": dict(sorted(self.omitted.items())),
            "checked": dict(sorted(self.checked.items())),
        }

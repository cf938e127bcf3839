"""What became of each file of an import."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FileOutcome(StrEnum):
    """What became of one file; a new version of a known instance is stored, too."""

    STORED = "stored"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    REFUSED = "refused"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class FileResult:
    """One file's outcome, with a reason unless it was simply stored or there already."""

    path: str
    outcome: FileOutcome
    reason: str = ""

    def describe(self) -> dict[str, str | None]:
        """Return the result as `--json` shows it."""
        return {"path": self.path, "outcome": str(self.outcome), "reason": self.reason or None}


@dataclass(slots=True)
class Tally:
    """The sum of an import.

    Attributes:
        commit_id: The newest commit that holds the result, 64 hex digits.
    """

    commit_id: str
    stored: int = 0
    unchanged: int = 0
    conflicts: int = 0
    refused: int = 0
    ignored: int = 0

    def count(self, outcome: FileOutcome) -> None:
        """Count one file."""
        name = "conflicts" if outcome is FileOutcome.CONFLICT else str(outcome)
        setattr(self, name, getattr(self, name) + 1)

    @property
    def has_problems(self) -> bool:
        """Whether some DICOM was not taken."""
        return bool(self.conflicts or self.refused)

    def __str__(self) -> str:
        return (
            f"stored={self.stored} unchanged={self.unchanged} conflicts={self.conflicts} "
            f"refused={self.refused} ignored={self.ignored} commit={self.commit_id}"
        )

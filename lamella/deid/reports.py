"""What a run did, counted as it goes along; nothing of it tells of a patient."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import lamella
from lamella.deid.made import MadeInstance
from lamella.deid.results import Verdict


@dataclass(slots=True)
class RunReport:
    """What a run did.

    Attributes:
        source: Commit that was read, 64 hex digits.
        profile: Its name.
        digest: Of the profile.
        key: Id of the project key.
        engines: Their names, by what they read.
        commit: Commit that holds the result, 64 hex digits.
        is_new: Whether this run made that commit.
        made: How many instances this run de-identified; the others were there already.
        removed: Instances that left the branch.
        released: Instances that the branch holds now.
        boxes: Rectangles that were blacked.
        verdicts: How many of the source's instances have which.
        reasons: How many instances were held back for what.
        decisions: How many of these a person accepted, redacted or rejected.
        changes: How often what was done to which attribute: (path, action).
    """

    source: str
    profile: str
    digest: str
    key: str
    engines: dict[str, str]
    commit: str = ""
    is_new: bool = False
    made: int = 0
    removed: int = 0
    released: int = 0
    boxes: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def held(self) -> int:
        """Instances of the source that the branch does not hold."""
        return self.verdicts.total() - self.released

    def count(self, one: MadeInstance) -> None:
        """Count what became of one instance of the source."""
        self.verdicts[str(one.verdict)] += 1
        self.reasons.update(one.told.reasons)
        if one.decision:
            self.decisions[one.decision] += 1
        self.boxes += one.told.boxes
        for path, action, count in one.told.changes:
            self.changes[path, action] += count

    def describe(self) -> dict[str, Any]:
        """Return the report as `--json` and the API show it."""
        return {
            "source": self.source,
            "commit": self.commit,
            "created": self.is_new,
            "profile": {"name": self.profile, "digest": self.digest},
            "key": self.key,
            "engines": self.engines,
            "version": lamella.__version__,
            "instances": self.verdicts.total(),
            "made": self.made,
            "released": self.released,
            "removed": self.removed,
            "verdicts": {str(one): self.verdicts[one] for one in Verdict},
            "reasons": dict(sorted(self.reasons.items())),
            "decisions": dict(sorted(self.decisions.items())),
            "boxes": self.boxes,
            "attributes": [
                {"path": path, "action": action, "count": count}
                for (path, action), count in sorted(self.changes.items())
            ],
        }

    def __str__(self) -> str:
        verdicts = " ".join(f"{one.lower()}={self.verdicts[one]}" for one in Verdict)
        return f"made={self.made} {verdicts} removed={self.removed} commit={self.commit}"

"""What a store came to, as the data set that STOW-RS answers with.

Source:
    PS3.18 §10.5.3 (statuses), Annex I.1 and Table I.2-2 (failure reasons).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lamella.vcs.commits import Outcome
from lamella.vcs.judgement import Verdict

INSTANCE_CONFLICT = 0x0111


@dataclass(frozen=True, slots=True)
class Failure:
    """An instance that was not stored; UIDs are '' where the part was no readable instance."""

    sop_class_uid: str
    sop_uid: str
    reason: int


@dataclass(slots=True)
class StoreResult:
    """The outcomes of one request."""

    stored: list[Outcome] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Sort in what the commit made of one instance."""
        if outcome.judgement.verdict is Verdict.CONFLICT:
            failure = Failure(outcome.sop_class_uid, outcome.sop_uid, INSTANCE_CONFLICT)
            self.failures.append(failure)
        else:
            self.stored.append(outcome)

    @property
    def status(self) -> int:
        """200 all stored, 202 some failed, 409 none stored."""
        if not self.failures:
            return 200
        return 202 if self.stored else 409

    def to_dicom_json(self, locate: Callable[..., str]) -> dict[str, Any]:
        """Return the response data set; `locate` turns path segments into an absolute URL."""
        known = [failure for failure in self.failures if failure.sop_uid]
        other = [failure for failure in self.failures if not failure.sop_uid]
        result: dict[str, Any] = {}
        studies = {outcome.study_uid for outcome in self.stored}
        if len(studies) == 1:
            result["00081190"] = _element("UR", locate("studies", *studies))
        if known:
            result["00081198"] = {"vr": "SQ", "Value": [_describe(item) for item in known]}
        if self.stored:
            items = [_refer(outcome, locate) for outcome in self.stored]
            result["00081199"] = {"vr": "SQ", "Value": items}
        if other:
            items = [{"00081197": _element("US", failure.reason)} for failure in other]
            result["0008119A"] = {"vr": "SQ", "Value": items}
        return result


def _refer(outcome: Outcome, locate: Callable[..., str]) -> dict[str, Any]:
    url = locate(
        "studies", outcome.study_uid, "series", outcome.series_uid, "instances", outcome.sop_uid
    )
    return {
        "00081150": _element("UI", outcome.sop_class_uid),
        "00081155": _element("UI", outcome.sop_uid),
        "00081190": _element("UR", url),
    }


def _describe(failure: Failure) -> dict[str, Any]:
    return {
        "00081150": _element("UI", failure.sop_class_uid),
        "00081155": _element("UI", failure.sop_uid),
        "00081197": _element("US", failure.reason),
    }


def _element(vr: str, value: str | int) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]} if value != "" else {"vr": vr}

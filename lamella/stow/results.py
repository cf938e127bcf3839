"""What a store came to, as the data set that STOW-RS answers with.

Source:
    PS3.18 §10.5.3 (statuses), Annex I.1, Tables I.2-1 (warnings) and I.2-2 (failure reasons).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lamella.errors import InvalidInstance, LamellaError
from lamella.vcs.coercion import describe_coercion
from lamella.vcs.commits import Outcome
from lamella.vcs.judgement import Verdict

INSTANCE_CONFLICT = 0x0111
COERCED, ELEMENTS_DISCARDED = 0xB000, 0xB006
LONGEST_COMMENT = 64  # LO


@dataclass(frozen=True, slots=True)
class Failure:
    """An instance that was not stored; UIDs are '' where the part was no readable instance.

    Attributes:
        reason: Failure Reason.
        comment: One sentence, without patient values.
    """

    sop_class_uid: str
    sop_uid: str
    reason: int
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """An instance that was stored.

    Attributes:
        warning: Warning Reason; 0 for none.
        comment: One sentence on it, without patient values.
    """

    outcome: Outcome
    warning: int
    comment: str


@dataclass(slots=True)
class StoreResult:
    """The outcomes of one request."""

    stored: list[Stored] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def add(self, outcome: Outcome, warning: int = 0, coerced: Sequence[str] = ()) -> None:
        """Sort in what the commit made of one instance.

        Args:
            outcome: What it made.
            warning: What to warn of if it was stored; 0 for nothing.
            coerced: Attributes that were changed on the way in, which is worth a warning, too.
        """
        if outcome.judgement.verdict is Verdict.CONFLICT:
            names, comment = (outcome.sop_class_uid, outcome.sop_uid), outcome.judgement.reason
            self.failures.append(Failure(*names, INSTANCE_CONFLICT, comment))
        else:
            comment = describe_coercion(coerced)
            self.stored.append(Stored(outcome, COERCED if coerced else warning, comment))

    def refuse(self, error: LamellaError, sop_class_uid: str = "", sop_uid: str = "") -> None:
        """Note an instance that is not stored."""
        failure = Failure(sop_class_uid, sop_uid, error.dimse_status, error.detail)
        self.failures.append(failure)

    def refuse_unknown(self, detail: str) -> None:
        """Note a part that is no instance."""
        self.refuse(InvalidInstance(detail))

    @property
    def status(self) -> int:
        """200 all stored, 202 some failed or with a warning, 409 none stored."""
        if not self.failures and not any(one.warning for one in self.stored):
            return 200
        return 202 if self.stored else 409

    def to_dicom_json(self, locate: Callable[..., str]) -> dict[str, Any]:
        """Return the response data set; `locate` turns path segments into an absolute URL."""
        known = [failure for failure in self.failures if failure.sop_uid]
        other = [failure for failure in self.failures if not failure.sop_uid]
        result: dict[str, Any] = {}
        studies = {one.outcome.study_uid for one in self.stored}
        if len(studies) == 1:
            result["00081190"] = _element("UR", locate("studies", *studies))
        if known:
            result["00081198"] = {"vr": "SQ", "Value": [_describe(item) for item in known]}
        if self.stored:
            items = [_refer(one, locate) for one in self.stored]
            result["00081199"] = {"vr": "SQ", "Value": items}
        if other:
            result["0008119A"] = {"vr": "SQ", "Value": [_explain(item) for item in other]}
        return result


def _refer(stored: Stored, locate: Callable[..., str]) -> dict[str, Any]:
    outcome = stored.outcome
    url = locate(
        "studies", outcome.study_uid, "series", outcome.series_uid, "instances", outcome.sop_uid
    )
    item = {
        "00081150": _element("UI", outcome.sop_class_uid),
        "00081155": _element("UI", outcome.sop_uid),
        "00081190": _element("UR", url),
    }
    if stored.warning:
        item["00081196"] = _element("US", stored.warning)
    if stored.comment:
        item["00000902"] = _element("LO", stored.comment[:LONGEST_COMMENT])
    return dict(sorted(item.items()))


def _describe(failure: Failure) -> dict[str, Any]:
    names = {
        "00081150": _element("UI", failure.sop_class_uid),
        "00081155": _element("UI", failure.sop_uid),
    }
    return dict(sorted((_explain(failure) | names).items()))


def _explain(failure: Failure) -> dict[str, Any]:
    """Return the reason, with a comment as C-STORE has it (PS3.7 Annex C)."""
    item = {"00081197": _element("US", failure.reason)}
    if failure.comment:
        item["00000902"] = _element("LO", failure.comment[:LONGEST_COMMENT])
    return dict(sorted(item.items()))


def _element(vr: str, value: str | int) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]} if value != "" else {"vr": vr}

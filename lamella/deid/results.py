"""What became of one instance. Nothing here shows a value, but for the two maps."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Set
from dataclasses import dataclass

from pydicom import FileDataset

from lamella.deid.codes import Code
from lamella.deid.identifiers import Identifiers


class Verdict(enum.StrEnum):
    """Whether an instance may go on. Only PASS does without a person."""

    PASS = "PASS"
    REVIEW = "REVIEW"
    QUARANTINE = "QUARANTINE"

    @classmethod
    def worst(cls, *verdicts: Verdict) -> Verdict:
        """Return the one that lets least through; PASS where there is none."""
        order = list(cls)
        return max(verdicts, key=order.index, default=cls.PASS)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a verdict is not PASS.

    Attributes:
        verdict: What it makes of the instance.
        code: A word that stays, such as `encapsulated-document`.
        path: Where, as `Change.path`; empty for the whole instance.
    """

    verdict: Verdict
    code: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to one attribute.

    Attributes:
        path: Tags from the top down, as `00081115.0020000E`; items are not told apart.
        action: What was done: a letter of Table E.1-1 (D, Z, X, C, U), or a word that a site
            rule or the safety net stands for.
    """

    path: str
    action: str


@dataclass(frozen=True, slots=True)
class Cleaned:
    """One de-identified instance.

    Attributes:
        attributes: The new data set with its file meta; pixel data are the source's own bytes.
        changes: In the order of the data set, one for each attribute that was touched.
        verdict: The worst of the reasons'.
        reasons: Why it is not PASS.
        codes: What (0012,0064) says was applied.
        uids: Old UID to new. Secret: for the project's map and nothing else.
        kept_uids: Those that the profile lets stay somewhere.
        patients: Old patient id to new. Secret as well.
        identifiers: What the source's header told of the patient: what pixels and the written
            bytes are searched for. Secret as well.
    """

    attributes: FileDataset
    changes: tuple[Change, ...]
    verdict: Verdict
    reasons: tuple[Reason, ...]
    codes: tuple[Code, ...]
    uids: Mapping[str, str]
    kept_uids: Set[str]
    patients: Mapping[str, str]
    identifiers: Identifiers
